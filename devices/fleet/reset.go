package fleet

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/profile"
	"edgefleet/devices/sshhost"
)

// ResetReport says what came of a reset.
type ResetReport struct {
	DeviceID string
	// Via is the device and action that did it: "switch-01 cycle-port-3".
	Via string
	// Outcome is ResetDone, or ResetIndeterminate when nobody can tell
	// whether the outlet took the command; it is never sent twice.
	Outcome string
	// CameBack says that the device answered afterwards, within Waited.
	CameBack bool
	Waited   time.Duration
	Detail   string
}

// Outcomes of a reset.
const (
	ResetDone          = "done"
	ResetIndeterminate = "indeterminate"
)

const (
	// pulseWithin bounds the one write of a reset.
	pulseWithin = 15 * time.Second
	// pulseWithinMost bounds it whatever its command takes.
	pulseWithinMost = 2 * time.Minute
)

// withinPulse bounds an action: one request, or a command on a host, which may
// take its time.
func withinPulse(pulse devices.Setting) time.Duration {
	return min(max(pulseWithin, sshhost.WriteWithin([]devices.Setting{pulse})), pulseWithinMost)
}

// Reset resets the device's network path as the fleet file says, once, and
// waits for the device to answer, up to its profile's back_within.
//
// The order is: identity of the outlet, its counter, Intent, one write,
// counter, Result. Called again with the journal of a call that died, it
// looks at the counter: when it has moved, the reset was done; when it has
// not, it is done now. Without a counter a pulse whose fate is not known is
// never repeated, the outcome is indeterminate, and the device is waited for
// all the same. A reset that has its result is only waited for.
//
// Progress, which may be nil, is called at least every ten seconds.
//
// It takes four requests to the outlet (identity, counter, write, counter) and
// one for each look at the device.
func (o *Operator) Reset(ctx context.Context, id string, j Journal, progress func(string)) (ResetReport, error) {
	d, model, err := o.fleet.Device(id)
	if err != nil {
		return ResetReport{}, err
	}
	if d.NetworkReset == nil {
		return ResetReport{}, &devices.Error{Kind: devices.Unsupported, Device: id, Op: "reset the network path",
			Err: fmt.Errorf("%s:%d declares no network_reset; name the outlet and its action there", d.File, d.Line)}
	}
	via := d.NetworkReset
	item, prior, err := openItem(ctx, j, via.Device, "reset "+id+" via "+via.String(), NotApplied, Failed)
	if err != nil {
		return ResetReport{}, err
	}
	report := ResetReport{DeviceID: id, Via: via.String()}
	outcome, detail := Outcome(""), ""
	if prior != nil {
		outcome, detail = prior.Outcome, prior.Detail
	}
	if outcome == "" {
		if outcome, detail, err = o.pulse(ctx, d.NetworkReset.Device, via.Action, item, prior, j, progress); err != nil {
			return ResetReport{}, err
		}
	}
	report.Outcome = ResetDone
	if outcome == Unknown {
		report.Outcome = ResetIndeterminate
	}
	began := time.Now()
	report.CameBack, err = o.waitFor(ctx, id, model.BackWithin, progress)
	if err != nil {
		return ResetReport{}, err
	}
	report.Waited = time.Since(began)
	if report.CameBack {
		report.Detail = fmt.Sprintf("%s; %s answered after %s.", detail, id, round(report.Waited))
	} else {
		report.Detail = fmt.Sprintf("%s; %s did not answer within %s.", detail, id, model.BackWithin)
	}
	return report, nil
}

