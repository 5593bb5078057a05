package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// The states of a plan.
const (
	PlanPlanning = "planning"
	PlanFrozen   = "frozen"
)

// PlanPatch is the Kind of plans of a patch.
const PlanPatch = "patch"

// MaxPlan is how many devices a plan can have.
const MaxPlan = 20_000

// Plan is what a rollout would do. Source is the text of the baseline, Selector
// and Strategy are as they were asked for, Strategy and Waves as JSON.
type Plan struct {
	PlanID string `json:"plan_id"`
	Hash   string `json:"hash,omitempty"`
	State  string `json:"state"`
	// Kind is what it is a plan of: "" is configuration, else it is PlanPatch.
	// Baseline, Version and File are then those of the patch.
	Kind     string `json:"kind,omitempty"`
	Baseline string `json:"baseline"`
	Version  string `json:"version"`
	File     string `json:"file"`
	Source   string `json:"source"`
	Selector string `json:"selector"`
	Strategy string `json:"strategy"`
	// Revision names the state of the fleet directory that was planned with.
	Revision string `json:"revision"`
	Waves    string `json:"waves"`
	Actor    string `json:"actor"`
	Reason   string `json:"reason"`
	// CreatedAt is the store's time; ExpiresAt is nil before it is frozen.
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// Owner is the run that plans.
	Owner
}

// PlanDevice is one device of a plan.
type PlanDevice struct {
	DeviceID string `json:"device_id"`
	Site     string `json:"site"`
	Region   string `json:"region"`
	// Batch is the part of the planning that looks at it, from 0.
	Batch int `json:"-"`
	// Wave counts from 1; 0 is a device that is left out, and Excluded why.
	Wave     int    `json:"wave"`
	Excluded string `json:"excluded,omitempty"`
	Detail   string `json:"detail,omitempty"`
	// Calendar names the windows and freezes that hold for the device.
	Calendar string `json:"calendar,omitempty"`
	// Takes is how long it is expected to be in work.
	Takes   time.Duration   `json:"takes_ns,omitempty"`
	Changes []PlannedChange `json:"changes,omitempty"`
	// Settings are the exact values of everything that the device shall have
	// afterwards, by the name of the setting.
	Settings map[string]string `json:"settings,omitempty"`
}

// PlannedChange is one setting that a plan changes. Before and After are exact.
type PlannedChange struct {
	Setting string `json:"setting"`
	Before  string `json:"before"`
	After   string `json:"after"`
	Unit    string `json:"unit,omitempty"`
	// BeforeText and AfterText are what people and ledgers are shown.
	BeforeText string `json:"before_text"`
	AfterText  string `json:"after_text"`
	// File says that the values are the text of a file, which can be shown as
	// a diff.
	File bool `json:"file,omitempty"`
}

func (p *Plan) check() error {
	err := checkFields(
		field{"plan ID", &p.PlanID, maxKeyText, true},
		field{"baseline", &p.Baseline, maxKeyText, true},
		field{"version", &p.Version, maxKeyText, true},
		field{"file", &p.File, maxKeyText, true},
		field{"source", &p.Source, maxText, true},
		field{"selector", &p.Selector, maxText, false},
		field{"strategy", &p.Strategy, maxText, true},
		field{"revision", &p.Revision, maxKeyText, true},
		field{"actor", &p.Actor, maxKeyText, true},
		field{"reason", &p.Reason, maxText, false},
	)
	if err == nil && p.Kind != "" && p.Kind != PlanPatch {
		err = invalidf("kind %q", p.Kind)
	}
	if err != nil {
		return err
	}
	return p.Owner.check()
}

