package contract

import "time"

// ActivityAwaitLease waits for a device that another workflow holds: while the
// holder that it is told of has it, it fails with ErrLeaseHeld, so that its retry
// policy is the queue and no history grows. On TaskQueue; it takes nothing.
const ActivityAwaitLease = "await_device_lease"

// DeviceHeld is the state of a DeviceVerdict of a device that another workflow
// holds, or a partner of which it does. It is no verdict: the device's turn comes
// again, and the store never has it.
const DeviceHeld = "waiting for its lease"

// LeaseHolder is who holds a device.
type LeaseHolder struct {
	// DeviceID is the device that is held: a device waits for its partners, too.
	DeviceID   string    `json:"device_id"`
	WorkflowID string    `json:"workflow_id"`
	RunID      string    `json:"run_id"`
	Since      time.Time `json:"since"`
}

// LeaseWait is a device that waits for another workflow's lease.
type LeaseWait struct {
	DeviceID string      `json:"device_id"`
	Holder   LeaseHolder `json:"holder"`
	// Since is when it began to wait, Until when it gives up.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// LeaseWaited is how much of a device's deadline has gone into waiting.
type LeaseWaited struct {
	DeviceID string        `json:"device_id"`
	Waited   time.Duration `json:"waited_ns"`
}

// AwaitLeaseInput is the input of ActivityAwaitLease.
type AwaitLeaseInput struct {
	// DeviceID is the device that waits, Holder whom it waits for.
	DeviceID string      `json:"device_id"`
	Holder   LeaseHolder `json:"holder"`
}

// AwaitLeaseResult is the result of ActivityAwaitLease: who has the device now,
// or nil when it is free.
type AwaitLeaseResult struct {
	Holder *LeaseHolder `json:"holder,omitempty"`
}
