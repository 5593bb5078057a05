package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Registration is what an onboarding says of a device.
type Registration struct {
	DeviceID string
	// State is onboarding while it goes on, and onboarded or failed at its end.
	State string
	Facts
	Detail string
	Phases []Phase
	// Owner is the run that onboards, LeaseToken the lease that it has on the
	// device.
	Owner
	LeaseToken int64
	// Actor and ActivityID stand in the ledger, as does Detail.
	Actor      string
	ActivityID string
}

// Decommissioning takes a device out of service.
type Decommissioning struct {
	DeviceID string
	Owner
	LeaseToken int64
	Actor      string
	ActivityID string
	Reason     string
}

// Register notes how the onboarding of a device stands, with an event in the
// ledger when that is another state or another run than before. The device's
// lease has to have the given token (ErrLeaseLost otherwise, and nothing is
// written), so that of several runs the later one has the last word.
//
// A device is onboarded once by a run and a declared hash: whatever that run
// registers for that hash afterwards changes nothing, needs no lease, and
// returns what is there. The same holds for a retried activity that has
// registered the state already; with another declared hash that is
// ErrLedgerConflict.
//
// Onboarded replaces all facts, but for the pin when it is empty. Before a
// device is onboarded for the first time, onboarding and failed add what is
// known; afterwards they leave the facts as they are. A decommissioned device
// begins with new facts. While an onboarding goes on, the run's registration
// with fewer phases than are there comes late, and changes nothing; an end with
// fewer phases than the run has told keeps those.
func (s *Store) Register(ctx context.Context, r Registration) (Registered, error) {
	return s.registerOne(ctx, "register", r)
}

// FailRegistration is Register with the state failed; Detail says why.
func (s *Store) FailRegistration(ctx context.Context, r Registration) (Registered, error) {
	r.State = StateFailed
	return s.registerOne(ctx, "fail registration", r)
}

// Decommission takes a device out of service, under its lease as Register
// does, with an event in the ledger. Its row and the pins that it had stay; it
// has no present pin any more. A device that is decommissioned already is
// returned as it is; one that was never registered is ErrNotFound.
func (s *Store) Decommission(ctx context.Context, d Decommissioning) (Registered, error) {
	return s.registerOne(ctx, "decommission", Registration{
		DeviceID: d.DeviceID, State: StateDecommissioned, Detail: d.Reason,
		Owner: d.Owner, LeaseToken: d.LeaseToken, Actor: d.Actor, ActivityID: d.ActivityID,
	})
}

func (s *Store) registerOne(ctx context.Context, doing string, r Registration) (Registered, error) {
	err := r.check()
	if err == nil && doing == "register" && r.State == StateDecommissioned {
		err = invalidf("state %s: use Decommission", r.State)
	}
	if err != nil {
		return Registered{}, fmt.Errorf("%s: %w", doing, err)
	}
	out, err := write(ctx, s, func(t *txn) ([]Registered, error) { return t.register([]Registration{r}) })
	if err != nil {
		var batch *BatchError
		if errors.As(err, &batch) {
			err = batch.Failed[0].Err
		}
		return Registered{}, fmt.Errorf("%s %s: %w", doing, r.DeviceID, err)
	}
	return out[0], nil
}