// pulse does the action once, or finds out that it was done.
func (o *Operator) pulse(ctx context.Context, outlet, name, item string, prior *Record, j Journal, progress func(string)) (Outcome, string, error) {
	t, err := o.open(ctx, outlet)
	if err != nil {
		return "", "", err
	}
	defer t.link.Close()
	action, ok := t.model.Action(name)
	if !ok {
		return "", "", t.fail(devices.Unsupported, "reset", fmt.Errorf("its profile has no action %s", name))
	}
	r := &reset{target: t, action: action, journal: j, progress: progress}
	if prior != nil {
		r.change = prior.Change
		r.change.Within = withinPulse(action.Pulse)
		return r.takeUp(ctx)
	}
	r.change = Change{Item: item, Action: name, Target: outlet, Within: withinPulse(action.Pulse)}
	if err := t.mayWrite(ctx); err != nil {
		return "", "", err
	}
	if action.Confirm != nil {
		before, err := r.counter(ctx)
		if err != nil {
			return "", "", err
		}
		r.change.Before = map[string]string{action.Confirm.Name: strconv.FormatInt(before, 10)}
		r.change.After = map[string]string{action.Confirm.Name: strconv.FormatInt((before+1)%r.modulus(), 10)}
	}
	return r.do(ctx)
}

type reset struct {
	*target
	action   profile.Action
	journal  Journal
	progress func(string)
	change   Change
}

// takeUp goes on after an attempt that died between its intent and its
// result. Its pulse may still be running, so the counter is given its time.
func (r *reset) takeUp(ctx context.Context) (Outcome, string, error) {
	if r.action.Confirm == nil {
		return r.end(ctx, Unknown, r.text("may have been sent by an attempt that was interrupted, and has no counter to tell; it is not sent again"), nil)
	}
	mismatch, err := r.identityMismatch(ctx)
	if err != nil {
		return "", "", err
	}
	if mismatch != "" {
		return "", "", r.fail(devices.Rejected, "check the identity", errors.New(mismatch))
	}
	switch moved, err := r.confirm(ctx); {
	case err != nil:
		return "", "", err
	case moved == counted:
		return r.end(ctx, Confirmed, r.text("was done by an attempt that was interrupted, as the counter shows"), nil)
	case moved == jumped:
		return r.end(ctx, Unknown, r.text("may have been done by an attempt that was interrupted; the counter was reset meanwhile, so it is not sent again"), nil)
	}
	if err := r.checkInterlock(ctx); err != nil {
		return "", "", err
	}
	return r.do(ctx)
}

// do records the intent, writes once, and finds out what came of it.
func (r *reset) do(ctx context.Context) (Outcome, string, error) {
	if err := r.journal.Intent(ctx, r.change, nil); err != nil {
		return "", "", fmt.Errorf("%s: record the intent, so nothing was sent: %w", r.ID, err)
	}
	say(r.progress, "%s %s", r.ID, r.action.Name)
	writeCtx, cancel := context.WithTimeout(ctx, r.change.Within)
	err := r.link.Write(writeCtx, []devices.Setting{r.action.Pulse})
	cancel()
	lost := devices.KindOf(err) == devices.Indeterminate
	switch {
	case err != nil && !lost && (devices.KindOf(err) == devices.Unreachable || devices.KindOf(err) == devices.OwnPath || devices.KindOf(err) == ""):
		return r.end(ctx, NotApplied, "nothing was sent: "+err.Error(), err)
	case err != nil && !lost:
		return r.end(ctx, Failed, err.Error(), err)
	case r.action.Confirm == nil && lost:
		return r.end(ctx, Unknown, r.text("was sent and not answered, and has no counter to tell; it is not sent again"), nil)
	case r.action.Confirm == nil:
		return r.end(ctx, Applied, r.text("was accepted"), nil)
	}
	moved, confirmErr := r.confirm(ctx)
	switch {
	case confirmErr != nil:
		// The intent stays open: the next attempt settles it by the counter.
		return "", "", r.fail(devices.Indeterminate, "confirm "+r.action.Name, errors.Join(confirmErr, err))
	case moved == counted:
		return r.end(ctx, Applied, r.text("was done, as the counter shows"), nil)
	case moved == jumped || !lost:
		return r.end(ctx, Unknown, r.text("was accepted, and the counter does not show that it was done; it is not sent again"), nil)
	}
	return r.end(ctx, NotApplied, "the counter has not moved", r.fail(devices.Unreachable, r.action.Name,
		fmt.Errorf("%w, the counter has not moved: %w", ErrNotApplied, err)))
}

