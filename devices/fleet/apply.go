package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/baseline"
	"edgefleet/devices/sshhost"
	"edgefleet/devices/sunspec"
)

// ActionWriteSettings is the Action of a Change that writes a baseline.
const ActionWriteSettings = "write settings"

const (
	// writeWithin bounds a write of settings, which is one request for each
	// run of changed settings.
	writeWithin = 30 * time.Second
	// writeWithinMost bounds a write whatever its commands take, so that the
	// one who calls can be given a bound of his own.
	writeWithinMost = 8 * time.Minute
)

// within bounds a write of these settings. On a host it is as long as the
// validations, restarts and health checks of the profile may take, putting back
// included, and on a SunSpec device as long as it may take to adopt its curves:
// a write that is cut off there is one that a person has to look at.
func within(todo []devices.Setting) time.Duration {
	return min(max(writeWithin, sshhost.WriteWithin(todo), sunspec.WriteWithin(todo)), writeWithinMost)
}

// ApplyReport says what was changed. Got of a change is the value before.
type ApplyReport struct {
	DeviceID string
	// Baseline and Version are empty when no baseline selects the device.
	Baseline, Version string
	// Changed holds what this operation changed, over all its attempts. Beside
	// an error it holds what the operation may have changed: what its intent
	// names, when the intent was recorded.
	Changed []SettingDrift
	// Confirmed counts the settings of Changed that an attempt that died had
	// already written, found by reading.
	Confirmed int
}

// ApplyBaseline writes the settings that differ from the baseline. A device
// without a baseline has nothing to write, and is not asked.
//
// The order is: identity, interlock, read, compare, Intent with what it
// replaces, write, read back, Result. When the answer to the write was lost, the
// device is read back: as wanted is applied; as before is an error of kind Unreachable around
// ErrNotApplied, which may be tried again; anything else is kind Rejected, and
// a person's. Kind Indeterminate is left only where reading back failed too:
// then the intent stands open, and the next call with this journal settles it.
//
// Called again after its process died, it reads what an open intent was to
// change: values as wanted are confirmed and not written again, values as
// before are written, and any other value means that someone else changed it
// meanwhile, which is refused. A change that has its result is reported and
// not looked at again.
//
// Progress, which may be nil, is called at least every second while it waits.
//
// An unchanged feeder-rtu costs three requests; a changed one, one for each
// run of changed settings and one for each reading back more.
func (o *Operator) ApplyBaseline(ctx context.Context, id string, j Journal, progress func(string)) (ApplyReport, error) {
	d, _, err := o.fleet.Device(id)
	if err != nil {
		return ApplyReport{}, err
	}
	desired, ok, err := o.desired(ctx, d)
	if err != nil {
		return ApplyReport{}, err
	}
	if !ok {
		return ApplyReport{DeviceID: id}, nil
	}
	return o.apply(ctx, id, desired, o.itemOf(desired), j, progress)
}

// apply writes the settings that differ from the desired ones; base names the
// change in the journal.
func (o *Operator) apply(ctx context.Context, id string, desired baseline.Desired, base string, j Journal, progress func(string)) (ApplyReport, error) {
	item, prior, err := openItem(ctx, j, id, base, NotApplied, Partial, Failed)
	if err != nil {
		return ApplyReport{}, err
	}
	a := &apply{desired: desired, journal: j, progress: progress,
		report: ApplyReport{DeviceID: id, Baseline: desired.Baseline, Version: desired.Version}}
	if prior != nil && prior.Outcome == Unknown {
		a.change = prior.Change
		a.reportAll()
		return a.report, &devices.Error{Kind: devices.Rejected, Device: id, Op: "write settings", Err: errors.New(prior.Detail)}
	}
	if prior != nil && prior.Outcome != "" {
		a.change = prior.Change
		a.reportAll()
		if prior.Outcome == Confirmed {
			a.report.Confirmed = len(a.report.Changed)
		}
		return a.report, nil
	}
	if a.target, err = o.open(ctx, id); err != nil {
		return ApplyReport{}, err
	}
	defer a.link.Close()
	say(progress, "reading the settings of %s", id)
	if prior != nil {
		a.change, a.promised = prior.Change, true
		err = a.takeUp(ctx)
	} else {
		a.change = Change{Item: item, Action: ActionWriteSettings, Target: id,
			Before: map[string]string{}, After: map[string]string{}}
		err = a.begin(ctx)
	}
	if err != nil {
		a.report.Changed = nil
		if a.promised {
			a.reportAll()
		}
		return a.report, err
	}
	return a.report, nil
}