// RegisterBatch is Register for up to MaxBulk devices, all of them or none:
// when some cannot be registered, the error is a *BatchError that names each.
// What it returns is in the order of what it was given.
func (s *Store) RegisterBatch(ctx context.Context, rs []Registration) ([]Registered, error) {
	rs = slices.Clone(rs)
	err := checkBulk(rs, func(r Registration) string { return r.DeviceID })
	for i := range rs {
		if err == nil {
			err = rs[i].check()
		}
		if err == nil && rs[i].State == StateDecommissioned {
			err = invalidf("state %s of %s: use Decommission", rs[i].State, rs[i].DeviceID)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	out, err := write(ctx, s, func(t *txn) ([]Registered, error) { return t.register(rs) })
	if err != nil {
		return nil, fmt.Errorf("register %d devices: %w", len(rs), err)
	}
	return out, nil
}

// BatchError says which devices of a batch were refused, in the order of the
// batch; nothing of the batch was written. It is each of their errors.
type BatchError struct {
	Devices int
	Failed  []DeviceError
}

// DeviceError is why one device was refused.
type DeviceError struct {
	DeviceID string
	Err      error
}

func (e *BatchError) Error() string {
	return fmt.Sprintf("nothing was written, because of %d of %d devices: the first is %s: %s",
		len(e.Failed), e.Devices, e.Failed[0].DeviceID, e.Failed[0].Err)
}

// Unwrap returns the errors of the devices.
func (e *BatchError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f.Err
	}
	return errs
}

func (r *Registration) check() error {
	states := []string{StateOnboarding, StateOnboarded, StateFailed, StateDecommissioned}
	if !slices.Contains(states, r.State) {
		return invalidf("state %.40q, want one of %s", r.State, strings.Join(states[:3], ", "))
	}
	fields := []field{
		{"device ID", &r.DeviceID, maxKeyText - len("/"+StateDecommissioned), true},
		{"detail", &r.Detail, maxText, false},
		{"actor", &r.Actor, maxKeyText, true},
		{"activity ID", &r.ActivityID, maxKeyText, true},
	}
	if r.State != StateDecommissioned {
		fields = append(fields, r.texts()...)
	}
	if err := checkFields(fields...); err != nil {
		return err
	}
	if len(r.Phases) > MaxPhases {
		return invalidf("%s has %d phases, want at most %d", r.DeviceID, len(r.Phases), MaxPhases)
	}
	phases := make([]Phase, len(r.Phases))
	for i, p := range r.Phases {
		err := checkFields(field{"phase", &p.Phase, maxKeyText, true}, field{"outcome of a phase", &p.Outcome, maxKeyText, false})
		if err != nil {
			return err
		}
		// As every time in the store; years beyond 9999 have no JSON.
		p.Started = fromMicros(micros(p.Started))
		if y := p.Started.Year(); y < 1 || y > 9999 {
			return invalidf("phase %s of %s started in the year %d", p.Phase, r.DeviceID, y)
		}
		phases[i] = p
	}
	r.Phases = phases
	return r.Owner.check()
}

// register carries out registrations of different devices.
func (t *txn) register(rs []Registration) ([]Registered, error) {
	was, leases, events, err := t.beforeRegister(rs)
	if err != nil {
		return nil, err
	}
	refused := &BatchError{Devices: len(rs)}
	out := make([]Registered, len(rs))
	changes := registryChanges{now: t.now}
	for i, r := range rs {
		now, step, err := r.step(was[r.DeviceID], leases[r.DeviceID], events[r.key()], t.now)
		if err != nil {
			refused.Failed = append(refused.Failed, DeviceError{r.DeviceID, err})
			continue
		}
		out[i] = now
		if err := changes.add(r, was[r.DeviceID], now, step); err != nil {
			return nil, err
		}
	}
	if len(refused.Failed) > 0 {
		return nil, refused
	}
	return out, changes.write(t)
}

// step is what a registration does.
type step int

const (
	stepNone     step = iota // it was done before
	stepProgress             // the same run goes on in the same state
	stepEvent                // another state, or another run
)

// step decides what a registration makes of a device. was is nil for a device
// that the registry does not know, and event is what the ledger has under the
// registration's key.
func (r Registration) step(was *Registered, lease Lease, event *LedgerEntry, at time.Time) (Registered, step, error) {
	same := was != nil && was.Owner == r.Owner
	ends := r.State == StateDecommissioned
	switch {
	case ends && was == nil:
		return Registered{}, stepNone, ErrNotFound
	case ends && was.State == StateDecommissioned:
		return *was, stepNone, nil
	case same && was.State == StateOnboarded && !ends && was.DeclaredHash == r.DeclaredHash:
		return *was, stepNone, nil
	}
	progress := same && was.State == StateOnboarding && r.State == StateOnboarding
	if event != nil && !progress {
		switch {
		case event.PlanHash != r.DeclaredHash || was == nil:
			return Registered{}, stepNone, fmt.Errorf("%w: entry %d, %s", ErrLedgerConflict, event.Seq, r.key())
		case !same:
			return Registered{}, stepNone, fmt.Errorf("%w: %s (run %s) has registered %s since", ErrLeaseLost, was.WorkflowID, was.RunID, r.DeviceID)
		}
		return *was, stepNone, nil
	}
	if !lease.grants(r.LeaseToken) {
		return Registered{}, stepNone, fmt.Errorf("%w: token %d is not the present one of %s", ErrLeaseLost, r.LeaseToken, r.DeviceID)
	}
	if progress && len(r.Phases) < len(was.Phases) {
		return *was, stepNone, nil
	}
	if progress {
		return r.onto(*was, at), stepProgress, nil
	}
	if was == nil {
		was = &Registered{DeviceID: r.DeviceID}
	}
	return r.onto(*was, at), stepEvent, nil
}

// onto returns the device as it is with the registration.
func (r Registration) onto(d Registered, at time.Time) Registered {
	ends := r.State == StateDecommissioned
	if d.State == StateDecommissioned && !ends {
		d = Registered{DeviceID: d.DeviceID, Onboardings: d.Onboardings}
	}
	switch {
	case ends:
		// What the device was stays to be read.
	case r.State == StateOnboarded:
		pin := d.Pin
		if d.Facts = r.Facts; d.Pin == "" {
			d.Pin = pin
		}
		d.OnboardedAt = &at
		d.Onboardings++
	case d.OnboardedAt == nil:
		d.learn(r.Facts)
	}
	if !ends && (d.Owner != r.Owner || len(r.Phases) >= len(d.Phases)) {
		d.Phases = r.Phases
	}
	d.State, d.Detail, d.Owner, d.ChangedAt = r.State, r.Detail, r.Owner, at
	return d
}

// key is the registration's place in the ledger.
func (r Registration) key() EffectKey { return r.record().Key() }

func (r Registration) record() Record {
	action := ActionOnboard
	if r.State == StateDecommissioned {
		action = ActionDecommission
	}
	return Record{
		Actor: r.Actor, DeviceID: r.DeviceID, Action: action, Item: r.DeviceID + "/" + r.State, Outcome: r.State, Reason: r.Detail,
		WorkflowID: r.WorkflowID, RunID: r.RunID, ActivityID: r.ActivityID, PlanHash: r.DeclaredHash,
	}
}

// ledgerText is what the ledger says of a device before and after an event.
func (r *Registered) ledgerText() (string, error) {
	if r == nil {
		return "", nil
	}
	text, err := json.Marshal(struct {
		State string `json:"state"`
		Facts
	}{r.State, r.Facts})
	if err != nil {
		return "", fmt.Errorf("facts of %s: %w", r.DeviceID, err)
	}
	return string(text), nil
}
