package runbook

import (
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// Gates are the approval gates of one workflow run.
type Gates struct {
	gates map[string]*gate
	// open are the IDs of the gates that wait, the first opened first.
	open []string
}

// gate is one call of wait_for_approval.
type gate struct {
	prompt string
	// decision is what ended the gate, or nil while it waits.
	decision *contract.Decision
}

// SetupGates registers the handler of contract.UpdateDecide. The workflow
// calls it first thing, so that an early Update is answered and not lost. An
// Update for a gate that is not open, one that is decided already, or one
// without a name is refused, and leaves nothing in the history. The handler
// never waits, so none is left unfinished when the workflow ends.
func SetupGates(ctx workflow.Context) (*Gates, error) {
	g := &Gates{gates: map[string]*gate{}}
	err := workflow.SetUpdateHandlerWithOptions(ctx, contract.UpdateDecide,
		func(_ workflow.Context, d contract.Decision) error { return g.decide(d) },
		workflow.UpdateHandlerOptions{
			Validator:   g.validate,
			Description: "Answer an approval gate of the runbook.",
		})
	if err != nil {
		return nil, fmt.Errorf("register %s: %w", contract.UpdateDecide, err)
	}
	return g, nil
}

// validate refuses a decision that no open gate waits for.
func (g *Gates) validate(d contract.Decision) error {
	if strings.TrimSpace(d.By) == "" {
		return errors.New("who decides? the name is empty")
	}
	if len(d.By) > maxTitle || len(d.Note) > maxMessage {
		return fmt.Errorf("the name has more than %d bytes, or the note more than %d", maxTitle, maxMessage)
	}
	gate := g.gates[d.Gate]
	switch {
	case gate == nil && len(g.open) == 0:
		return fmt.Errorf("gate %.80q is not open; none is", d.Gate)
	case gate == nil:
		return fmt.Errorf("gate %.80q is not open; waiting: %s", d.Gate, strings.Join(g.open, ", "))
	case gate.decision != nil:
		return fmt.Errorf("gate %q was decided before: %s", d.Gate, decisionText(*gate.decision))
	}
	return nil
}

// decide records a decision. It checks again, because another Update of the
// same workflow task may have come between.
func (g *Gates) decide(d contract.Decision) error {
	if err := g.validate(d); err != nil {
		return err
	}
	g.gates[d.Gate].decision = &d
	return nil
}

// wait opens a gate and waits for its end, which always closes it.
func (g *Gates) wait(ctx workflow.Context, asked Gate, p *Params) (contract.Decision, error) {
	if g.gates[asked.ID] != nil {
		return contract.Decision{}, fmt.Errorf("wait_for_approval: the ID %q was used before in this workflow", asked.ID)
	}
	own := &gate{prompt: asked.Prompt}
	g.gates[asked.ID] = own
	g.open = append(g.open, asked.ID)
	g.tell(p)
	resolved := func() bool { return p.Resolved != nil && p.Resolved() }
	_, err := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
		Timeout:      asked.Timeout,
		TimerOptions: workflow.TimerOptions{Summary: "approval " + asked.ID + ", " + asked.At.lineText()},
	}, func() bool { return own.decision != nil || resolved() })
	if own.decision == nil {
		note := fmt.Sprintf("no decision within %v", asked.Timeout)
		switch {
		case err != nil:
			note = "the run was cancelled"
		case resolved():
			note = "the alert has resolved"
		}
		own.decision = &contract.Decision{Gate: asked.ID, Note: note}
	}
	for i, id := range g.open {
		if id == asked.ID {
			g.open = append(g.open[:i:i], g.open[i+1:]...)
			break
		}
	}
	g.tell(p)
	if err != nil {
		return contract.Decision{}, err
	}
	if p.Observer.Decided != nil {
		if err := p.Observer.Decided(ctx, *own.decision); err != nil {
			return contract.Decision{}, err
		}
	}
	return *own.decision, nil
}

// tell passes the gate that has waited longest to the observer.
func (g *Gates) tell(p *Params) {
	if p.Observer.Waiting == nil {
		return
	}
	if len(g.open) == 0 {
		p.Observer.Waiting("", "")
		return
	}
	first := g.open[0]
	p.Observer.Waiting(first, g.gates[first].prompt)
}
