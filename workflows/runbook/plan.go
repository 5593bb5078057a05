package runbook

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"edgefleet/workflows/contract"
)

// Bounds of a plan.
const (
	maxPaths = 4096
	// planSteps bounds the work of all paths together.
	planSteps = 50_000_000
)

// Tree is every path that a runbook can take, as far as its actions and gates
// decide: what it does, and where the ways part.
type Tree struct {
	Name     string `json:"name"`
	Function string `json:"function"`
	DeviceID string `json:"device_id"`
	// Paths counts the ways from the top to an end.
	Paths int `json:"paths"`
	// Cut says that there are more paths than a plan shows.
	Cut   bool    `json:"cut,omitempty"`
	Nodes []*Node `json:"nodes"`
}

// Node is one thing that happens on a path.
type Node struct {
	// Kind is "read", "change" or "record" for an action, else "approval",
	// "sleep", "step", "print", "on_exit", "end" or "failure".
	Kind string `json:"kind"`
	Line int    `json:"line,omitempty"`
	// Text says what happens: "reset network".
	Text string `json:"text"`
	// Branches are the answers, where more than one is possible; the rest of
	// the path stands in them.
	Branches []*Branch `json:"branches,omitempty"`
}

// Branch is one answer and what follows it.
type Branch struct {
	Answer string  `json:"answer"`
	Nodes  []*Node `json:"nodes"`
}

// Plan walks every path of a runbook for a device, without a network and in
// no time: it runs the function again for each combination of answers. Where
// every answer leads to the same, the ways do not part. An
// action inside attempt can also fail. Values other than the answers are
// samples, so a branch on such a value is taken one way only.
func Plan(name, source, function, deviceID string) (*Tree, error) {
	if err := contract.ValidDeviceID(deviceID); err != nil {
		return nil, &Error{Type: contract.ErrRunbook, Msg: err.Error()}
	}
	prog, err := compile(name, source, inRunbook)
	if err != nil {
		return nil, err
	}
	if err := prog.entry(function); err != nil {
		return nil, err
	}
	tree := &Tree{Name: name, Function: function, DeviceID: deviceID}
	var choices []choice
	var steps uint64
	for {
		if tree.Paths >= maxPaths || steps > planSteps {
			tree.Cut = true
			return tree, nil
		}
		h := &planHost{planPath: &planPath{choices: choices}}
		r := newRun(deviceID, Limits{Calls: 200}, sources{name: source})
		text, err := r.main(prog, function, h)
		if err != nil && h.stalled {
			return nil, err
		}
		steps += r.used.steps + 1000
		h.end(text, err)
		tree.Paths++
		tree.add(h.planPath)
		if choices = h.next(); choices == nil {
			tree.Nodes, tree.Paths = fold(tree.Nodes)
			return tree, nil
		}
	}
}

// fold joins the ways again where several answers of a node lead to the same,
// because the runbook does not tell them apart. It returns the nodes with the
// number of ways through them.
func fold(nodes []*Node) ([]*Node, int) {
	// Only the last node of a list has branches: the rest stands in them.
	if len(nodes) == 0 || len(nodes[len(nodes)-1].Branches) == 0 {
		return nodes, 1
	}
	last := nodes[len(nodes)-1]
	var folded []*Branch
	paths := 0
next:
	for _, b := range last.Branches {
		var ways int
		b.Nodes, ways = fold(b.Nodes)
		for _, have := range folded {
			if reflect.DeepEqual(have.Nodes, b.Nodes) {
				have.Answer += " or " + b.Answer
				continue next
			}
		}
		folded = append(folded, b)
		paths += ways
	}
	if len(folded) > 1 {
		last.Branches = folded
		return nodes, paths
	}
	last.Branches = nil
	return append(nodes, folded[0].Nodes...), paths
}

// choice is one place where the ways part, and which way is being walked.
type choice struct{ taken, of int }

// planPath is one walk through a runbook.
type planPath struct {
	choices []choice
	used    int
	events  []planEvent
	clock   clock
	stalled bool
}

// planEvent is a node on the way, and the answer that it was given.
type planEvent struct {
	node   Node
	answer string // "" where there is only one
}

// choose returns the way to take at a place with n ways.
func (p *planPath) choose(n int) int {
	if p.used == len(p.choices) {
		p.choices = append(p.choices, choice{0, n})
	}
	p.used++
	return p.choices[p.used-1].taken
}

// next returns the choices of the next path, or nil when this was the last.
func (p *planPath) next() []choice {
	for i := p.used - 1; i >= 0; i-- {
		if c := p.choices[i]; c.taken+1 < c.of {
			return append(append([]choice(nil), p.choices[:i]...), choice{c.taken + 1, c.of})
		}
	}
	return nil
}