// CreatePlan begins a plan of devices that have still to be looked at. A plan
// that is there already is returned as it is, for a retried activity.
func (s *Store) CreatePlan(ctx context.Context, p Plan, devices []PlanDevice) (Plan, error) {
	err := p.check()
	if n := len(devices); err == nil && (n == 0 || n > MaxPlan) {
		err = invalidf("the plan has %d devices, want 1 to %d", n, MaxPlan)
	}
	if err != nil {
		return Plan{}, fmt.Errorf("create plan: %w", err)
	}
	out, err := write(ctx, s, func(t *txn) (Plan, error) {
		if was, found, err := t.plan(p.PlanID); err != nil || found {
			return was, err
		}
		now := p
		now.State, now.Hash, now.CreatedAt, now.ExpiresAt, now.Waves = PlanPlanning, "", t.now, nil, "[]"
		_, err := t.exec(`INSERT INTO rollout_plan (`+planColumns+`) VALUES
			($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`, now.row()...)
		if err != nil {
			return Plan{}, err
		}
		rows := make([][]any, len(devices))
		for i, d := range devices {
			rows[i] = []any{p.PlanID, clean(d.DeviceID), clean(d.Site), clean(d.Region), d.Batch, 0, "", "", "", 0, "[]", "{}"}
		}
		return now, t.insertRows(`INSERT INTO rollout_plan_device (`+planDeviceColumns+`)`, rows, "")
	})
	if err != nil {
		return Plan{}, fmt.Errorf("create plan %s: %w", p.PlanID, err)
	}
	return out, nil
}

