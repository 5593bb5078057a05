package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// The states of a device in the registry. An onboarding goes on and ends as
// onboarded or failed; it may begin again from any state. A device that was
// taken out of service is decommissioned, and keeps its row.
const (
	StateOnboarding     = "onboarding"
	StateOnboarded      = "onboarded"
	StateFailed         = "failed"
	StateDecommissioned = "decommissioned"
)

// The actions of the registry's events in the ledger. Their item is the
// device's ID and state ("edge-001/onboarded"), their outcome is the state,
// their plan hash is the declaration's hash, and before and after are JSON of
// what the registry says of the device.
const (
	ActionOnboard      = "onboard"
	ActionDecommission = "decommission"
)

// MaxPhases is how many phases an onboarding can have.
const MaxPhases = 100

// Phase is one phase of an onboarding. Outcome is in words of the caller's.
type Phase struct {
	Phase   string        `json:"phase"`
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns"`
	Outcome string        `json:"outcome"`
}

// Facts are what is known of a device.
type Facts struct {
	// DeclaredHash is the hash of the device's declaration in the fleet file,
	// Revision names the state of the fleet directory that has it.
	DeclaredHash string `json:"declared_hash"`
	Revision     string `json:"revision,omitempty"`
	Site         string `json:"site,omitempty"`
	Region       string `json:"region,omitempty"`
	Profile      string `json:"profile,omitempty"`
	// Maker, Model, Firmware and Serial are what the device says of itself.
	Maker    string `json:"maker,omitempty"`
	Model    string `json:"model,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	Serial   string `json:"serial,omitempty"`
	// Pin is what the device proves its identity with: the fingerprint of its
	// host key, or the thumbprint of its certificate.
	Pin             string `json:"pin,omitempty"`
	Baseline        string `json:"baseline,omitempty"`
	BaselineVersion string `json:"baseline_version,omitempty"`
}

// texts returns the facts with what each has to fulfil, in a fixed order.
func (f *Facts) texts() []field {
	return []field{
		{"declared hash", &f.DeclaredHash, maxKeyText, true},
		{"revision", &f.Revision, maxKeyText, false},
		{"site", &f.Site, maxKeyText, false},
		{"region", &f.Region, maxKeyText, false},
		{"profile", &f.Profile, maxKeyText, false},
		{"maker", &f.Maker, maxKeyText, false},
		{"model", &f.Model, maxKeyText, false},
		{"firmware", &f.Firmware, maxKeyText, false},
		{"serial", &f.Serial, maxKeyText, false},
		{"pin", &f.Pin, maxKeyText, false},
		{"baseline", &f.Baseline, maxKeyText, false},
		{"baseline version", &f.BaselineVersion, maxKeyText, false},
	}
}

// learn takes over what more says; what it leaves empty stays.
func (f *Facts) learn(more Facts) {
	mine, theirs := f.texts(), more.texts()
	for i := range mine {
		if *theirs[i].text != "" {
			*mine[i].text = *theirs[i].text
		}
	}
}

// Registered is a device as the registry has it.
type Registered struct {
	DeviceID string `json:"device_id"`
	State    string `json:"state"`
	Facts
	// OnboardedAt is when the device was last onboarded. It is nil before the
	// first time, and after a decommissioned device began anew; as long as it
	// is not, Facts are what the device was onboarded with.
	OnboardedAt *time.Time `json:"onboarded_at,omitempty"`
	ChangedAt   time.Time  `json:"changed_at"`
	Detail      string     `json:"detail,omitempty"`
	// Owner is the run that brought the device into its state.
	Owner
	Phases []Phase `json:"phases"`
	// Onboardings counts how many times the device became onboarded.
	Onboardings int64 `json:"onboardings"`
}

const registeredColumns = `device_id, state, declared_hash, revision, site, region, profile, maker, model,
	firmware, serial, pin, baseline, baseline_version, onboarded_at, changed_at, detail, workflow_id, run_id, phases, onboardings`

const selectRegistered = `SELECT ` + registeredColumns + ` FROM registered_device`

func scanRegistered(r *Registered, scan func(...any) error) error {
	var onboarded nullMicros
	var changed int64
	var phases string
	err := scan(&r.DeviceID, &r.State, &r.DeclaredHash, &r.Revision, &r.Site, &r.Region, &r.Profile, &r.Maker, &r.Model,
		&r.Firmware, &r.Serial, &r.Pin, &r.Baseline, &r.BaselineVersion, &onboarded, &changed, &r.Detail,
		&r.WorkflowID, &r.RunID, &phases, &r.Onboardings)
	if err != nil {
		return err
	}
	r.OnboardedAt, r.ChangedAt = fromNullMicros(onboarded), fromMicros(changed)
	if err := json.Unmarshal([]byte(phases), &r.Phases); err != nil {
		return fmt.Errorf("%w: the phases of %s cannot be read: %w", ErrDamaged, r.DeviceID, err)
	}
	return nil
}

// row returns the values of registeredColumns.
func (r Registered) row() ([]any, error) {
	phases, err := json.Marshal(r.Phases)
	if err != nil {
		return nil, fmt.Errorf("phases of %s: %w", r.DeviceID, err)
	}
	return []any{r.DeviceID, r.State, r.DeclaredHash, r.Revision, r.Site, r.Region, r.Profile, r.Maker, r.Model,
		r.Firmware, r.Serial, r.Pin, r.Baseline, r.BaselineVersion, toNullMicros(r.OnboardedAt), micros(r.ChangedAt), r.Detail,
		r.WorkflowID, r.RunID, string(phases), r.Onboardings}, nil
}

// pin returns the pin that the device has to show now.
func (r Registered) pin() string {
	if r.State == StateDecommissioned {
		return ""
	}
	return r.Pin
}

// Registered returns a device of the registry, or ErrNotFound.
func (s *Store) Registered(ctx context.Context, deviceID string) (Registered, error) {
	list, err := s.listRegistered(ctx, selectRegistered+` WHERE device_id = $1`, clean(deviceID))
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Registered{}, fmt.Errorf("registration of %s: %w", deviceID, err)
	}
	return list[0], nil
}

// RegisteredQuery selects devices of the registry after an ID, in the order of
// their IDs. Empty fields do not select. Limit 0 is 100; at most 1000 come at
// once.
type RegisteredQuery struct {
	State  string `json:"state,omitempty"`
	Site   string `json:"site,omitempty"`
	Region string `json:"region,omitempty"`
	After  string `json:"after,omitempty"`
	Limit  int    `json:"limit,omitempty"`
}

// ListRegistered returns devices of the registry, in the order of their IDs.
func (s *Store) ListRegistered(ctx context.Context, q RegisteredQuery) ([]Registered, error) {
	var w where
	w.add("device_id > $?", clean(q.After))
	w.addText("state", q.State)
	w.addText("site", q.Site)
	w.addText("region", q.Region)
	list, err := s.listRegistered(ctx, fmt.Sprintf(`%s%s ORDER BY device_id LIMIT %d`, selectRegistered, &w, limitOf(q.Limit)), w.args...)
	if err != nil {
		return nil, fmt.Errorf("list registered devices: %w", err)
	}
	return list, nil
}

func (s *Store) listRegistered(ctx context.Context, query string, args ...any) ([]Registered, error) {
	list := []Registered{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var r Registered
		err := scanRegistered(&r, scan)
		list = append(list, r)
		return err
	}, query, args...)
	return list, err
}

// Pin returns what a device has to prove its identity with; it is empty when
// the device has shown none so far. For a device that the registry does not
// know, or that is decommissioned, it is ErrNotFound: nothing that answers at
// its address is to be trusted.
func (s *Store) Pin(ctx context.Context, deviceID string) (string, error) {
	r, err := s.Registered(ctx, deviceID)
	if err == nil && r.State == StateDecommissioned {
		err = fmt.Errorf("registration of %s: %w: it is decommissioned since %s", deviceID, ErrNotFound, r.ChangedAt.Format(time.RFC3339))
	}
	if err != nil {
		return "", err
	}
	return r.Pin, nil
}

// HeldPin is a pin that a device had, and the run that gave it to the registry.
// Until is nil for the present one.
type HeldPin struct {
	Pin   string     `json:"pin"`
	Since time.Time  `json:"since"`
	Until *time.Time `json:"until,omitempty"`
	Owner
}

// PinHistory returns the last 1000 pins of a device, oldest first.
func (s *Store) PinHistory(ctx context.Context, deviceID string) ([]HeldPin, error) {
	pins := []HeldPin{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var p HeldPin
		var since int64
		var until nullMicros
		err := scan(&p.Pin, &since, &until, &p.WorkflowID, &p.RunID)
		p.Since, p.Until = fromMicros(since), fromNullMicros(until)
		pins = append(pins, p)
		return err
	}, fmt.Sprintf(`SELECT pin, since, until, workflow_id, run_id FROM device_pin WHERE device_id = $1
		ORDER BY id DESC LIMIT %d`, maxLimit), clean(deviceID))
	if err != nil {
		return nil, fmt.Errorf("pins of %s: %w", deviceID, err)
	}
	slices.Reverse(pins)
	return pins, nil
}
