package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgefleet/devices"
)

// Journal is the memory of one operation that has an effect: what was found
// before, what was about to be done, and what came of it. It outlives the
// process, and an operation that died is called again with the same journal.
// What it keeps is kept by operation (workflow, run and activity), so that two
// operations do not see each other's records.
type Journal interface {
	// Capture keeps values as they stand, without an intent to replace them.
	// What this operation captured of a setting first stays.
	Capture(ctx context.Context, device string, values []Captured) error
	// Captured returns what this operation captured first of each setting of a
	// device, over all its attempts: what it found there.
	Captured(ctx context.Context, device string) ([]Captured, error)
	// Prior returns what an earlier attempt at this operation recorded of an
	// item, or nil when it recorded nothing.
	Prior(ctx context.Context, item string) (*Record, error)
	// Intent says that the change is about to be made. When it fails, the
	// change is not made; it has to fail when the caller no longer owns the
	// device. It is given an intent again, unchanged, when an operation that
	// died goes on to write: it keeps one record, and checks the owner anew.
	// The values that it replaces are captured in the same step, so that neither
	// is kept without the other.
	Intent(ctx context.Context, c Change, replaces []Captured) error
	// Result says what came of an intent. It is called with a context that
	// outlives the caller's cancellation for a few seconds.
	Result(ctx context.Context, c Change, o Outcome, detail string) error
}

// Change is one change to one device.
type Change struct {
	// Item names the change within its operation. A second attempt, after an
	// outcome that did not do it, has an item of its own ("... #2").
	Item string
	// Action is "write settings", or the name of the action of the target.
	Action string
	// Target is the ID of the device that is written to.
	Target string
	// Before and After are values by the name of the setting or counter, as
	// devices.Point.Text renders them.
	Before, After map[string]string
	// Within bounds how long the write can be in flight after the intent.
	Within time.Duration
}

// Captured is a setting's value before a change, as devices.Point.Exact renders
// it, so that a file can be put back.
type Captured struct {
	Setting, Value, Unit string
}

// Outcome is what came of an intent. The set is closed.
type Outcome string

// The outcomes. After NotApplied, Partial and Failed, another attempt at the
// operation looks at the device and decides anew; the others are final.
const (
	// Applied: written, and read back as wanted.
	Applied Outcome = "applied"
	// Confirmed: an attempt that died had already done it.
	Confirmed Outcome = "confirmed"
	// NotApplied: the device is as it was before.
	NotApplied Outcome = "not_applied"
	// Partial: some settings were written, the others are as before.
	Partial Outcome = "partly_applied"
	// Failed: the device refused it, or did not keep it.
	Failed Outcome = "failed"
	// Unknown: nobody can tell whether it happened, or the device has what
	// was neither there before nor to be written.
	Unknown Outcome = "indeterminate"
)

// Record is what a journal has of a change.
type Record struct {
	Change Change
	// Outcome is "" while there is an intent and no result.
	Outcome Outcome
	Detail  string
}

// ErrNotApplied is in the chain of errors that say that a write was lost and
// the device is as it was: trying again is safe.
var ErrNotApplied = errors.New("the write did not take effect")

// maxRounds bounds the attempts at one operation. Retry policies end long
// before; it keeps a broken journal from being asked for ever.
const maxRounds = 50

// open returns the item for this attempt, with the record that decides how it
// goes on: nil to begin, one without an outcome to take up, one with an
// outcome that is final. retry says which outcomes are not final.
func openItem(ctx context.Context, j Journal, device, base string, retry ...Outcome) (string, *Record, error) {
next:
	for n := 1; n <= maxRounds; n++ {
		item := base
		if n > 1 {
			item = fmt.Sprintf("%s #%d", base, n)
		}
		rec, err := j.Prior(ctx, item)
		if err != nil {
			return "", nil, fmt.Errorf("%s: look for an earlier attempt at %q: %w", device, item, err)
		}
		if rec == nil {
			return item, nil, nil
		}
		for _, o := range retry {
			if rec.Outcome == o {
				continue next
			}
		}
		return item, rec, nil
	}
	return "", nil, &devices.Error{Kind: devices.Rejected, Device: device, Op: base,
		Err: fmt.Errorf("it failed %d times; find out why before it is tried again", maxRounds)}
}

// recordWithin bounds a result's way into the journal after the caller's
// context has ended.
const recordWithin = 10 * time.Second

// record writes a result even when the caller was cancelled meanwhile: what
// was done to a device is known now, and only now for free.
func record(ctx context.Context, j Journal, c Change, o Outcome, detail string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWithin)
	defer cancel()
	if err := j.Result(ctx, c, o, detail); err != nil {
		return fmt.Errorf("%s: record the result of %q (%s): %w", c.Target, c.Item, o, err)
	}
	return nil
}
