package contract

import "time"

// RollbackInput is the input of WorkflowRollback.
type RollbackInput struct {
	RolloutID string `json:"rollout_id"`
	Actor     Actor  `json:"actor"`
	Reason    string `json:"reason"`
	Bounds    Bounds `json:"bounds"`
	// Silence silences the alerts of the devices in work.
	Silence bool `json:"silence,omitempty"`
	// Own says that no rollout waits for it, so that it notes its own end.
	Own bool `json:"own,omitempty"`

	// Resume is set by the workflow itself when it continues as new.
	Resume *RollbackState `json:"resume,omitempty"`
}

// RollbackState is what a rollback takes along when it continues as new.
type RollbackState struct {
	After    string           `json:"after"`
	Progress RollbackProgress `json:"progress"`
}

// RollbackProgress is the answer to QueryProgress of a rollback, and its result.
type RollbackProgress struct {
	RolloutID string `json:"rollout_id"`
	// Back counts the devices that are as before, Kept those that are not.
	Back int `json:"back"`
	Kept int `json:"kept"`
	// Running holds the IDs of the devices in work, sorted.
	Running []string `json:"running,omitempty"`
	// Held counts those of them that wait for another workflow's lease,
	// LeaseWaits are the first of them.
	Held       int         `json:"held,omitempty"`
	LeaseWaits []LeaseWait `json:"lease_waits,omitempty"`
	// Findings are the first devices that are not as before.
	Findings []RolloutFinding `json:"findings,omitempty"`
	Began    time.Time        `json:"began"`
}

// RollBackDeviceInput is the input of ActivityRollBackDevice.
type RollBackDeviceInput struct {
	Scope
	RolloutID string        `json:"rollout_id"`
	Silence   bool          `json:"silence,omitempty"`
	Deadline  time.Duration `json:"deadline_ns"`
	// Yield is as in RollOutDeviceInput.
	Yield bool `json:"yield,omitempty"`
}