// SetPlanned keeps what was found of devices of a plan, all of it or nothing.
// A plan that is frozen does not change: then it does nothing.
func (s *Store) SetPlanned(ctx context.Context, planID string, devices []PlanDevice) error {
	if err := checkBulk(devices, func(d PlanDevice) string { return d.DeviceID }); err != nil {
		return fmt.Errorf("plan %s: %w", planID, err)
	}
	_, err := write(ctx, s, func(t *txn) (struct{}, error) {
		p, found, err := t.plan(planID)
		if err == nil && !found {
			err = ErrNotFound
		}
		if err != nil || p.State == PlanFrozen {
			return struct{}{}, err
		}
		for _, d := range devices {
			changes, settings, err := d.texts()
			if err != nil {
				return struct{}{}, err
			}
			_, err = t.exec(`UPDATE rollout_plan_device SET excluded = $3, detail = $4, takes = $5, changes = $6, settings = $7
				WHERE plan_id = $1 AND device_id = $2`,
				planID, clean(d.DeviceID), clean(d.Excluded), clean(d.Detail), d.Takes.Microseconds(), changes, settings)
			if err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		return fmt.Errorf("plan %s: %w", planID, err)
	}
	return nil
}

// FreezePlan gives a plan its hash, its end and the place of every device that
// is named: wave, reason to be left out, calendar. From then on it does not
// change. A plan that is frozen with the same hash is returned as it is; with
// another one that is ErrInvalid.
func (s *Store) FreezePlan(ctx context.Context, p Plan, devices []PlanDevice) (Plan, error) {
	if err := checkFields(field{"hash", &p.Hash, maxKeyText, true}, field{"waves", &p.Waves, maxText, true}); err != nil {
		return Plan{}, fmt.Errorf("freeze plan %s: %w", p.PlanID, err)
	}
	out, err := write(ctx, s, func(t *txn) (Plan, error) {
		was, found, err := t.plan(p.PlanID)
		switch {
		case err != nil:
			return Plan{}, err
		case !found:
			return Plan{}, ErrNotFound
		case was.State == PlanFrozen && was.Hash == p.Hash:
			return was, nil
		case was.State == PlanFrozen:
			return Plan{}, invalidf("it is frozen with the hash %s", was.Hash)
		}
		for _, d := range devices {
			_, err := t.exec(`UPDATE rollout_plan_device SET wave = $3, excluded = $4, detail = $5, calendar = $6 WHERE plan_id = $1 AND device_id = $2`,
				p.PlanID, d.DeviceID, d.Wave, clean(d.Excluded), clean(d.Detail), clean(d.Calendar))
			if err != nil {
				return Plan{}, err
			}
		}
		now := was
		now.State, now.Hash, now.ExpiresAt, now.Waves = PlanFrozen, p.Hash, fromNullMicros(toNullMicros(p.ExpiresAt)), p.Waves
		_, err = t.exec(`UPDATE rollout_plan SET state = $2, hash = $3, expires_at = $4, waves = $5 WHERE plan_id = $1`,
			p.PlanID, now.State, now.Hash, toNullMicros(now.ExpiresAt), now.Waves)
		return now, err
	})
	if err != nil {
		return Plan{}, fmt.Errorf("freeze plan %s: %w", p.PlanID, err)
	}
	return out, nil
}

const planColumns = `plan_id, hash, state, baseline, version, file, source, selector, strategy, revision, waves,
	actor, reason, created_at, expires_at, workflow_id, run_id, kind`

func (p Plan) row() []any {
	return []any{p.PlanID, p.Hash, p.State, p.Baseline, p.Version, p.File, p.Source, p.Selector, p.Strategy, p.Revision, p.Waves,
		p.Actor, p.Reason, micros(p.CreatedAt), toNullMicros(p.ExpiresAt), p.WorkflowID, p.RunID, p.Kind}
}

func scanPlan(p *Plan, scan func(...any) error) error {
	var created int64
	var expires nullMicros
	err := scan(&p.PlanID, &p.Hash, &p.State, &p.Baseline, &p.Version, &p.File, &p.Source, &p.Selector, &p.Strategy, &p.Revision, &p.Waves,
		&p.Actor, &p.Reason, &created, &expires, &p.WorkflowID, &p.RunID, &p.Kind)
	p.CreatedAt, p.ExpiresAt = fromMicros(created), fromNullMicros(expires)
	return err
}

func (t *txn) plan(id string) (p Plan, found bool, err error) {
	err = t.rows(func(scan func(...any) error) error {
		found = true
		return scanPlan(&p, scan)
	}, `SELECT `+planColumns+` FROM rollout_plan WHERE plan_id = $1`, id)
	return p, found, err
}

// Plan returns a plan by its ID, or ErrNotFound.
func (s *Store) Plan(ctx context.Context, id string) (Plan, error) {
	return s.onePlan(ctx, id, `WHERE plan_id = $1`, clean(id))
}

// minHash is the fewest digits by which a plan is found.
const minHash = 8

// PlanByHash returns the frozen plan whose hash begins so, or ErrNotFound. With
// fewer than 8 digits, or when several plans begin so, it is ErrInvalid.
func (s *Store) PlanByHash(ctx context.Context, prefix string) (Plan, error) {
	if len(prefix) < minHash {
		return Plan{}, fmt.Errorf("plan %q: %w", prefix, invalidf("give at least %d digits of the hash", minHash))
	}
	return s.onePlan(ctx, prefix, `WHERE state = 'frozen' AND substr(hash, 1, $2) = $1`, clean(prefix), len(clean(prefix)))
}

func (s *Store) onePlan(ctx context.Context, name, where string, args ...any) (Plan, error) {
	list, err := s.plans(ctx, where+` LIMIT 2`, args...)
	switch {
	case err != nil:
	case len(list) == 0:
		err = ErrNotFound
	case len(list) > 1:
		err = invalidf("several plans begin so; give more of the hash")
	default:
		return list[0], nil
	}
	return Plan{}, fmt.Errorf("plan %s: %w", name, err)
}

// Plans returns the newest plans, without their sources. Limit 0 is 100; at
// most 1000 come at once.
func (s *Store) Plans(ctx context.Context, limit int) ([]Plan, error) {
	list, err := s.plans(ctx, fmt.Sprintf(`ORDER BY created_at DESC, plan_id LIMIT %d`, limitOf(limit)))
	if err != nil {
		return nil, fmt.Errorf("list plans: %w", err)
	}
	for i := range list {
		list[i].Source = ""
	}
	return list, nil
}

func (s *Store) plans(ctx context.Context, rest string, args ...any) ([]Plan, error) {
	list := []Plan{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var p Plan
		err := scanPlan(&p, scan)
		list = append(list, p)
		return err
	}, `SELECT `+planColumns+` FROM rollout_plan `+rest, args...)
	return list, err
}

const planDeviceColumns = `plan_id, device_id, site, region, batch, wave, excluded, detail, calendar, takes, changes, settings`

func (d PlanDevice) texts() (changes, settings string, err error) {
	c, err := json.Marshal(slices.Concat([]PlannedChange{}, d.Changes))
	if err != nil {
		return "", "", err
	}
	s, err := json.Marshal(d.Settings)
	if err != nil {
		return "", "", err
	}
	if d.Settings == nil {
		s = []byte("{}")
	}
	for _, text := range [][]byte{c, s} {
		if len(text) > maxPlanned {
			return "", "", invalidf("the settings of %s take %d bytes, want at most %d", d.DeviceID, len(text), maxPlanned)
		}
	}
	return clean(string(c)), clean(string(s)), nil
}

// maxPlanned bounds the settings and the changes of one device, in bytes.
const maxPlanned = 8 << 20

func scanPlanDevice(d *PlanDevice, scan func(...any) error) error {
	var plan, changes, settings string
	var takes int64
	err := scan(&plan, &d.DeviceID, &d.Site, &d.Region, &d.Batch, &d.Wave, &d.Excluded, &d.Detail, &d.Calendar, &takes, &changes, &settings)
	if err != nil {
		return err
	}
	d.Takes = time.Duration(takes) * time.Microsecond
	if err = json.Unmarshal([]byte(changes), &d.Changes); err == nil {
		err = json.Unmarshal([]byte(settings), &d.Settings)
	}
	if err != nil {
		return fmt.Errorf("%w: the settings of %s in plan %s cannot be read: %w", ErrDamaged, d.DeviceID, plan, err)
	}
	return nil
}

// PlanDeviceQuery selects devices of a plan after an ID, in the order of their
// IDs. Limit 0 is 100; at most 1000 come at once.
type PlanDeviceQuery struct {
	PlanID   string
	DeviceID string
	// Batch and Wave select when they are not nil.
	Batch, Wave *int
	// Included selects the devices of waves, or else those that are left out.
	Included *bool
	After    string
	Limit    int
}

// PlanDevices returns devices of a plan.
func (s *Store) PlanDevices(ctx context.Context, q PlanDeviceQuery) ([]PlanDevice, error) {
	var w where
	w.add("plan_id = $?", clean(q.PlanID))
	w.add("device_id > $?", clean(q.After))
	w.addText("device_id", q.DeviceID)
	if q.Batch != nil {
		w.add("batch = $?", *q.Batch)
	}
	if q.Wave != nil {
		w.add("wave = $?", *q.Wave)
	}
	if q.Included != nil && *q.Included {
		w.add("wave > $?", 0)
	} else if q.Included != nil {
		w.add("wave = $?", 0)
	}
	list := []PlanDevice{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var d PlanDevice
		err := scanPlanDevice(&d, scan)
		list = append(list, d)
		return err
	}, fmt.Sprintf(`SELECT %s FROM rollout_plan_device%s ORDER BY device_id LIMIT %d`, planDeviceColumns, &w, limitOf(q.Limit)), w.args...)
	if err != nil {
		return nil, fmt.Errorf("devices of plan %s: %w", q.PlanID, err)
	}
	return list, nil
}

// PlanDevice returns one device of a plan, or ErrNotFound.
func (s *Store) PlanDevice(ctx context.Context, planID, deviceID string) (PlanDevice, error) {
	list, err := s.PlanDevices(ctx, PlanDeviceQuery{PlanID: planID, DeviceID: deviceID, Limit: 1})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s in plan %s: %w", deviceID, planID, ErrNotFound)
	}
	if err != nil {
		return PlanDevice{}, err
	}
	return list[0], nil
}
