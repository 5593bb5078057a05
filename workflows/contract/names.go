package contract

// TaskQueue is the queue of all workflows, and of the actions that need the
// store but no device.
const TaskQueue = "edgefleet"

// RegionQueue is the queue of the actions that reach devices of a region. A
// worker inside a segmented site network serves only its own.
func RegionQueue(region string) string { return TaskQueue + "." + region }

// Workflow types.
const (
	WorkflowRemediate    = "edgefleet.remediate"
	WorkflowInspect      = "edgefleet.inspect"
	WorkflowOnboard      = "edgefleet.onboard"
	WorkflowDecommission = "edgefleet.decommission"
)

// Signals, updates and queries of a remediation.
const (
	// SignalAlertResolved tells a remediation that its alert has ended.
	SignalAlertResolved = "alert-resolved"
	// UpdateDecide answers an approval gate; its argument is a Decision.
	UpdateDecide = "decide"
	// QueryProgress returns a Progress.
	QueryProgress = "progress"
)

// Search attributes, all of type Keyword.
const (
	AttrDeviceID    = "DeviceId"
	AttrSite        = "Site"
	AttrRegion      = "Region"
	AttrAlertName   = "AlertName"
	AttrRolloutID   = "RolloutId"
	AttrOutcome     = "Outcome"
	AttrRunbookHash = "RunbookHash"
)

// SearchAttributes lists every search attribute that edgefleet sets. They are
// all of type Keyword and have to exist in the namespace.
func SearchAttributes() []string {
	return []string{AttrDeviceID, AttrSite, AttrRegion, AttrAlertName, AttrRolloutID, AttrOutcome, AttrRunbookHash}
}

// AlertRemediationFailed is the alert that edgefleet itself raises when a
// remediation needs a person.
const AlertRemediationFailed = "EdgeRemediationFailed"

// Error types: the bounded set of reasons that cross from activities to
// workflows, and the values of the metric label "reason". The first six are
// the kinds of device errors.
const (
	ErrUnreachable   = "unreachable"
	ErrBusy          = "busy"
	ErrRejected      = "rejected"
	ErrAuth          = "auth"
	ErrUnsupported   = "unsupported"
	ErrIndeterminate = "indeterminate"

	// ErrTimeout says that an action did not end within its time.
	ErrTimeout = "timeout"
	// ErrOwnPath says that the worker's own way to the region is down, so
	// that nothing can be said of the device.
	ErrOwnPath = "own_path_down"
	// ErrUnknownDevice says that the fleet does not declare the device.
	ErrUnknownDevice = "unknown_device"
	// ErrConfig says that the fleet directory cannot be acted on as it is.
	ErrConfig = "configuration"
	// ErrLeaseLost says that the caller's lease is no longer the device's.
	ErrLeaseLost = "lease_lost"
	// ErrLeaseHeld says that another workflow holds the device; retryable.
	ErrLeaseHeld = "lease_held"
	// ErrStore says that the store did not answer; retryable.
	ErrStore = "store"
	// ErrInternal is what has no better name: a bug, or a time-out of our own;
	// retryable.
	ErrInternal = "internal"
	// ErrRunbook says that the runbook itself failed: its bug or its fail().
	ErrRunbook = "runbook"
	// ErrBudget says that the runbook spent its budget of steps or memory.
	ErrBudget = "runbook_budget"
	// ErrNotHealthy says that the device was not healthy after the runbook.
	ErrNotHealthy = "not_healthy"
	// ErrFleetChanged says that the fleet directory was changed while it was
	// planned with: what was planned does not hold, and planning again helps.
	ErrFleetChanged = "fleet_changed"
	// ErrNotFound says that what was asked for does not exist.
	ErrNotFound = "not_found"
)
