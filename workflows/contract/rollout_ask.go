package contract

import "time"

// Questions about rollouts, answered from the store.
const (
	// AskRolloutList asks for the newest rollouts and plans: RolloutQuery ->
	// []RolloutSummary.
	AskRolloutList = "rollout_list"
	// AskRolloutPlan asks for a page of a plan: RolloutQuery -> RolloutPlanPage.
	AskRolloutPlan = "rollout_plan"
	// AskRolloutDevices asks for a page of what became of the devices of a
	// rollout: RolloutQuery -> RolloutDevicePage.
	AskRolloutDevices = "rollout_devices"
)

// RolloutQuery selects rollouts, or devices of one.
type RolloutQuery struct {
	// Plan is a plan's hash, or at least 8 digits of its beginning; a rollout's
	// ID is one.
	Plan  string `json:"plan,omitempty"`
	State string `json:"state,omitempty"`
	// After is the Next of the page before.
	After string `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"`
	// Detail wants the changes, too.
	Detail bool `json:"detail,omitempty"`
}

// RolloutSummary is a row of the list of rollouts. A plan that was not started
// has no RolloutID.
type RolloutSummary struct {
	RolloutID string     `json:"rollout_id,omitempty"`
	PlanHash  string     `json:"plan_hash"`
	Kind      string     `json:"kind,omitempty"`
	Baseline  string     `json:"baseline"`
	Version   string     `json:"version"`
	State     string     `json:"state"`
	Detail    string     `json:"detail,omitempty"`
	Total     int        `json:"total"`
	Requester string     `json:"requester"`
	Reason    string     `json:"reason,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	StartedAt *time.Time `json:"started_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	RolloutCounts
}

// RolloutPlanPage is a plan with a page of its devices, in the order of their
// IDs.
type RolloutPlanPage struct {
	RolloutPlan
	Devices []PlannedDevice `json:"devices"`
	Next    string          `json:"next,omitempty"`
}

// RolloutDevicePage is a page of what became of the devices of a rollout.
type RolloutDevicePage struct {
	Devices []RolloutDevice `json:"devices"`
	Next    string          `json:"next,omitempty"`
}

// RolloutDevice is what became of a device.
type RolloutDevice struct {
	DeviceID string     `json:"device_id"`
	State    string     `json:"state"`
	Unsafe   bool       `json:"unsafe,omitempty"`
	Touched  bool       `json:"touched,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	Detail   string     `json:"detail,omitempty"`
	Attempts int        `json:"attempts"`
	BeganAt  time.Time  `json:"began_at"`
	EndedAt  *time.Time `json:"ended_at,omitempty"`
}
