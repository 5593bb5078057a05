package store

import (
	"context"
	"fmt"
	"time"
)

// DeviceVersion is what a device said that it runs.
type DeviceVersion struct {
	DeviceID string    `json:"device_id"`
	Version  string    `json:"version"`
	SeenAt   time.Time `json:"seen_at"`
}

// SawVersion notes what a device said that it runs, now.
func (s *Store) SawVersion(ctx context.Context, deviceID, version string) error {
	err := checkFields(field{"device ID", &deviceID, maxKeyText, true}, field{"version", &version, maxKeyText, true})
	if err != nil {
		return fmt.Errorf("note a version: %w", err)
	}
	_, err = write(ctx, s, func(t *txn) (struct{}, error) {
		_, err := t.exec(`INSERT INTO device_version (device_id, version, seen_at) VALUES ($1, $2, $3)
			ON CONFLICT (device_id) DO UPDATE SET version = excluded.version, seen_at = excluded.seen_at`,
			deviceID, version, micros(t.now))
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("note the version of %s: %w", deviceID, err)
	}
	return nil
}

// Versions returns what onboarded devices after the given ID run, in the order
// of their IDs: what they said last, in an onboarding or since. Limit 0 is 100;
// at most 1000 come at once.
func (s *Store) Versions(ctx context.Context, after string, limit int) ([]PatchedDevice, error) {
	list := []PatchedDevice{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var d PatchedDevice
		var onboarded, seen nullMicros
		var version *string
		err := scan(&d.DeviceID, &d.Site, &d.Region, &d.Profile, &d.Version, &onboarded, &version, &seen)
		d.OnboardedAt, d.SeenAt = fromNullMicros(onboarded), fromNullMicros(onboarded)
		if at := fromNullMicros(seen); at != nil && version != nil && (d.SeenAt == nil || at.After(*d.SeenAt)) {
			d.Version, d.SeenAt = *version, at
		}
		list = append(list, d)
		return err
	}, fmt.Sprintf(`SELECT r.device_id, r.site, r.region, r.profile, r.firmware, r.onboarded_at, v.version, v.seen_at
		FROM registered_device r LEFT JOIN device_version v ON v.device_id = r.device_id
		WHERE r.state = 'onboarded' AND r.device_id > $1 ORDER BY r.device_id LIMIT %d`, limitOf(limit)), clean(after))
	if err != nil {
		return nil, fmt.Errorf("list versions: %w", err)
	}
	return list, nil
}

// PatchedDevice is an onboarded device with the version that it runs.
type PatchedDevice struct {
	DeviceID, Site, Region, Profile string
	// Version is "" where the device never said; SeenAt is when it did.
	Version     string
	SeenAt      *time.Time
	OnboardedAt *time.Time
}
