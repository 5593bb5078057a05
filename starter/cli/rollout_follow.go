package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

// errWaiting ends the program with ExitWaiting.
var errWaiting = errors.New("it waits for a person")

// rolloutArg is the ID of a rollout that a command names.
func rolloutArg(c *cli.Context) (string, error) {
	id := c.Args().First()
	if id == "" {
		return "", usagef("%s: want the ID of a rollout; see edgefleet rollout list", commandName(c))
	}
	// A hash is taken for the rollout of that plan.
	if full := contract.RolloutOf(id); full != "" {
		id = full
	}
	if err := contract.ValidRolloutID(id); err != nil {
		return "", usageError{err}
	}
	return id, nil
}

func (a *App) rolloutWatch(c *cli.Context) error {
	id, err := rolloutArg(c)
	if err := firstError(err, wantArgs(c, 1), checkOutput(c)); err != nil {
		return err
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	return a.followRollout(c, t, t.GetWorkflow(c.Context, contract.RolloutWorkflowID(id), ""), id)
}

// followRollout shows how a rollout goes until it ends, or until it waits for a
// person when that is asked for, and then what came of it.
func (a *App) followRollout(c *cli.Context, t Temporal, run client.WorkflowRun, id string) error {
	result, err := a.watchRollout(c, t, run, id)
	if err != nil && !errors.Is(err, errWaiting) && !errors.Is(err, errQuiet) {
		return err
	}
	return firstError(a.showRollout(c, result), err)
}

// watchRollout shows how a rollout goes until it ends or waits. Its error is
// errQuiet when it came to another end than wanted, and errWaiting when it waits
// for a person; how it stands is returned beside both.
func (a *App) watchRollout(c *cli.Context, t Temporal, run client.WorkflowRun, id string) (result contract.RolloutProgress, err error) {
	ctx, leave := context.WithCancelCause(c.Context)
	defer leave(nil)
	view := &rolloutView{waiting: waiting{app: a, began: time.Now()}, t: t, run: run, out: newBlock(a)}
	if c.Bool("exit-when-waiting") {
		view.waits = func() { leave(errWaiting) }
	}
	err = a.follow(ctx, run, &result, view.look)
	view.out.close()
	switch {
	case errors.Is(context.Cause(ctx), errWaiting):
		return view.last, errWaiting
	case c.Err() != nil:
		return result, fmt.Errorf("interrupted; rollout %s goes on; look at it again with: edgefleet rollout watch %s", id, id)
	case isNotFound(err):
		return result, usagef("Temporal knows no rollout %s, or not any more; see edgefleet rollout status %s", id, id)
	case temporal.IsCanceledError(err):
		result = view.last
	case temporal.IsTerminatedError(err):
		return result, fmt.Errorf("rollout %s was terminated; what had been written stays until: edgefleet rollout rollback %s", id, id)
	case err != nil:
		return result, explain(c.Context, err)
	}
	if result.State != contract.RolloutDone {
		return result, errQuiet
	}
	return result, nil
}

// rolloutView shows how a rollout goes: on a terminal as a block that is written
// over, elsewhere a line for each thing that happens, and one now and then.
type rolloutView struct {
	waiting
	t     Temporal
	run   client.WorkflowRun
	out   *block
	last  contract.RolloutProgress
	since time.Time
	said  string
	// waits is called when the rollout waits for a person; it may be nil.
	waits func()
}

// look asks the rollout, and the wave that runs, whichever runs they are in by
// now.
func (v *rolloutView) look(ctx context.Context, last bool) {
	var p contract.RolloutProgress
	if err := v.ask(ctx, v.run.GetID(), &p); err != nil {
		if !last {
			v.still(func() string { return whoIsMissing(ctx, v.t) })
		}
		return
	}
	v.last = p
	if p.Total == 0 && !p.Over() {
		// The workflow has not read its plan yet: 0 of 0 devices would look
		// like a rollout that has nothing to do.
		if !last {
			v.still(func() string { return "still reading the plan…" })
		}
		return
	}
	v.told = true
	var w *contract.WaveProgress
	if p.WaveID != "" {
		var now contract.WaveProgress
		if err := v.ask(ctx, p.WaveID, &now); err == nil {
			w = &now
		}
	}
	if p.State == contract.RolloutRollingBack && p.Rollback == nil {
		var now contract.RollbackProgress
		if err := v.ask(ctx, contract.RollbackID(p.RolloutID), &now); err == nil {
			p.Rollback = &now
		}
	}
	p = merged(p, w)
	if p.Rollback != nil && p.State == contract.RolloutRollingBack {
		p.Held, p.LeaseWaits = p.Rollback.Held, p.Rollback.LeaseWaits
	}
	v.last = p
	if v.app.opts.Terminal {
		v.out.draw(v.app.rolloutLines(p, w))
	} else {
		v.plain(p, w, last)
	}
	if (p.State == contract.RolloutPaused || p.State == contract.RolloutWaiting) && v.waits != nil {
		v.waits()
	}
}

func (v *rolloutView) ask(ctx context.Context, workflowID string, into any) error {
	answer, err := v.t.QueryWorkflow(ctx, workflowID, "", contract.QueryProgress)
	if err != nil {
		return err
	}
	return answer.Get(into)
}

// merged is the rollout's progress with what its wave knows better.
func merged(p contract.RolloutProgress, w *contract.WaveProgress) contract.RolloutProgress {
	if w == nil {
		return p
	}
	waves := append([]contract.WaveStatus{}, p.Waves...)
	p.RolloutCounts = contract.RolloutCounts{}
	for i := range waves {
		if waves[i].Number == w.Wave {
			waves[i].RolloutCounts, waves[i].Phase, waves[i].Opens = w.RolloutCounts, w.Phase, w.Opens
		}
		p.Sum(waves[i].RolloutCounts)
	}
	p.Waves, p.Held, p.LeaseWaits = waves, w.Held, w.LeaseWaits
	return p
}

// plain tells what has happened since the last look, each thing once.
func (v *rolloutView) plain(p contract.RolloutProgress, w *contract.WaveProgress, last bool) {
	fresh := p.Events
	for i, e := range p.Events {
		if !e.At.After(v.since) {
			fresh = p.Events[i+1:]
		}
	}
	for _, e := range fresh {
		fmt.Fprintf(v.app.opts.Err, "%s  %s\n", e.At.UTC().Format("15:04:05"), oneLine(e.Text))
		v.since = e.At
	}
	text := v.app.rolloutText(p, w)
	if text == v.said || !last && time.Since(v.out.since) < v.app.opts.Every && !v.out.since.IsZero() {
		return
	}
	v.said, v.out.since = text, time.Now()
	fmt.Fprintln(v.app.opts.Err, text)
}

// rolloutText is how a rollout stands in one line.
func (a *App) rolloutText(p contract.RolloutProgress, w *contract.WaveProgress) string {
	parts := []string{fmt.Sprintf("%d of %s", p.RolloutCounts.Ended(), plural(p.Total, "device")), p.Words()}
	switch {
	case p.State != contract.RolloutRunning:
		parts = append(parts, p.State)
	case w != nil:
		parts = append(parts, fmt.Sprintf("wave %d %s", w.Wave, w.Phase))
	}
	if w != nil && len(w.Running) > 0 {
		parts = append(parts, fmt.Sprintf("%d in work", len(w.Running)))
	}
	if p.Held > 0 {
		parts = append(parts, a.heldText(p))
	}
	if w != nil && w.Opens != nil {
		parts = append(parts, "the window opens at "+stamp(*w.Opens))
	}
	if rate, left := a.pace(p, w); rate > 0 {
		parts = append(parts, fmt.Sprintf("%.1f/min", rate))
		if left > 0 {
			parts = append(parts, roughly(left)+" left of the wave")
		}
	}
	if b := p.Rollback; b != nil {
		parts = append(parts, fmt.Sprintf("%d back, %d not", b.Back, b.Kept))
	}
	return strings.Join(parts, ", ")
}

// heldText says who waits for another workflow's lease, in a few words.
func (a *App) heldText(p contract.RolloutProgress) string {
	if len(p.LeaseWaits) == 0 {
		return fmt.Sprintf("%d waiting for a lease", p.Held)
	}
	first := p.LeaseWaits[0]
	text := fmt.Sprintf("%s waits for its lease, held by %s for %s", first.DeviceID, oneLine(first.Holder.WorkflowID),
		ageText(a.opts.Clock().Sub(first.Holder.Since)))
	if p.Held > 1 {
		text += fmt.Sprintf(" (and %d more)", p.Held-1)
	}
	return text
}

// leaseTable shows who waits for whom, and until when.
func leaseTable(w io.Writer, p contract.RolloutProgress) {
	if len(p.LeaseWaits) == 0 {
		return
	}
	rows := make([][]string, 0, len(p.LeaseWaits))
	for _, l := range p.LeaseWaits {
		what := "its lease"
		if l.Holder.DeviceID != l.DeviceID {
			what = "its partner " + l.Holder.DeviceID
		}
		rows = append(rows, []string{l.DeviceID, what, l.Holder.WorkflowID, stamp(l.Holder.Since), stamp(l.Until)})
	}
	fmt.Fprintln(w)
	table(w, "DEVICE|WAITS FOR|HELD BY|SINCE (UTC)|GIVES UP (UTC)", rows)
	if more := p.Held - len(rows); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
}

// pace is how many devices end within a minute of the present wave, and how long
// the rest of it takes at that.
func (a *App) pace(p contract.RolloutProgress, w *contract.WaveProgress) (perMinute float64, left time.Duration) {
	if w == nil || w.Phase != contract.WaveRolling {
		return 0, 0
	}
	took := a.opts.Clock().Sub(w.Began)
	ended := w.Ended()
	if ended == 0 || took <= 0 {
		return 0, 0
	}
	for _, wave := range p.Waves {
		if wave.Number == w.Wave {
			left = time.Duration(float64(took) / float64(ended) * float64(max(0, wave.Devices-ended)))
		}
	}
	return float64(ended) / took.Minutes(), left
}

// rolloutLines are how a rollout stands on a terminal.
func (a *App) rolloutLines(p contract.RolloutProgress, w *contract.WaveProgress) []string {
	out := []string{fmt.Sprintf("%s  %s %s  rollout %s  %s", bar(p.RolloutCounts.Ended(), p.Total), p.Baseline, p.Version, p.RolloutID, p.State)}
	if p.Detail != "" {
		out = append(out, "  "+p.Detail)
	}
	for _, wave := range p.Waves {
		state := wave.Verdict
		switch {
		case state == "" && w != nil && w.Wave == wave.Number:
			state = w.Phase
		case state == "" && wave.Began == nil:
			state = "to come"
		case state == "":
			state = "begun"
		}
		out = append(out, fmt.Sprintf("  wave %d  %-9s %s  %d of %d  %s  %s", wave.Number, wave.Name, bar(wave.RolloutCounts.Ended(), wave.Devices),
			wave.RolloutCounts.Ended(), wave.Devices, state, wave.Words()))
	}
	out = append(out, "  "+a.rolloutText(p, w))
	for _, e := range p.Events[max(0, len(p.Events)-5):] {
		out = append(out, "  "+e.At.UTC().Format("15:04:05")+"  "+e.Text)
	}
	return out
}

// block is some lines of a terminal that are written over.
type block struct {
	app   *App
	drawn int
	since time.Time
}

func newBlock(a *App) *block { return &block{app: a} }

// draw writes the lines over those of the last time.
func (b *block) draw(lines []string) {
	w := b.app.opts.Err
	if b.drawn > 0 {
		fmt.Fprintf(w, "\x1b[%dA\r", b.drawn)
	}
	for _, line := range lines {
		fmt.Fprintf(w, "%s\x1b[K\n", clipLine(oneLine(line)))
	}
	// What is left of a longer time before goes.
	fmt.Fprint(w, "\x1b[J")
	b.drawn = len(lines)
}

func (b *block) close() { b.drawn = 0 }

// clipLine keeps a line from breaking on a terminal of usual width, which would
// make the next one be written over the wrong lines.
func clipLine(s string) string {
	const most = 118
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most-1]) + "…"
}

