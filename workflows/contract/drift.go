package contract

import "time"

// WorkflowDriftScan compares the whole fleet, or a part of it, with its
// baselines. It takes a DriftScanInput and returns a DriftScanProgress; that
// devices have drifted is a result and not an error.
const WorkflowDriftScan = "edgefleet.drift_scan"

// ActivityScanDrift compares a batch of devices of one region with their
// baselines, on the queue of the region, and records what came out as evidence.
const ActivityScanDrift = "scan_drift"

// MaxScanBatch is the most devices that one ActivityScanDrift has.
const MaxScanBatch = 50

// MaxSpread is the most time over which a scan can be spread: less than the 35
// days within which evidence has to be renewed.
const MaxSpread = 30 * 24 * time.Hour

// The outcomes of looking for drift on a device.
const (
	DriftInSync      = "in_sync"
	DriftDrifted     = "drifted"
	DriftUnreadable  = "unreadable"   // the device did not tell; never taken for in sync
	DriftUnderChange = "under_change" // a workflow is changing it, so it is not judged
	DriftNoBaseline  = "no_baseline"  // there is nothing to compare with

	// DriftUnchecked is what a report has for an onboarded device before the
	// first look.
	DriftUnchecked = "unchecked"
)

// DriftScanInput is the input of WorkflowDriftScan.
type DriftScanInput struct {
	Selection Selection `json:"selection"`
	Actor     Actor     `json:"actor"`
	Reason    string    `json:"reason"`
	// Spread is the time over which the batches begin; 0 is as soon as there
	// is room for them.
	Spread time.Duration `json:"spread_ns,omitempty"`

	// Resume is set by the workflow itself when it continues as new.
	Resume *DriftScanState `json:"resume,omitempty"`
}

// DriftScanState is what a scan takes along when it continues as new.
type DriftScanState struct {
	Pending  []DriftBatch      `json:"pending"`
	Progress DriftScanProgress `json:"progress"`
}

// DriftBatch is a part of a scan. Number, from 0, says when it is due.
type DriftBatch struct {
	Number int      `json:"number"`
	Region string   `json:"region"`
	Sites  []string `json:"sites"`
	IDs    []string `json:"ids"`
}

// DriftCounts counts devices by outcome.
type DriftCounts struct {
	InSync      int `json:"in_sync"`
	Drifted     int `json:"drifted"`
	Unreadable  int `json:"unreadable"`
	UnderChange int `json:"under_change"`
	NoBaseline  int `json:"no_baseline"`
}

// Count counts one more device of an outcome.
func (c *DriftCounts) Count(outcome string) {
	switch outcome {
	case DriftInSync:
		c.InSync++
	case DriftDrifted:
		c.Drifted++
	case DriftUnderChange:
		c.UnderChange++
	case DriftNoBaseline:
		c.NoBaseline++
	default:
		// What nobody can name was not compared.
		c.Unreadable++
	}
}

// Done is how many devices were looked at.
func (c *DriftCounts) Done() int {
	return c.InSync + c.Drifted + c.Unreadable + c.UnderChange + c.NoBaseline
}

// DriftScanProgress is the answer to QueryProgress of a scan, and its result.
type DriftScanProgress struct {
	// Total counts the selected devices; it is more than DriftCounts.Done
	// while the scan runs.
	Total int `json:"total"`
	DriftCounts
	// Unauthorised counts the drifted devices of which no change of ours is
	// the cause.
	Unauthorised int `json:"unauthorised"`
	// Found holds the first drifted devices, Missed the first unreadable ones;
	// the counts count all of them.
	Found  []DriftFinding `json:"found,omitempty"`
	Missed []DriftFinding `json:"missed,omitempty"`
	// Batches is how many there are, Running how many are in work.
	Batches  int       `json:"batches"`
	Running  int       `json:"running,omitempty"`
	Began    time.Time `json:"began"`
	Revision string    `json:"revision"`
}

// DriftFinding is what came out of looking at one device.
type DriftFinding struct {
	DeviceID string    `json:"device_id"`
	Site     string    `json:"site"`
	Region   string    `json:"region"`
	Outcome  string    `json:"outcome"`
	At       time.Time `json:"at"`
	// Drifted counts the settings that differ, and Since is when the device
	// was first seen drifted without being in sync in between.
	Drifted int        `json:"drifted,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	// Unauthorised says that it differs although no change of ours is in
	// flight, and the last one came to its end as it was meant to, or there
	// never was one.
	Unauthorised bool   `json:"unauthorised,omitempty"`
	Baseline     string `json:"baseline,omitempty"`
	Version      string `json:"version,omitempty"`
	Detail       string `json:"detail,omitempty"`
}

// ScanDriftInput is the input of ActivityScanDrift.
type ScanDriftInput struct {
	Region string   `json:"region"`
	IDs    []string `json:"ids"`
}

// ScanDriftResult is the result of ActivityScanDrift; Found has the drifted
// and the unreadable devices, in the order of the input. It is also the detail
// of its heartbeats, and then has all devices that were looked at.
type ScanDriftResult struct {
	DriftCounts
	Found []DriftFinding `json:"found,omitempty"`
}

// EvidenceQuery selects a page of the evidence in the order of the device IDs;
// empty fields do not select.
type EvidenceQuery struct {
	Site    string `json:"site,omitempty"`
	Region  string `json:"region,omitempty"`
	Outcome string `json:"outcome,omitempty"`
	// OlderThan selects devices that lack evidence for longer than that.
	OlderThan time.Duration `json:"older_than_ns,omitempty"`
	// After is the last ID of the page before.
	After string `json:"after,omitempty"`
}

// EvidencePage is a page of the evidence; Next is the After of the next page,
// or empty when there is none.
type EvidencePage struct {
	Devices []DeviceEvidence `json:"devices"`
	Next    string           `json:"next,omitempty"`
}

// DeviceEvidence is what is known of a device's configuration.
type DeviceEvidence struct {
	DeviceID string `json:"device_id"`
	Site     string `json:"site"`
	Region   string `json:"region"`
	// Outcome, Detail and AttemptedAt are those of the last look.
	Outcome     string     `json:"outcome"`
	Detail      string     `json:"detail,omitempty"`
	AttemptedAt *time.Time `json:"attempted_at,omitempty"`
	// Found is in_sync or drifted, as it was when the configuration was last
	// read, at EvidenceAt; Drifted, DriftedSince and Baseline are of that time.
	Found        string     `json:"found,omitempty"`
	EvidenceAt   *time.Time `json:"evidence_at,omitempty"`
	Drifted      int        `json:"drifted"`
	DriftedSince *time.Time `json:"drifted_since,omitempty"`
	Baseline     string     `json:"baseline,omitempty"`
	Version      string     `json:"version,omitempty"`
	// LackingSince is since when there is no newer evidence: EvidenceAt, or
	// when a device without any was first tried or onboarded.
	LackingSince time.Time `json:"lacking_since"`
}

// DriftScanID is the workflow ID of a scan for drift.
func DriftScanID(nonce string) string { return "drift-scan/" + nonce }
