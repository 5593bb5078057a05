package workflows

import (
	"errors"
	"fmt"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// maxEvents is how many of the last events a progress has.
const maxEvents = 50

// parentCloses lets a wave come to its end when its rollout is ended from
// outside: its devices are given their verdicts.
const parentCloses = enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL

func rolloutAttributes(rolloutID string) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(temporal.NewSearchAttributeKeyKeyword(contract.AttrRolloutID).ValueSet(rolloutID))
}

// setup registers the handlers, first thing, so that an early word is answered
// and not lost.
func (r *rollout) setup(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() (contract.RolloutProgress, error) {
		return r.progress, nil
	}); err != nil {
		return err
	}
	for _, u := range []struct {
		name, what string
		handle     func(workflow.Context, contract.RolloutCommand) (string, error)
		refuse     func(contract.RolloutCommand) error
	}{
		{contract.UpdateRolloutPause, "Begin nothing more, and finish what is in work.", r.pause, r.refusePause},
		{contract.UpdateRolloutResume, "Go on, and accept what made it pause.", r.resume, r.refuseResume},
		{contract.UpdateRolloutAbort, "End it, and leave what was written.", r.abort, r.refuseEnd},
		{contract.UpdateRolloutRollBack, "End it, and take back what was written.", r.rollBack, r.refuseEnd},
		{contract.UpdateRolloutSkip, "Leave devices out.", r.skip, r.refuseSkip},
		{contract.UpdateRolloutRetry, "Let devices that are not healthy come to their turn again.", r.retry, r.refuseRetry},
	} {
		err := workflow.SetUpdateHandlerWithOptions(ctx, u.name, u.handle, workflow.UpdateHandlerOptions{
			Validator: func(c contract.RolloutCommand) error {
				if err := c.Check(); err != nil {
					return err
				}
				if err := r.refuseAll(); err != nil {
					return err
				}
				return u.refuse(c)
			},
			Description: u.what,
		})
		if err != nil {
			return fmt.Errorf("register %s: %w", u.name, err)
		}
	}
	return workflow.SetUpdateHandlerWithOptions(ctx, contract.UpdateRolloutApprove, r.approve, workflow.UpdateHandlerOptions{
		Validator: r.refuseDecision, Description: "Approve or refuse what the rollout waits for.",
	})
}

// refuseAll says why nothing can be asked of the rollout now.
func (r *rollout) refuseAll() error {
	switch {
	case r.begun.RolloutID == "":
		return errors.New("the rollout has not begun yet; ask again in a moment")
	case r.progress.Over():
		return fmt.Errorf("the rollout has ended: it is %s", r.progress.State)
	}
	return nil
}

func (r *rollout) refusePause(contract.RolloutCommand) error {
	switch {
	case r.want != "":
		return fmt.Errorf("the rollout is %s", r.want)
	case r.paused:
		return fmt.Errorf("the rollout is paused already: %s", r.progress.Detail)
	}
	return nil
}

func (r *rollout) refuseResume(contract.RolloutCommand) error {
	switch {
	case r.want != "":
		return fmt.Errorf("the rollout is %s", r.want)
	case r.progress.State == contract.RolloutWaiting && !r.paused:
		return fmt.Errorf("the rollout waits for the approval of %s; approve that", r.progress.Waiting)
	case !r.paused:
		return errors.New("the rollout is not paused")
	}
	return nil
}

func (r *rollout) refuseEnd(contract.RolloutCommand) error {
	if r.want != "" {
		return fmt.Errorf("the rollout is %s already", r.want)
	}
	return nil
}

func (r *rollout) refuseSkip(c contract.RolloutCommand) error {
	if len(c.Devices) == 0 {
		return errors.New("which devices are to be left out? name them")
	}
	return r.refuseEnd(c)
}

func (r *rollout) refuseRetry(c contract.RolloutCommand) error { return r.refuseEnd(c) }

// refuseDecision says why a decision cannot be taken.
func (r *rollout) refuseDecision(d contract.RolloutDecision) error {
	if err := (contract.RolloutCommand{By: d.By, Note: d.Note}).Check(); err != nil {
		return err
	}
	if err := r.refuseAll(); err != nil {
		return err
	}
	switch {
	case r.progress.Waiting == "":
		return errors.New("the rollout waits for no approval")
	case r.decision != nil:
		return fmt.Errorf("%s has decided already", r.decision.By)
	case d.PlanHash != r.in.PlanHash:
		return fmt.Errorf("the decision is on the plan %.80q, and this rollout carries out %s", d.PlanHash, r.in.PlanHash)
	case d.Approved && r.requested(d.By):
		return fmt.Errorf("%s has asked for this rollout, so somebody else has to approve it", d.By)
	}
	return nil
}

