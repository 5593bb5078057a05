package store

import (
	"context"
	"fmt"
	"time"
)

// DeviceEvidence is what is known of a device's configuration.
type DeviceEvidence struct {
	DeviceID string `json:"device_id"`
	Site     string `json:"site,omitempty"`
	Region   string `json:"region,omitempty"`

	// Outcome, Detail and AttemptedAt are those of the last attempt.
	// AttemptedAt is nil when the outcome is unchecked.
	Outcome     string     `json:"outcome"`
	Detail      string     `json:"detail,omitempty"`
	AttemptedAt *time.Time `json:"attempted_at,omitempty"`

	// Found is what was found when the configuration was last read and
	// compared: in_sync, drifted, or empty when it never was. What follows is
	// of that time, EvidenceAt.
	Found      string     `json:"found,omitempty"`
	EvidenceAt *time.Time `json:"evidence_at,omitempty"`
	// Drifted counts settings that differed; DriftedSince is when that was
	// first seen without being in sync in between.
	Drifted         int        `json:"drifted"`
	DriftedSince    *time.Time `json:"drifted_since,omitempty"`
	Baseline        string     `json:"baseline,omitempty"`
	BaselineVersion string     `json:"baseline_version,omitempty"`
	// Owner is the run that read it.
	Owner

	// LackingSince is since when there is no newer evidence: EvidenceAt, or
	// when a device without any was first tried or onboarded.
	LackingSince time.Time `json:"lacking_since"`
}

// fromEvidence selects the evidence of every device that is in service: what
// was recorded, but for decommissioned devices, and the onboarded devices for
// which nothing was recorded, because nobody would miss those otherwise.
const fromEvidence = ` FROM (
	SELECT device_id, site, region, outcome, detail, attempted_at, found, evidence_at, drifted, drifted_since,
		baseline, baseline_version, workflow_id, run_id, COALESCE(evidence_at, first_at) AS lacking_since
	FROM device_evidence e WHERE NOT EXISTS (
		SELECT 1 FROM registered_device r WHERE r.device_id = e.device_id AND r.state = '` + StateDecommissioned + `')
	UNION ALL
	SELECT device_id, site, region, '` + EvidenceUnchecked + `', '', NULL, '', NULL, 0, NULL, '', '', '', '', onboarded_at
	FROM registered_device r WHERE onboarded_at IS NOT NULL AND state <> '` + StateDecommissioned + `' AND NOT EXISTS (
		SELECT 1 FROM device_evidence e WHERE e.device_id = r.device_id)
	) evidence`

const selectEvidence = `SELECT device_id, site, region, outcome, detail, attempted_at, found, evidence_at, drifted, drifted_since,
	baseline, baseline_version, workflow_id, run_id, lacking_since` + fromEvidence

func scanEvidence(e *DeviceEvidence, scan func(...any) error) error {
	var attempted, at, since nullMicros
	var lacking int64
	err := scan(&e.DeviceID, &e.Site, &e.Region, &e.Outcome, &e.Detail, &attempted, &e.Found, &at, &e.Drifted, &since,
		&e.Baseline, &e.BaselineVersion, &e.WorkflowID, &e.RunID, &lacking)
	e.AttemptedAt, e.EvidenceAt, e.DriftedSince = fromNullMicros(attempted), fromNullMicros(at), fromNullMicros(since)
	e.LackingSince = fromMicros(lacking)
	return err
}

// EvidenceQuery selects evidence after a device ID, in the order of the IDs.
// Empty fields do not select. Limit 0 is 100; at most 1000 come at once.
type EvidenceQuery struct {
	DeviceID string `json:"device_id,omitempty"`
	// Outcome is that of the last attempt, or unchecked.
	Outcome string `json:"outcome,omitempty"`
	Site    string `json:"site,omitempty"`
	Region  string `json:"region,omitempty"`
	// OlderThan selects devices that lack evidence for longer than that.
	OlderThan time.Duration `json:"older_than_ns,omitempty"`
	After     string        `json:"after,omitempty"`
	Limit     int           `json:"limit,omitempty"`
}

