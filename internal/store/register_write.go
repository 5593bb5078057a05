package store

import "time"

// beforeRegister returns what registrations are decided on: the devices and
// leases that are there, by device, and the events, by key.
func (t *txn) beforeRegister(rs []Registration) (map[string]*Registered, map[string]Lease, map[EffectKey]*LedgerEntry, error) {
	ids := make([]string, len(rs))
	// The items that one activity may have registered; mostly there is only
	// one activity.
	items := map[EffectKey][]string{}
	for i, r := range rs {
		ids[i] = r.DeviceID
		key := r.key()
		item := key.Item
		key.Item = ""
		items[key] = append(items[key], item)
	}
	was := map[string]*Registered{}
	err := inKeys(ids, nil, func(in string, args []any) error {
		return t.rows(func(scan func(...any) error) error {
			var r Registered
			err := scanRegistered(&r, scan)
			was[r.DeviceID] = &r
			return err
		}, selectRegistered+` WHERE device_id `+in, args...)
	})
	if err != nil {
		return nil, nil, nil, err
	}
	leases, err := t.leases(ids)
	if err != nil {
		return nil, nil, nil, err
	}
	events := map[EffectKey]*LedgerEntry{}
	for key, items := range items {
		err := inKeys(items, []any{key.WorkflowID, key.RunID, key.ActivityID, key.Action, PhaseEvent}, func(in string, args []any) error {
			return t.rows(func(scan func(...any) error) error {
				var e LedgerEntry
				err := scanEntry(&e, scan)
				events[e.Record().Key()] = &e
				return err
			}, `SELECT `+ledgerColumns+` FROM ledger
				WHERE workflow_id = $1 AND run_id = $2 AND activity_id = $3 AND action = $4 AND phase = $5 AND item `+in, args...)
		})
		if err != nil {
			return nil, nil, nil, err
		}
	}
	return was, leases, events, nil
}

// registryChanges collects what registrations write.
type registryChanges struct {
	now     time.Time
	devices [][]any
	events  []Record
	// pins are new ones; the devices of unpinned lose the one that they have.
	pins     [][]any
	unpinned []string
	// renewed are devices that begin anew, for which earlier evidence says
	// nothing.
	renewed []string
}

func (c *registryChanges) add(r Registration, was *Registered, now Registered, s step) error {
	if s == stepNone {
		return nil
	}
	row, err := now.row()
	if err != nil {
		return err
	}
	c.devices = append(c.devices, row)
	before := ""
	if was != nil {
		before = was.pin()
	}
	if after := now.pin(); after != before {
		if before != "" {
			c.unpinned = append(c.unpinned, r.DeviceID)
		}
		if after != "" {
			c.pins = append(c.pins, []any{r.DeviceID, after, micros(c.now), r.WorkflowID, r.RunID})
		}
	}
	if was != nil && was.State == StateDecommissioned {
		c.renewed = append(c.renewed, r.DeviceID)
	}
	if s != stepEvent {
		return nil
	}
	rec := r.record()
	if rec.Before, err = was.ledgerText(); err == nil {
		rec.After, err = now.ledgerText()
	}
	c.events = append(c.events, rec)
	return err
}

func (c *registryChanges) write(t *txn) error {
	err := t.insertRows(`INSERT INTO registered_device (`+registeredColumns+`)`, c.devices,
		` ON CONFLICT (device_id) DO UPDATE SET state = excluded.state, declared_hash = excluded.declared_hash,
			revision = excluded.revision, site = excluded.site, region = excluded.region, profile = excluded.profile,
			maker = excluded.maker, model = excluded.model, firmware = excluded.firmware, serial = excluded.serial,
			pin = excluded.pin, baseline = excluded.baseline, baseline_version = excluded.baseline_version,
			onboarded_at = excluded.onboarded_at, changed_at = excluded.changed_at, detail = excluded.detail,
			workflow_id = excluded.workflow_id, run_id = excluded.run_id, phases = excluded.phases, onboardings = excluded.onboardings`)
	if err != nil {
		return err
	}
	err = inKeys(c.unpinned, []any{micros(c.now)}, func(in string, args []any) error {
		_, err := t.exec(`UPDATE device_pin SET until = $1 WHERE until IS NULL AND device_id `+in, args...)
		return err
	})
	if err != nil {
		return err
	}
	if err := t.insertRows(`INSERT INTO device_pin (device_id, pin, since, workflow_id, run_id)`, c.pins, ""); err != nil {
		return err
	}
	err = inKeys(c.renewed, nil, func(in string, args []any) error {
		_, err := t.exec(`DELETE FROM device_evidence WHERE device_id `+in, args...)
		return err
	})
	if err != nil || len(c.events) == 0 {
		return err
	}
	_, err = t.appendAll(PhaseEvent, c.events...)
	return err
}

// checkBulk refuses work for no device, too many, or one device twice.
func checkBulk[T any](items []T, device func(T) string) error {
	if n := len(items); n == 0 || n > MaxBulk {
		return invalidf("%d devices in one call, want 1 to %d", n, MaxBulk)
	}
	seen := make(map[string]bool, len(items))
	for _, item := range items {
		id := clean(device(item))
		if seen[id] {
			return invalidf("device %s is there twice", id)
		}
		seen[id] = true
	}
	return nil
}
