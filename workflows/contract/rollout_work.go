package contract

import "time"

// RolloutLeftInput is the input of ActivityRolloutLeft and
// ActivityRollbackLeft.
type RolloutLeftInput struct {
	RolloutID string `json:"rollout_id"`
	// UpTo is the last wave whose devices are wanted.
	UpTo  int    `json:"up_to,omitempty"`
	After string `json:"after,omitempty"`
	Limit int    `json:"limit"`
	// Healthy asks for the devices that were healthy at the last look instead
	// of those that are left.
	Healthy bool `json:"healthy,omitempty"`
}

// RolloutLeft is a page of devices, in the order of their IDs. Next is the
// After of the next page, or "".
type RolloutLeft struct {
	Devices []RolloutRef `json:"devices"`
	Next    string       `json:"next,omitempty"`
}

// RolloutRef is a device that is left, with its calendar.
type RolloutRef struct {
	DeviceRef
	Calendar string        `json:"calendar,omitempty"`
	Takes    time.Duration `json:"takes_ns,omitempty"`
	// Group is the redundancy group, of which no two devices are in work at
	// once.
	Group string `json:"group,omitempty"`
}

// RollOutDeviceInput is the input of ActivityRollOutDevice.
type RollOutDeviceInput struct {
	Scope
	RolloutID string `json:"rollout_id"`
	// Until is when the device's window closes; the write begins Takes before
	// at the latest. Nil is no window.
	Until   *time.Time    `json:"until,omitempty"`
	Takes   time.Duration `json:"takes_ns,omitempty"`
	Silence bool          `json:"silence,omitempty"`
	// Deadline bounds how long a silence can last, whatever becomes of us.
	Deadline time.Duration `json:"deadline_ns"`
	// Yield asks for DeviceHeld where another workflow has the device: the caller
	// waits for it. Without it that is an error, which is retried in place.
	Yield bool `json:"yield,omitempty"`
}

// DeviceVerdict is what came of a device. It is also the detail of an error of
// ActivityRollOutDevice, as far as it came.
type DeviceVerdict struct {
	DeviceID string `json:"device_id"`
	State    string `json:"state"`
	Unsafe   bool   `json:"unsafe,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Detail   string `json:"detail"`
	// Holder is who has the device, with DeviceHeld alone.
	Holder *LeaseHolder `json:"holder,omitempty"`
}

// Finding is the verdict as a finding.
func (v DeviceVerdict) Finding() RolloutFinding {
	return RolloutFinding{DeviceID: v.DeviceID, State: v.State, Unsafe: v.Unsafe, Reason: v.Reason, Detail: v.Detail}
}

// SettleDeviceInput is the input of ActivitySettleDevice. State is the verdict
// if nothing was written; a device to which something may have been written is
// unknown and unsafe.
type SettleDeviceInput struct {
	RolloutID string `json:"rollout_id"`
	DeviceID  string `json:"device_id"`
	State     string `json:"state"`
	Reason    string `json:"reason"`
	Detail    string `json:"detail"`
}

// CheckRolloutInput is the input of ActivityCheckRollout.
type CheckRolloutInput struct {
	RolloutID string   `json:"rollout_id"`
	IDs       []string `json:"ids"`
}

// CheckRolloutResult has a verdict for each of the devices.
type CheckRolloutResult struct {
	Verdicts []DeviceVerdict `json:"verdicts"`
}

// CheckMetricInput is the input of ActivityCheckMetric.
type CheckMetricInput struct {
	Expression string `json:"expression"`
}

// MetricVerdict is the result of ActivityCheckMetric. Verdict is one of the
// Verdict constants.
type MetricVerdict struct {
	Verdict string `json:"verdict"`
	Detail  string `json:"detail"`
}

// ReadRunbookInput is the input of ActivityReadRunbook; its result is a
// BeginResult without a lease and an incident.
type ReadRunbookInput struct {
	DeviceID string     `json:"device_id"`
	Runbook  RunbookRef `json:"runbook"`
}

// CalendarInput is the input of ActivityRolloutCalendar.
type CalendarInput struct {
	RolloutID string   `json:"rollout_id"`
	Calendars []string `json:"calendars"`
}

// CalendarResult is the result of ActivityRolloutCalendar, in the order of the
// input.
type CalendarResult struct {
	Openings []Opening `json:"openings"`
}

// Opening says whether a calendar is open, and until when, or when it opens.
// Both are nil for one that is always open; Never says that it does not open
// any more.
type Opening struct {
	Calendar string     `json:"calendar"`
	Open     bool       `json:"open"`
	Until    *time.Time `json:"until,omitempty"`
	Opens    *time.Time `json:"opens,omitempty"`
	// Next is when one that is open opens again after Until: for people who wait
	// with what is too long for the rest of this one.
	Next  *time.Time `json:"next,omitempty"`
	Never bool       `json:"never,omitempty"`
}

// RolloutTallyInput is the input of ActivityRolloutTally.
type RolloutTallyInput struct {
	RolloutID string `json:"rollout_id"`
}

// RolloutTally is what became of the devices of a rollout, by wave.
type RolloutTally struct {
	Waves []WaveTally `json:"waves"`
}

// WaveTally is what became of the devices of a wave.
type WaveTally struct {
	Wave int `json:"wave"`
	RolloutCounts
}

// TryAgainInput is the input of ActivityTryAgain.
type TryAgainInput struct {
	RolloutID string   `json:"rollout_id"`
	Devices   []string `json:"devices,omitempty"`
}

// TryAgainResult is the result of ActivityTryAgain: how many devices it is.
type TryAgainResult struct {
	Devices int `json:"devices"`
}