// itemOf names the write of exactly these values: a baseline that is changed
// between two attempts is another item, and is compared with the device anew.
func (t texts) itemOf(d baseline.Desired) string {
	h := sha256.New()
	for _, s := range d.Settings {
		fmt.Fprintf(h, "%q=%q\n", s.Point.Name, t.text(s.Point, s.Value))
	}
	return fmt.Sprintf("baseline %s %s %s", d.Baseline, d.Version, hex.EncodeToString(h.Sum(nil)[:4]))
}

type apply struct {
	*target
	desired  baseline.Desired
	journal  Journal
	progress func(string)
	change   Change
	// replaces are the values before, of a change that is not promised yet.
	replaces []Captured
	report   ApplyReport
	// promised says that the journal has the intent, so that the device may
	// have some of the change.
	promised bool
}

// begin is the way of a first attempt.
func (a *apply) begin(ctx context.Context) error {
	if err := a.mayWrite(ctx); err != nil {
		return err
	}
	got, err := a.read(ctx, points(a.desired.Settings))
	if err != nil {
		return err
	}
	var todo []devices.Setting
	for i, s := range a.desired.Settings {
		if got[i] == s.Value {
			continue
		}
		todo = append(todo, s)
		a.replaces = append(a.replaces, capturedOf(s.Point, got[i]))
		a.change.Before[s.Point.Name], a.change.After[s.Point.Name] = a.text(s.Point, got[i]), a.text(s.Point, s.Value)
	}
	if len(todo) == 0 {
		return nil
	}
	return a.write(ctx, todo)
}

// takeUp is the way of an attempt after one that died with an open intent.
func (a *apply) takeUp(ctx context.Context) error {
	var intended []devices.Setting
	for _, s := range a.desired.Settings {
		if _, ok := a.change.After[s.Point.Name]; ok {
			intended = append(intended, s)
		}
	}
	if len(intended) != len(a.change.After) {
		return a.fail(devices.Rejected, "take up an interrupted write", fmt.Errorf("the open intent %q has settings that the baseline has not; read the ledger", a.change.Item))
	}
	mismatch, err := a.identityMismatch(ctx)
	if err != nil {
		return err
	}
	if mismatch != "" {
		return a.fail(devices.Rejected, "check the identity", errors.New(mismatch))
	}
	got, err := a.read(ctx, points(intended))
	if err != nil {
		return err
	}
	state := a.classify(intended, got)
	switch {
	case len(state.foreign) > 0:
		return a.end(ctx, Unknown, state.foreignText(), a.fail(devices.Rejected, "take up an interrupted write",
			errors.New(state.foreignText()+": someone else changed it; compare the device with its baseline before it is written again")))
	case len(state.before) == 0:
		a.report.Confirmed = len(intended)
		a.reportAll()
		return a.end(ctx, Confirmed, fmt.Sprintf("an interrupted attempt had written all %d settings", len(intended)), nil)
	}
	a.report.Confirmed = len(state.wanted)
	if err := a.checkInterlock(ctx); err != nil {
		return err
	}
	return a.write(ctx, state.before)
}

// write makes the intended change and finds out what came of it.
func (a *apply) write(ctx context.Context, todo []devices.Setting) error {
	a.change.Within = within(todo)
	if err := a.journal.Intent(ctx, a.change, a.replaces); err != nil {
		if errors.Is(err, ErrChanged) {
			// It speaks for itself: no ledger has failed.
			return err
		}
		return fmt.Errorf("%s: keep the values before the change, and record the intent, so nothing was written: %w", a.ID, err)
	}
	a.promised = true
	say(a.progress, "writing %s of %s", count(len(todo), "setting"), a.ID)
	writeCtx, cancel := context.WithTimeout(ctx, a.change.Within)
	err := a.link.Write(writeCtx, todo)
	cancel()
	switch devices.KindOf(err) {
	case devices.Unreachable, devices.OwnPath, "":
		// These say that no request of the write was sent.
		if err != nil {
			return a.end(ctx, NotApplied, "nothing was sent: "+err.Error(), err)
		}
	}
	all := a.intended()
	got, readErr := a.readBack(ctx, all, err != nil && devices.KindOf(err) != devices.Indeterminate)
	if readErr != nil {
		// The intent stays open: the next attempt settles it by reading.
		return a.fail(devices.Indeterminate, "read back what was written", errors.Join(readErr, err))
	}
	state := a.classify(all, got)
	if len(state.wanted) == len(all) {
		a.reportAll()
		return a.end(ctx, Applied, fmt.Sprintf("%s written and read back", count(len(all), "setting")), nil)
	}
	return a.notAsWanted(ctx, state, err)
}

