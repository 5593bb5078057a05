package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The outcomes of an attempt at comparing a device's configuration with its
// baseline. Only the first two are evidence: the configuration was read and
// compared.
const (
	EvidenceInSync      = "in_sync"
	EvidenceDrifted     = "drifted"
	EvidenceUnreadable  = "unreadable"   // the device did not tell
	EvidenceUnderChange = "under_change" // a workflow is changing it
	EvidenceNoBaseline  = "no_baseline"  // there is nothing to compare with

	// EvidenceUnchecked is what an onboarded device has before the first
	// attempt. It is not recorded, but shown.
	EvidenceUnchecked = "unchecked"
)

// EvidenceMaxAge is how old the evidence of a device may become: the 35 days
// within which NERC CIP-010-4 R2.1 wants changes to a baseline looked for.
const EvidenceMaxAge = 35 * 24 * time.Hour

// Evidence is what came out of one attempt.
type Evidence struct {
	DeviceID string
	Site     string
	Region   string
	Outcome  string
	// At is when the device was asked; zero, or a time to come, is now.
	At time.Time
	// Drifted counts the settings that differ; it is more than 0 for drifted
	// and 0 otherwise.
	Drifted int
	// Baseline and BaselineVersion are what was compared with.
	Baseline        string
	BaselineVersion string
	Detail          string
	// Owner is the run that asked.
	Owner
}

func (e *Evidence) check() error {
	outcomes := []string{EvidenceInSync, EvidenceDrifted, EvidenceUnreadable, EvidenceUnderChange, EvidenceNoBaseline}
	if !slices.Contains(outcomes, e.Outcome) {
		return invalidf("outcome %.40q, want one of %s", e.Outcome, strings.Join(outcomes, ", "))
	}
	if (e.Drifted > 0) != (e.Outcome == EvidenceDrifted) || e.Drifted < 0 {
		return invalidf("%d drifted settings of %.80q, which is %s", e.Drifted, e.DeviceID, e.Outcome)
	}
	err := checkFields(
		field{"device ID", &e.DeviceID, maxKeyText, true},
		field{"site", &e.Site, maxKeyText, false},
		field{"region", &e.Region, maxKeyText, false},
		field{"baseline", &e.Baseline, maxKeyText, e.compared()},
		field{"baseline version", &e.BaselineVersion, maxKeyText, false},
		field{"detail", &e.Detail, maxText, false},
	)
	if err != nil {
		return err
	}
	return e.Owner.check()
}

// compared says that the configuration was really read and compared.
func (e *Evidence) compared() bool {
	return e.Outcome == EvidenceInSync || e.Outcome == EvidenceDrifted
}

// row returns the values of evidenceColumns.
func (e Evidence) row(now time.Time) []any {
	at := now
	if !e.At.IsZero() && e.At.Before(now) {
		at = e.At
	}
	row := []any{e.DeviceID, e.Site, e.Region, e.Outcome, e.Detail, micros(at), micros(at)}
	if !e.compared() {
		return append(row, "", nullMicros{}, 0, nullMicros{}, "", "", "", "")
	}
	since := nullMicros{}
	if e.Outcome == EvidenceDrifted {
		since = toNullMicros(&at)
	}
	return append(row, e.Outcome, toNullMicros(&at), e.Drifted, since, e.Baseline, e.BaselineVersion, e.WorkflowID, e.RunID)
}

const evidenceColumns = `device_id, site, region, outcome, detail, first_at, attempted_at,
	found, evidence_at, drifted, drifted_since, baseline, baseline_version, workflow_id, run_id`

// mergeEvidence keeps the later of two attempts, and the later of two pieces of
// evidence. These are different questions: a device that could be read an hour
// ago and cannot be read now has evidence that is an hour old.
func mergeEvidence() string {
	later := func(when string, columns ...string) []string {
		sets := make([]string, len(columns))
		for i, c := range columns {
			sets[i] = fmt.Sprintf("%s = CASE WHEN %s THEN excluded.%[1]s ELSE device_evidence.%[1]s END", c, when)
		}
		return sets
	}
	const attempt = `excluded.attempted_at >= device_evidence.attempted_at`
	const evidence = `excluded.evidence_at >= COALESCE(device_evidence.evidence_at, excluded.evidence_at)`
	sets := later(attempt, "site", "region", "outcome", "detail", "attempted_at")
	sets = append(sets, later(`excluded.first_at < device_evidence.first_at`, "first_at")...)
	sets = append(sets, later(evidence, "found", "evidence_at", "drifted", "baseline", "baseline_version", "workflow_id", "run_id")...)
	// As long as a device stays drifted, the first time counts.
	sets = append(sets, later(evidence+` AND NOT (excluded.found = 'drifted' AND device_evidence.found = 'drifted')`, "drifted_since")...)
	return ` ON CONFLICT (device_id) DO UPDATE SET ` + strings.Join(sets, ", ")
}

// RecordEvidence keeps what came out of attempts on up to MaxBulk devices, all
// of it or nothing. What is older never replaces what is newer. An attempt that
// could not compare is noted, and leaves the evidence that is there, with its
// time.
func (s *Store) RecordEvidence(ctx context.Context, list []Evidence) error {
	list = slices.Clone(list)
	err := checkBulk(list, func(e Evidence) string { return e.DeviceID })
	for i := range list {
		if err == nil {
			err = list[i].check()
		}
	}
	if err != nil {
		return fmt.Errorf("record evidence: %w", err)
	}
	merge := mergeEvidence()
	_, err = write(ctx, s, func(t *txn) (struct{}, error) {
		rows := make([][]any, len(list))
		for i, e := range list {
			rows[i] = e.row(t.now)
		}
		return struct{}{}, t.insertRows(`INSERT INTO device_evidence (`+evidenceColumns+`)`, rows, merge)
	})
	if err != nil {
		return fmt.Errorf("record evidence of %d devices: %w", len(list), err)
	}
	return nil
}