// requested says whether somebody made the plan, or started it, or has a
// schedule do so.
func (r *rollout) requested(by string) bool {
	by = strings.TrimSpace(by)
	own := contract.Actor{Kind: contract.ActorOperator, Name: by}.String()
	return strings.EqualFold(own, r.begun.Requester) || strings.EqualFold(own, r.in.Actor.String()) ||
		strings.EqualFold(by, strings.TrimSpace(r.in.AskedBy))
}

func (r *rollout) approve(ctx workflow.Context, d contract.RolloutDecision) (string, error) {
	// Another one of the same task may have come between.
	if err := r.refuseDecision(d); err != nil {
		return "", err
	}
	word := "refused"
	if d.Approved {
		word = "approved"
	}
	what := r.progress.Waiting
	r.decision = &d
	r.say(ctx, "%s %s %s. %s", d.By, word, what, d.Note)
	if err := r.note(ctx, word+" "+what, d.By, d.Note); err != nil {
		return "", err
	}
	return word + " " + what, nil
}

func (r *rollout) pause(ctx workflow.Context, c contract.RolloutCommand) (string, error) {
	if err := r.refusePause(c); err != nil {
		return "", err
	}
	r.paused = true
	r.stand(ctx, contract.RolloutPaused, saidBy("paused", c))
	r.tell(ctx)
	return "paused; what is in work comes to its end", r.note(ctx, "paused", c.By, c.Note)
}

func (r *rollout) resume(ctx workflow.Context, c contract.RolloutCommand) (string, error) {
	if err := r.refuseResume(c); err != nil {
		return "", err
	}
	r.paused = false
	state := contract.RolloutRunning
	if r.progress.Waiting != "" {
		state = contract.RolloutWaiting
	}
	r.stand(ctx, state, saidBy("resumed", c))
	r.tell(ctx)
	return "resumed", r.note(ctx, "resumed", c.By, c.Note)
}

func (r *rollout) abort(ctx workflow.Context, c contract.RolloutCommand) (string, error) {
	if err := r.refuseEnd(c); err != nil {
		return "", err
	}
	r.wish(contract.RolloutAborting, saidBy("aborted", c))
	r.stand(ctx, contract.RolloutAborting, r.wanted)
	r.tell(ctx)
	return "aborting; what is in work comes to its end, and what was written stays", r.note(ctx, "aborted", c.By, c.Note)
}

func (r *rollout) rollBack(ctx workflow.Context, c contract.RolloutCommand) (string, error) {
	if err := r.refuseEnd(c); err != nil {
		return "", err
	}
	r.wish(contract.RolloutRollingBack, saidBy("rolled back", c))
	r.stand(ctx, contract.RolloutRollingBack, r.wanted)
	r.tell(ctx)
	return "rolling back; what is in work comes to its end first", r.note(ctx, "rollback asked for", c.By, c.Note)
}

func (r *rollout) skip(ctx workflow.Context, c contract.RolloutCommand) (string, error) {
	records := workflow.WithActivityOptions(ctx, planOptions("leave out "+countOf(len(c.Devices), "device")))
	futures := make([]workflow.Future, len(c.Devices))
	for i, id := range c.Devices {
		futures[i] = workflow.ExecuteActivity(records, contract.ActivitySettleDevice, contract.SettleDeviceInput{
			RolloutID: r.begun.RolloutID, DeviceID: id, State: contract.DeviceSkipped, Detail: saidBy("left out", c)})
	}
	var skipped, others []string
	for i, f := range futures {
		var v contract.DeviceVerdict
		switch err := f.Get(ctx, &v); {
		case err != nil:
			others = append(others, c.Devices[i]+": "+rootMessage(err))
		case v.State == contract.DeviceSkipped:
			skipped = append(skipped, c.Devices[i])
		default:
			others = append(others, c.Devices[i]+" is "+v.State)
		}
	}
	text := areNow(len(skipped), "left out")
	if len(others) > 0 {
		text += "; not left out: " + strings.Join(others, "; ")
	}
	r.say(ctx, "%s, by %s. %s", text, c.By, c.Note)
	return text, r.note(ctx, "devices left out", c.By, strings.Join(skipped, ", ")+" "+c.Note)
}

