package contract

import "time"

// Activities of the planning.
const (
	// ActivityBeginPlan reads the baseline, selects the devices and begins the
	// plan in the store, on TaskQueue.
	ActivityBeginPlan = "begin_plan"
	// ActivityPlanDevices looks at a batch of devices of one region, on the
	// queue of the region, and keeps what would be changed in the store.
	ActivityPlanDevices = "plan_devices"
	// ActivityPlanMissed says of a batch that nobody could look at it.
	ActivityPlanMissed = "plan_missed"
	// ActivityFreezePlan puts the devices into waves and gives the plan its
	// hash.
	ActivityFreezePlan = "freeze_plan"
)

// PlanRolloutInput is the input of WorkflowPlanRollout.
type PlanRolloutInput struct {
	// File names the baseline, Text is its text, at most MaxBaseline bytes.
	File string `json:"file"`
	Text string `json:"text"`
	// Patch names a patch of the fleet directory instead of a baseline: then
	// File and Text are empty.
	Patch string `json:"patch,omitempty"`
	// Select narrows what the baseline selects by itself.
	Select   string          `json:"select,omitempty"`
	Strategy RolloutStrategy `json:"strategy"`
	Actor    Actor           `json:"actor"`
	Reason   string          `json:"reason"`
}

// BegunPlan is the result of ActivityBeginPlan.
type BegunPlan struct {
	PlanID   string      `json:"plan_id"`
	Kind     string      `json:"kind,omitempty"`
	Baseline string      `json:"baseline"`
	Version  string      `json:"version"`
	Revision string      `json:"revision"`
	Devices  int         `json:"devices"`
	Batches  []PlanBatch `json:"batches"`
}

// PlanBatch is a part of the planning. No two batches of different groups have
// a site in common.
type PlanBatch struct {
	Number  int    `json:"number"`
	Region  string `json:"region"`
	Group   string `json:"group"`
	Devices int    `json:"devices"`
}

// PlanBatchInput is the input of ActivityPlanDevices and ActivityPlanMissed.
type PlanBatchInput struct {
	PlanID string `json:"plan_id"`
	Batch  int    `json:"batch"`
	// Why says why nobody looked, for ActivityPlanMissed.
	Why string `json:"why,omitempty"`
}

// PlanBatchResult is the result of ActivityPlanDevices.
type PlanBatchResult struct {
	Devices  int `json:"devices"`
	Changing int `json:"changing"`
}

// FreezePlanInput is the input of ActivityFreezePlan.
type FreezePlanInput struct {
	PlanID string `json:"plan_id"`
}

// PlanProgress is the answer to QueryProgress of a planning, and its result.
type PlanProgress struct {
	PlanID string `json:"plan_id"`
	// Devices is how many are looked at, Looked how many were, Changing how
	// many of those would be changed.
	Devices  int       `json:"devices"`
	Looked   int       `json:"looked"`
	Changing int       `json:"changing"`
	Began    time.Time `json:"began"`
	// Plan is there when it is frozen.
	Plan *RolloutPlan `json:"plan,omitempty"`
}

// RolloutPlan is what a rollout would do, without its devices.
type RolloutPlan struct {
	Hash string `json:"hash"`
	// Kind is KindConfiguration, as which "" counts, or KindPatch: Baseline,
	// Version and File are then those of the patch.
	Kind     string          `json:"kind,omitempty"`
	Baseline string          `json:"baseline"`
	Version  string          `json:"version"`
	File     string          `json:"file"`
	Select   string          `json:"select,omitempty"`
	Revision string          `json:"revision"`
	Strategy RolloutStrategy `json:"strategy"`
	// Requester is who made it.
	Requester string     `json:"requester"`
	Reason    string     `json:"reason"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	Waves     []PlanWave `json:"waves"`
	// Excluded counts the devices that are left out, by reason.
	Excluded []ExcludedCount `json:"excluded,omitempty"`
	// Takes is the estimate for the whole, without windows, checks and
	// approvals.
	Takes time.Duration `json:"takes_ns"`
}

// Devices is how many devices the plan has in its waves.
func (p RolloutPlan) Devices() (n int) {
	for _, w := range p.Waves {
		n += w.Devices
	}
	return n
}

// PlanWave is a wave of a plan.
type PlanWave struct {
	Number int `json:"number"`
	// Name is "canary", or what the strategy calls the wave: "25%".
	Name    string        `json:"name"`
	Devices int           `json:"devices"`
	Takes   time.Duration `json:"takes_ns"`
}

// ExcludedCount counts the devices that a plan leaves out for one reason.
type ExcludedCount struct {
	Reason  string `json:"reason"`
	Devices int    `json:"devices"`
}

// PlannedDevice is a device of a plan, as people are shown it.
type PlannedDevice struct {
	DeviceRef
	Wave     int    `json:"wave"`
	Excluded string `json:"excluded,omitempty"`
	Detail   string `json:"detail,omitempty"`
	// Window says in words when the device may be written, or "" for any time.
	Window  string          `json:"window,omitempty"`
	Takes   time.Duration   `json:"takes_ns,omitempty"`
	Changes []PlannedChange `json:"changes,omitempty"`
}

// PlannedChange is a setting that a plan changes. Files come with a diff.
type PlannedChange struct {
	Setting string `json:"setting"`
	Before  string `json:"before"`
	After   string `json:"after"`
	Unit    string `json:"unit,omitempty"`
	Diff    string `json:"diff,omitempty"`
}
