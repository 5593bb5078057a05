package contract

// WorkflowPatch takes a PatchInput and returns a PatchResult: what a schedule
// runs to patch by the calendar.
const WorkflowPatch = "edgefleet.patch"

// PatchRunID is the workflow ID of what a schedule runs to patch. Temporal
// appends the time of each start.
func PatchRunID(schedule string) string { return "patch/" + schedule }

// PatchInput is the input of WorkflowPatch.
type PatchInput struct {
	// Plan is what is planned, now as on the command line. Its strategy asks
	// for an approval: nobody has looked at the plan yet.
	Plan PlanRolloutInput `json:"plan"`
	// AskedBy is the operator who made the schedule, and who cannot approve
	// what it does.
	AskedBy string `json:"asked_by"`
}

// PatchResult is the result of WorkflowPatch, and what became of its rollout. A
// plan that changes no device has none.
type PatchResult struct {
	PlanHash  string        `json:"plan_hash"`
	RolloutID string        `json:"rollout_id,omitempty"`
	State     string        `json:"state"`
	Detail    string        `json:"detail,omitempty"`
	Counts    RolloutCounts `json:"counts"`
	// Excluded counts the devices that the plan left out, by reason.
	Excluded []ExcludedCount `json:"excluded,omitempty"`
}

// PatchNothingToDo is the state of a PatchResult whose plan changes no device.
const PatchNothingToDo = "nothing to do"