func (r *reset) text(what string) string { return r.ID + " " + r.action.Name + " " + what }

func (r *reset) end(ctx context.Context, o Outcome, detail string, err error) (Outcome, string, error) {
	if recordErr := record(ctx, r.journal, r.change, o, detail); recordErr != nil {
		return "", "", errors.Join(recordErr, err)
	}
	return o, detail, err
}

// movement is what a counter did since the intent.
type movement int

const (
	still movement = iota
	counted
	jumped
)

// likely bounds how many cycles can have happened since the intent. A counter
// that moved further, or backwards, was reset with its device.
const likely = 1000

// confirm reads the counter until it moves or the action's bound has passed.
// It outlives the caller by one reading, because the pulse has been sent.
func (r *reset) confirm(ctx context.Context) (movement, error) {
	before, err := strconv.ParseInt(r.change.Before[r.action.Confirm.Name], 10, 64)
	if err != nil {
		return still, r.fail(devices.Rejected, "confirm "+r.action.Name, fmt.Errorf("the open intent %q has no counter; read the ledger", r.change.Item))
	}
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.action.ConfirmWithin+recordWithin)
	defer cancel()
	deadline := time.Now().Add(r.action.ConfirmWithin)
	for interval := 20 * time.Millisecond; ; interval = min(2*interval, time.Second) {
		say(r.progress, "waiting for %s to confirm %s", r.ID, r.action.Name)
		now, err := r.counter(detached)
		if delta := (now - before + r.modulus()) % r.modulus(); err == nil && delta > 0 {
			if delta > likely {
				return jumped, nil
			}
			return counted, nil
		}
		if time.Now().Add(interval).After(deadline) {
			return still, err
		}
		if ctx.Err() != nil {
			// Too early to say that it did not happen.
			return still, errors.Join(ctx.Err(), err)
		}
		if err := pause(detached, interval); err != nil {
			return still, err
		}
	}
}

func (r *reset) counter(ctx context.Context) (int64, error) {
	got, err := r.read(ctx, []devices.Point{*r.action.Confirm})
	if err != nil {
		return 0, err
	}
	n, ok := got[0].(int64)
	if !ok {
		return 0, r.fail(devices.Rejected, "read the counter", fmt.Errorf("%v is not a count", got[0]))
	}
	return n, nil
}

// modulus is where the counter wraps to zero.
func (r *reset) modulus() int64 {
	if r.action.Confirm.Type == devices.Uint32 {
		return 1 << 32
	}
	return 1 << 16
}

// waitFor asks the device until it answers or the bound has passed.
func (o *Operator) waitFor(ctx context.Context, id string, within time.Duration, progress func(string)) (bool, error) {
	d, p, err := o.fleet.Device(id)
	if err != nil {
		return false, err
	}
	knock, err := o.knocker(ctx, d, p)
	if err != nil {
		return false, err
	}
	defer knock.close()
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for interval := 100 * time.Millisecond; ; interval = min(2*interval, 3*time.Second) {
		say(progress, "waiting for %s to answer, %s so far", id, time.Since(began).Round(time.Second))
		err := knock.ping(bounded)
		switch kind := devices.KindOf(err); {
		case err == nil:
			return true, nil
		case ctx.Err() != nil:
			return false, fmt.Errorf("%s: wait for it to answer: %w", id, ctx.Err())
		case bounded.Err() != nil:
			return false, nil
		case kind != devices.Unreachable && kind != devices.Rejected:
			return false, err
		}
		if pause(bounded, interval) != nil && ctx.Err() == nil {
			return false, nil
		}
	}
}