func (p *planPath) add(kind string, line int, text, answer string) {
	p.events = append(p.events, planEvent{Node{Kind: kind, Line: line, Text: oneLine(clip(text, 200))}, answer})
}

// end adds the path's end.
func (p *planPath) end(text string, err error) {
	var e *Error
	switch {
	case err == nil && text == "":
		p.add("end", 0, "done", "")
	case err == nil:
		p.add("end", 0, "done: "+text, "")
	case errors.As(err, &e):
		p.add("failure", e.At.Line, fmt.Sprintf("fails (%s): %s", e.Type, e.Msg), "")
	default:
		p.add("failure", 0, "fails: "+err.Error(), "")
	}
}

// add merges a path into the tree: what paths have in common stands once.
func (t *Tree) add(p *planPath) {
	list := &t.Nodes
	at := 0
	for _, e := range p.events {
		if at == len(*list) {
			n := e.node
			*list = append(*list, &n)
		}
		n := (*list)[at]
		at++
		if e.answer == "" {
			continue
		}
		var b *Branch
		for _, have := range n.Branches {
			if have.Answer == e.answer {
				b = have
			}
		}
		if b == nil {
			b = &Branch{Answer: e.answer}
			n.Branches = append(n.Branches, b)
		}
		list, at = &b.Nodes, 0
	}
}

// planHost is the Host of a plan: it gives every answer once.
type planHost struct{ *planPath }

var _ Host = (*planHost)(nil)

// failureAnswer is the answer of an action that fails inside attempt.
const failureAnswer = "fails"

// Act takes the next of the declared answers, or a failure where it is caught.
func (h *planHost) Act(call Call, report any) error {
	rep, _ := reportOf(call.Action.Name)
	ways := len(call.Action.Answers)
	if call.Attempted {
		ways++
	}
	text := call.Action.Verb
	if call.Title != "" {
		text = call.Title
	}
	for _, p := range call.Action.Params {
		if v, ok := call.Args[p.Name]; ok {
			text += fmt.Sprintf(" %s=%q", p.Name, v)
		}
	}
	way := 0
	if ways > 1 {
		way = h.choose(ways)
	}
	answer := failureAnswer
	if way < len(call.Action.Answers) {
		answer = call.Action.Answers[way].Name
	}
	if ways == 1 {
		answer = ""
	}
	h.add(string(call.Action.Kind), call.At.Line, text, answer)
	if answer == failureAnswer {
		return &ActionError{Kind: contract.ErrUnreachable, Msg: call.Action.Name + ": a failure, as a plan assumes it"}
	}
	rep.sample(report, call.Action.Answers[way].True)
	return fillFields(report, map[string]any{"device_id": call.DeviceID, "detail": "sample", "diagnosis": "sample"})
}

// Sleep takes no time.
func (h *planHost) Sleep(d time.Duration, at Position) error {
	h.clock.elapsed += d
	h.add("sleep", at.Line, fmt.Sprintf("sleep %v", d), "")
	return nil
}

// Now reads the virtual clock.
func (h *planHost) Now() time.Time { return h.clock.now() }

// Log is not part of a plan.
func (h *planHost) Log(string) {}

// Step adds the title.
func (h *planHost) Step(title string, at Position) { h.add("step", at.Line, title, "") }

// Approve takes both answers.
func (h *planHost) Approve(g Gate) (contract.Decision, error) {
	d := contract.Decision{Gate: g.ID, Approved: h.choose(2) == 0, By: "sample"}
	answer := "approved"
	if !d.Approved {
		answer = "refused"
	}
	h.add("approval", g.At.Line, fmt.Sprintf("wait for approval %s: %s", g.ID, g.Prompt), answer)
	return d, nil
}

// Parallel runs the functions in turn: their answers are independent.
func (h *planHost) Parallel(n, _ int, failFast bool, stop func(error) bool, body func(h Host, i int) error) []error {
	return inTurn(h, n, failFast, stop, body)
}

// Cleanup marks where the functions of on_exit begin.
func (h *planHost) Cleanup(time.Duration) (Host, func()) {
	h.add("on_exit", 0, "on exit", "")
	return h, func() {}
}

// Cancelled recognises the cancellation of a branch.
func (h *planHost) Cancelled(err error) bool { return errors.Is(err, errOfflineCancelled) }

// Stalled ends the plan.
func (h *planHost) Stalled(err error) error {
	h.stalled = true
	return &Error{Type: contract.ErrBudget, Msg: err.Error()}
}