// notAsWanted ends a write after which the device is not as it should be;
// cause is why the write failed, or nil when the device accepted it.
func (a *apply) notAsWanted(ctx context.Context, state writeState, cause error) error {
	lost := devices.KindOf(cause) == devices.Indeterminate
	detail := fmt.Sprintf("%d of %d settings are as wanted", len(state.wanted), len(a.change.After))
	switch {
	case len(state.foreign) > 0:
		text := state.foreignText()
		return a.end(ctx, Unknown, text, a.fail(devices.Rejected, "read back what was written", errors.Join(errors.New(text), cause)))
	case cause == nil:
		text := "the device accepted the write and kept " + names(state.before) + " as before"
		return a.end(ctx, Failed, text, a.fail(devices.Rejected, "read back what was written", errors.New(text+"; look for a lock or a limit on the device")))
	case lost && len(state.wanted) > 0:
		return a.end(ctx, Partial, detail, a.fail(devices.Unreachable, "write settings", fmt.Errorf("%s, and the others as before: %w: %w", detail, ErrNotApplied, cause)))
	case lost:
		return a.end(ctx, NotApplied, "the device is as before", a.fail(devices.Unreachable, "write settings", fmt.Errorf("%w, the device is as before: %w", ErrNotApplied, cause)))
	case len(state.wanted) > 0:
		return a.end(ctx, Partial, detail+": "+cause.Error(), cause)
	}
	return a.end(ctx, Failed, cause.Error(), cause)
}

// end records the result. Its error comes first: without a result the next
// attempt has to read the device again, whatever came of this one.
func (a *apply) end(ctx context.Context, o Outcome, detail string, err error) error {
	if recordErr := record(ctx, a.journal, a.change, o, detail); recordErr != nil {
		return errors.Join(recordErr, err)
	}
	return err
}

// readBack reads until the settings are as wanted or the profile's bound has
// passed, and returns the last reading. With once, the first reading is the
// last. When the caller gives up before, there is an error.
func (a *apply) readBack(ctx context.Context, want []devices.Setting, once bool) ([]devices.Value, error) {
	settle := a.model.Settle
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle.UpTo+recordWithin)
	defer cancel()
	deadline := time.Now().Add(settle.UpTo)
	if err := pause(detached, settle.Wait); err != nil {
		return nil, err
	}
	for interval := max(settle.Wait/2, time.Millisecond); ; interval = min(2*interval, time.Second) {
		say(a.progress, "reading back %s of %s", count(len(want), "setting"), a.ID)
		got, err := a.read(detached, points(want))
		if err == nil && a.classify(want, got).done() {
			return got, nil
		}
		if once || time.Now().Add(interval).After(deadline) {
			return got, err
		}
		if ctx.Err() != nil {
			// Too early to say that it did not happen.
			return nil, errors.Join(ctx.Err(), err)
		}
		if err := pause(detached, interval); err != nil {
			return nil, err
		}
	}
}

// intended returns the settings of the change with the values wanted.
func (a *apply) intended() []devices.Setting {
	var out []devices.Setting
	for _, s := range a.desired.Settings {
		if _, ok := a.change.After[s.Point.Name]; ok {
			out = append(out, s)
		}
	}
	return out
}

func (a *apply) reportAll() {
	for _, s := range a.intended() {
		name := s.Point.Name
		a.report.Changed = append(a.report.Changed, SettingDrift{Setting: name, Want: a.change.After[name], Got: a.change.Before[name], Unit: s.Point.Unit})
	}
}

// writeState sorts the settings of a change by what the device has now.
type writeState struct {
	wanted, before []devices.Setting
	foreign        []string
}

func (s writeState) done() bool { return len(s.before)+len(s.foreign) == 0 }

func (s writeState) foreignText() string { return strings.Join(s.foreign, "; ") }

func (a *apply) classify(settings []devices.Setting, got []devices.Value) writeState {
	var state writeState
	for i, s := range settings {
		name := s.Point.Name
		switch text := a.text(s.Point, got[i]); text {
		case a.change.After[name]:
			state.wanted = append(state.wanted, s)
		case a.change.Before[name]:
			state.before = append(state.before, s)
		default:
			state.foreign = append(state.foreign, fmt.Sprintf("%s is %s, neither %s as before nor %s as wanted", name, text, a.change.Before[name], a.change.After[name]))
		}
	}
	return state
}

func capturedOf(p devices.Point, v devices.Value) Captured {
	return Captured{Setting: p.Name, Value: p.Exact(v), Unit: p.Unit}
}

func names(settings []devices.Setting) string {
	out := map[string]bool{}
	for _, s := range settings {
		out[s.Point.Name] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(out)), ", ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