// showRollout shows how a rollout stands, or what came of it.
func (a *App) showRollout(c *cli.Context, p contract.RolloutProgress) error {
	p.Waves, p.Events = nonNil(p.Waves), nonNil(p.Events)
	return a.show(c, p, func(w io.Writer) { a.rolloutTable(w, p) })
}

// rolloutTable shows how a rollout stands, and what a person can do about it.
func (a *App) rolloutTable(w io.Writer, p contract.RolloutProgress) {
	approve := ""
	if p.ApproveBy != nil {
		approve = stamp(*p.ApproveBy)
	}
	fields(w, "rollout", p.RolloutID, "baseline", strings.TrimSpace(p.Baseline+" "+p.Version), "plan", p.PlanHash, "state", p.State, "detail", p.Detail,
		"approve until (UTC)", approve, "devices", devicesText(p),
		"began (UTC)", stamp(p.Began), "ended (UTC)", dashless(p.Ended))
	rows := make([][]string, 0, len(p.Waves))
	for _, wave := range p.Waves {
		state, detail := wave.Verdict, wave.Detail
		if state == "" {
			state = wave.Phase
		}
		if detail == "" && wave.Opens != nil {
			detail = "the window opens at " + stamp(*wave.Opens)
		}
		rows = append(rows, []string{itoa(int64(wave.Number)), wave.Name, fmt.Sprintf("%d of %d", wave.RolloutCounts.Ended(), wave.Devices),
			dash(state), wave.Words(), dash(detail)})
	}
	fmt.Fprintln(w)
	table(w, "WAVE|NAME|DEVICES|STATE|COUNTS|DETAIL", rows)
	leaseTable(w, p)
	if p.Rollback != nil {
		fmt.Fprintln(w)
		rollbackTable(w, *p.Rollback)
	}
	a.whatNext(p)
}