func (r *rollout) retry(ctx workflow.Context, c contract.RolloutCommand) (string, error) {
	var out contract.TryAgainResult
	records := workflow.WithActivityOptions(ctx, planOptions("let devices come to their turn again"))
	err := workflow.ExecuteActivity(records, contract.ActivityTryAgain, contract.TryAgainInput{RolloutID: r.begun.RolloutID, Devices: c.Devices}).Get(ctx, &out)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%d devices come to their turn again", out.Devices)
	if out.Devices > 0 {
		r.again = true
		if r.paused {
			text += " when the rollout is resumed"
		}
	}
	r.say(ctx, "%s, by %s. %s", text, c.By, c.Note)
	return text, r.note(ctx, "devices tried again", c.By, c.Note)
}

func saidBy(what string, c contract.RolloutCommand) string {
	text := what + " by " + c.By
	if c.Note != "" {
		text += ": " + c.Note
	}
	return text
}

// wish says what is to become of the rollout; the first word counts.
func (r *rollout) wish(want, why string) {
	if r.want == "" {
		r.want, r.wanted = want, why
	}
}

// control is what a wave is told.
func (r *rollout) control() contract.RolloutControl {
	return contract.RolloutControl{Paused: r.paused, Stopped: r.want != ""}
}

// tell passes on to the wave that runs what the rollout was told. One that has
// ended meanwhile needs no word.
func (r *rollout) tell(ctx workflow.Context) {
	if r.child == nil {
		return
	}
	child, control := r.child, r.control()
	workflow.Go(ctx, func(ctx workflow.Context) {
		_ = child.SignalChildWorkflow(ctx, contract.SignalRolloutControl, control).Get(ctx, nil)
	})
}

// stand says how the rollout stands.
func (r *rollout) stand(ctx workflow.Context, state, detail string) {
	if r.progress.State != state && detail != "" {
		r.say(ctx, "%s: %s", state, detail)
	}
	r.progress.State, r.progress.Detail = state, detail
	r.show(ctx)
}

// say keeps an event among the last ones.
func (r *rollout) say(ctx workflow.Context, format string, args ...any) {
	p := &r.progress
	p.Events = append(p.Events, contract.Moment{At: workflow.Now(ctx), Text: strings.TrimSpace(fmt.Sprintf(format, args...))})
	if over := len(p.Events) - maxEvents; over > 0 {
		p.Events = append([]contract.Moment{}, p.Events[over:]...)
	}
	r.show(ctx)
}

// note keeps how the rollout stands, and what happened in the ledger.
func (r *rollout) note(ctx workflow.Context, event, by, why string) error {
	ctx = workflow.WithActivityOptions(ctx, recordOptions("note: "+r.progress.State))
	detail := r.progress.Detail
	if why != "" {
		detail = why
	}
	return workflow.ExecuteActivity(ctx, contract.ActivityNoteRollout, contract.NoteRolloutInput{
		RolloutID: r.begun.RolloutID, State: r.progress.State, Detail: detail, Event: event, By: by, Actor: r.in.Actor, Ended: r.progress.Over(),
	}).Get(ctx, nil)
}

// end gives the rollout its end.
func (r *rollout) end(ctx workflow.Context, state, detail string) error {
	now := workflow.Now(ctx)
	r.progress.Ended = &now
	r.progress.State, r.progress.Detail = state, detail
	r.say(ctx, "%s: %s", state, detail)
	if err := workflow.UpsertTypedSearchAttributes(ctx, temporal.NewSearchAttributeKeyKeyword(contract.AttrOutcome).ValueSet(state)); err != nil {
		return err
	}
	return r.note(ctx, state, "", "")
}

func (r *rollout) show(ctx workflow.Context) {
	p := r.progress
	var b page
	b.printf("**%s %s**, rollout %s — %s\n\n", p.Baseline, p.Version, p.RolloutID, p.State)
	if p.Detail != "" {
		b.printf("%s\n\n", p.Detail)
	}
	b.printf("%d of %s: %s\n\n", p.RolloutCounts.Ended(), countOf(p.Total, "device"), p.Words())
	for _, w := range p.Waves {
		state := w.Verdict
		switch {
		case state != "":
		case w.Began != nil:
			state = "under way"
		default:
			state = "to come"
		}
		b.printf("- wave %d, %s, %s: %s\n", w.Number, w.Name, countOf(w.Devices, "device"), state)
	}
	b.printf("\n")
	for _, m := range p.Events {
		b.printf("- `%s` %s\n", m.At.UTC().Format("2006-01-02 15:04:05"), m.Text)
	}
	workflow.SetCurrentDetails(ctx, b.String())
}

// countOf is "1 device", or "3 devices".
func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// areNow is "1 device is healthy", or "3 devices are healthy".
func areNow(n int, what string) string {
	if n == 1 {
		return "1 device is " + what
	}
	return fmt.Sprintf("%d devices are %s", n, what)
}
