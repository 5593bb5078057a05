package contract

import "time"

// Alert is what a remediation keeps of the alert that caused it.
type Alert struct {
	Name         string            `json:"name"`
	Fingerprint  string            `json:"fingerprint"`
	StartsAt     time.Time         `json:"starts_at"`
	Labels       map[string]string `json:"labels,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	GeneratorURL string            `json:"generator_url,omitempty"`
}

// RunbookRef names the function of a runbook to run.
type RunbookRef struct {
	// Path is relative to the fleet directory's runbooks folder.
	Path string `json:"path"`
	// Function takes the device ID as its one argument.
	Function string `json:"function"`
	// Source is the text itself, when the caller brings it along; then Path
	// is only its name.
	Source string `json:"source,omitempty"`
}

// RemediateInput is the input of WorkflowRemediate.
type RemediateInput struct {
	DeviceID string     `json:"device_id"`
	Alert    *Alert     `json:"alert,omitempty"`
	Actor    Actor      `json:"actor"`
	Reason   string     `json:"reason"`
	Runbook  RunbookRef `json:"runbook"`
	// LeaseWait bounds the wait for another workflow's lease on the device;
	// zero is 30 minutes.
	LeaseWait time.Duration `json:"lease_wait_ns,omitempty"`
}

// Outcomes of a remediation, and values of the search attribute Outcome.
const (
	OutcomeRunning   = "running"
	OutcomeResolved  = "resolved"
	OutcomeCleared   = "cleared" // the alert ended before anything was done
	OutcomeEscalated = "escalated"
	OutcomeCancelled = "cancelled"
	// OutcomeAbandoned is given by housekeeping to the incident of a workflow
	// that ended without a word: terminated, or timed out.
	OutcomeAbandoned = "abandoned"
)

// RemediateResult is the result of WorkflowRemediate when it did not fail.
type RemediateResult struct {
	Outcome    string `json:"outcome"`
	IncidentID string `json:"incident_id"`
	Detail     string `json:"detail"`
}

// Decision answers an approval gate.
type Decision struct {
	// Gate is the ID that the runbook gave to wait_for_approval.
	Gate     string `json:"gate"`
	Approved bool   `json:"approved"`
	By       string `json:"by"`
	Note     string `json:"note,omitempty"`
}

// Progress is the answer to QueryProgress.
type Progress struct {
	DeviceID   string     `json:"device_id"`
	Phase      string     `json:"phase"`
	IncidentID string     `json:"incident_id,omitempty"`
	Step       string     `json:"step,omitempty"`
	Waiting    string     `json:"waiting,omitempty"` // an approval gate's ID
	Timeline   []Moment   `json:"timeline"`
	ResolvedAt *time.Time `json:"resolved_at,omitempty"`
}

// Moment is one line of a timeline.
type Moment struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// BeginInput is the input of ActivityBegin.
type BeginInput struct {
	DeviceID string     `json:"device_id"`
	Actor    Actor      `json:"actor"`
	Reason   string     `json:"reason"`
	Alert    *Alert     `json:"alert,omitempty"`
	Runbook  RunbookRef `json:"runbook"`
}

// BeginResult is the result of ActivityBegin. The runbook's source stands in
// history with its hash, so a replay never looks at a file.
type BeginResult struct {
	Device     Device `json:"device"`
	LeaseToken int64  `json:"lease_token"`
	IncidentID string `json:"incident_id"`
	Source     string `json:"source"`
	// Hash is the SHA-256 of Source, in hexadecimal.
	Hash string `json:"hash"`
	// Revision names the state of the fleet directory that the worker runs.
	Revision string `json:"revision"`
}

// FinishInput is the input of ActivityFinish.
type FinishInput struct {
	Scope
	Outcome string `json:"outcome"`
	Detail  string `json:"detail"`
}

// EscalateInput is the input of ActivityEscalate.
type EscalateInput struct {
	Scope
	Device Device `json:"device"`
	Alert  *Alert `json:"alert,omitempty"`
	Detail string `json:"detail"`
}

// RecordInput is the input of ActivityRecord: something that happened in the
// workflow which the ledger has to know, such as an approval.
type RecordInput struct {
	Scope
	Event string `json:"event"`
	// By is an operator; when it is empty, it was the workflow's actor.
	By      string `json:"by"`
	Outcome string `json:"outcome"`
	Detail  string `json:"detail"`
}

// The activities around a runbook. They are not actions: a runbook cannot
// call them.
const (
	// ActivityBegin takes the device's lease, opens the incident and reads
	// the runbook. While another workflow holds the lease it fails with
	// ErrLeaseHeld, so that its retry policy is the queue.
	ActivityBegin = "begin_remediation"
	// ActivityFinish gives the incident its end and releases the lease.
	ActivityFinish = "finish_remediation"
	// ActivityEscalate posts AlertRemediationFailed to Alertmanager.
	ActivityEscalate = "escalate"
	// ActivityRecord appends an event to the ledger.
	ActivityRecord = "record_event"
)