// devicesText counts the devices of a rollout, or is empty before it knows them.
func devicesText(p contract.RolloutProgress) string {
	if p.Total == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d: %s", p.RolloutCounts.Ended(), p.Total, p.Words())
}

// whatNext says what a person can do now, where something is waited for.
func (a *App) whatNext(p contract.RolloutProgress) {
	switch p.State {
	case contract.RolloutPaused:
		fmt.Fprintf(a.opts.Err, "it is paused: edgefleet rollout resume, retry, rollback or abort %s\n", p.RolloutID)
	case contract.RolloutWaiting:
		fmt.Fprintf(a.opts.Err, "it waits for the approval of %s: edgefleet rollout approve %s --plan %s\n", oneLine(p.Waiting), p.RolloutID, p.PlanHash)
	case contract.RolloutAborted, contract.RolloutPartlyBack, contract.RolloutCancelled, contract.RolloutFailed, contract.RolloutRefused:
		if p.Ended != nil && p.Healthy+p.Unsafe > 0 {
			fmt.Fprintf(a.opts.Err, "what was written stays until: edgefleet rollout rollback %s\n", p.RolloutID)
		}
	}
}

func dashless(t *time.Time) string {
	if t == nil {
		return ""
	}
	return stamp(*t)
}

func rollbackTable(w io.Writer, p contract.RollbackProgress) {
	fmt.Fprintf(w, "%s as before, %d not\n", plural(p.Back, "device"), p.Kept)
	if len(p.Findings) == 0 {
		return
	}
	rows := make([][]string, 0, len(p.Findings))
	for _, f := range p.Findings {
		rows = append(rows, []string{f.DeviceID, f.State, f.Detail})
	}
	fmt.Fprintln(w)
	table(w, "DEVICE|STATE|DETAIL", rows)
}