// ListEvidence returns the evidence of devices in service: those for which some
// was recorded, and the onboarded ones for which none was, with the outcome
// unchecked. Decommissioned devices are left out.
func (s *Store) ListEvidence(ctx context.Context, q EvidenceQuery) ([]DeviceEvidence, error) {
	var w where
	w.add("device_id > $?", clean(q.After))
	w.addText("device_id", q.DeviceID)
	w.addText("outcome", q.Outcome)
	w.addText("site", q.Site)
	w.addText("region", q.Region)
	if q.OlderThan > 0 {
		w.add("lacking_since < $?", micros(s.now().Add(-q.OlderThan)))
	}
	list := []DeviceEvidence{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var e DeviceEvidence
		err := scanEvidence(&e, scan)
		list = append(list, e)
		return err
	}, fmt.Sprintf(`%s%s ORDER BY device_id LIMIT %d`, selectEvidence, &w, limitOf(q.Limit)), w.args...)
	if err != nil {
		return nil, fmt.Errorf("list evidence: %w", err)
	}
	return list, nil
}

// EvidenceCount counts devices by the outcome of the last attempt.
type EvidenceCount struct {
	Devices   int64            `json:"devices"`
	ByOutcome map[string]int64 `json:"by_outcome"`
	// Never counts the devices that were never compared with a baseline.
	Never int64 `json:"never"`
	// Overdue counts the devices that lack evidence for longer than OlderThan
	// of the summary.
	Overdue int64 `json:"overdue"`
	// LackingSince is that of the device that lacks evidence the longest, and
	// OldestAge how long that is; they are nil and 0 without devices.
	LackingSince *time.Time    `json:"lacking_since,omitempty"`
	OldestAge    time.Duration `json:"oldest_age_ns"`
}

// EvidenceSummary is the evidence of the whole fleet, and of each region.
type EvidenceSummary struct {
	At        time.Time     `json:"at"`
	OlderThan time.Duration `json:"older_than_ns"`
	EvidenceCount
	ByRegion map[string]*EvidenceCount `json:"by_region"`
}

// EvidenceSummary counts the devices that ListEvidence lists. olderThan is the
// age from which on they are overdue; 0 is EvidenceMaxAge.
func (s *Store) EvidenceSummary(ctx context.Context, olderThan time.Duration) (EvidenceSummary, error) {
	if olderThan <= 0 {
		olderThan = EvidenceMaxAge
	}
	sum := EvidenceSummary{
		At: s.now(), OlderThan: olderThan, EvidenceCount: EvidenceCount{ByOutcome: map[string]int64{}},
		ByRegion: map[string]*EvidenceCount{},
	}
	err := s.read(ctx, func(scan func(...any) error) error {
		var region, outcome string
		var devices, never, overdue, lacking int64
		if err := scan(&region, &outcome, &devices, &never, &overdue, &lacking); err != nil {
			return err
		}
		if sum.ByRegion[region] == nil {
			sum.ByRegion[region] = &EvidenceCount{ByOutcome: map[string]int64{}}
		}
		for _, c := range []*EvidenceCount{&sum.EvidenceCount, sum.ByRegion[region]} {
			c.Devices += devices
			c.ByOutcome[outcome] += devices
			c.Never += never
			c.Overdue += overdue
			if since := fromMicros(lacking); c.LackingSince == nil || since.Before(*c.LackingSince) {
				c.LackingSince, c.OldestAge = &since, sum.At.Sub(since)
			}
		}
		return nil
	}, `SELECT region, outcome, count(*), count(*) - count(evidence_at),
		count(CASE WHEN lacking_since < $1 THEN 1 END), min(lacking_since)`+fromEvidence+` GROUP BY region, outcome`,
		micros(sum.At.Add(-olderThan)))
	if err != nil {
		return EvidenceSummary{}, fmt.Errorf("summarise evidence: %w", err)
	}
	return sum, nil
}
