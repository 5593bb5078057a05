package contract

import "time"

// ActorKind says who caused a workflow.
type ActorKind string

// The kinds of actors.
const (
	ActorAlert    ActorKind = "alert"
	ActorOperator ActorKind = "operator"
	ActorSchedule ActorKind = "schedule"
)

// Actor is who caused a workflow: an alert by its name, an operator by the
// name that the command line was given, a schedule by its ID.
type Actor struct {
	Kind ActorKind `json:"kind"`
	Name string    `json:"name"`
}

// String returns "kind:name".
func (a Actor) String() string { return string(a.Kind) + ":" + a.Name }

// Scope is what every action is told about the workflow that calls it. The
// store refuses a change whose LeaseToken is not the device's present one.
type Scope struct {
	DeviceID   string `json:"device_id"`
	Actor      Actor  `json:"actor"`
	Reason     string `json:"reason"`
	LeaseToken int64  `json:"lease_token"`
	IncidentID string `json:"incident_id"`
	// Origin is where the call stands in the runbook: "auto_remediation.py:4".
	Origin string `json:"origin,omitempty"`
}

// Device is what a workflow knows of a device; it comes from the fleet file.
type Device struct {
	ID      string            `json:"id"`
	Site    string            `json:"site"`
	Region  string            `json:"region"`
	Class   string            `json:"class"`
	Profile string            `json:"profile"`
	Address string            `json:"address"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// Verdict is one check of a diagnosis.
type Verdict struct {
	// Check is "name resolution", "tcp connect", "protocol" or
	// "region reference".
	Check string `json:"check"`
	// Result is "ok", "failed" or "skipped".
	Result   string        `json:"result"`
	Detail   string        `json:"detail"`
	Duration time.Duration `json:"duration_ns"`
}

// NetworkReport is the result of check_network. That a device is unreachable
// is a value; "could not find out" is an error of type ErrOwnPath.
type NetworkReport struct {
	DeviceID  string    `json:"device_id"`
	Reachable bool      `json:"reachable"`
	Diagnosis string    `json:"diagnosis"`
	Verdicts  []Verdict `json:"verdicts"`
}

// ResetReport is the result of trigger_network_reset.
type ResetReport struct {
	DeviceID string `json:"device_id"`
	// Via is the device and action that did it: "switch-01 cycle-port-3".
	Via string `json:"via"`
	// Outcome is "done", or "indeterminate" when nobody can tell whether the
	// outlet took the command; it is never sent twice.
	Outcome string `json:"outcome"`
	// CameBack says that the device answered afterwards, within Waited.
	CameBack bool          `json:"came_back"`
	Waited   time.Duration `json:"waited_ns"`
	Detail   string        `json:"detail"`
}

// SettingDrift is one setting that differs from its baseline, in engineering
// units, rendered as text.
type SettingDrift struct {
	Setting string `json:"setting"`
	Want    string `json:"want"`
	Got     string `json:"got"`
	Unit    string `json:"unit,omitempty"`
	// Diff is how a file differs, as a unified diff from what is wanted to
	// what is there; it is bounded, and says when it was cut. Want and Got of a
	// file are its digest.
	Diff string `json:"diff,omitempty"`
}

// DriftReport is the result of detect_config_drift. A setting that could not
// be read is an error, never an absence of drift.
type DriftReport struct {
	DeviceID string         `json:"device_id"`
	Baseline string         `json:"baseline"`
	Version  string         `json:"version"`
	Checked  int            `json:"checked"`
	Drifted  []SettingDrift `json:"drifted"`
	// Ignored names the settings that the baseline leaves to others.
	Ignored []string `json:"ignored,omitempty"`
}

// ApplyReport is the result of apply_baseline_config.
type ApplyReport struct {
	DeviceID string         `json:"device_id"`
	Baseline string         `json:"baseline"`
	Version  string         `json:"version"`
	Changed  []SettingDrift `json:"changed"`
	// Confirmed counts settings that an interrupted earlier attempt had
	// already written, found by reading back.
	Confirmed int `json:"confirmed"`
}

// HealthReport is the result of verify_device.
type HealthReport struct {
	DeviceID string `json:"device_id"`
	Healthy  bool   `json:"healthy"`
	// Detail says in words what was checked and what was found.
	Detail string `json:"detail"`
}
