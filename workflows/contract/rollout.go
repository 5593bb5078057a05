package contract

import (
	"fmt"
	"regexp"
	"strings"
)

// Workflows of rollouts. A plan is made by one, carried out by another with a
// child for each wave, and taken back by a fourth.
const (
	// WorkflowPlanRollout takes a PlanRolloutInput and returns a PlanProgress.
	WorkflowPlanRollout = "edgefleet.plan_rollout"
	// WorkflowRollout takes a RolloutInput and returns a RolloutProgress.
	WorkflowRollout = "edgefleet.rollout"
	// WorkflowRolloutWave takes a RolloutWaveInput and returns a WaveProgress.
	WorkflowRolloutWave = "edgefleet.rollout_wave"
	// WorkflowRollback takes a RollbackInput and returns a RollbackProgress.
	WorkflowRollback = "edgefleet.rollback"
)

// MaxBaseline bounds the text of a baseline that travels to the workers.
const MaxBaseline = 256 << 10

// The states of a rollout, and values of the search attribute Outcome at its
// end.
const (
	RolloutRunning     = "running"
	RolloutPaused      = "paused"
	RolloutWaiting     = "waiting for approval"
	RolloutAborting    = "aborting"
	RolloutRollingBack = "rolling back"
	RolloutDone        = "done"
	RolloutAborted     = "aborted"
	RolloutRefused     = "refused"     // by an approver, or because nobody approved in time
	RolloutRolledBack  = "rolled back" // every device that was touched is as before
	RolloutPartlyBack  = "partly rolled back"
	RolloutCancelled   = "cancelled"
	RolloutFailed      = "failed"
)

// The states of a device in a rollout.
const (
	DeviceWorking   = "working"
	DeviceHealthy   = "healthy"       // written and healthy
	DeviceAlready   = "already there" // it had all wanted values, and is healthy
	DeviceChanged   = "changed"       // it is no longer as the plan has it before; nothing was written
	DeviceFailed    = "failed"        // it refused, or is not healthy with the new settings
	DeviceUnknown   = "unknown"       // could not find out
	DeviceNotBegun  = "not started"   // its turn did not come: no worker, no lease, no time
	DeviceSkipped   = "skipped"       // an operator left it out
	DeviceBack      = "rolled back"
	DeviceKept      = "not rolled back" // it cannot go back by itself; see the detail
	DeviceNotInTime = "outside its window"
)

// Why a plan leaves a device out.
const (
	ExcludedInSync       = "in sync"
	ExcludedUnreachable  = "unreachable"
	ExcludedUnreadable   = "unreadable"
	ExcludedLeased       = "leased"
	ExcludedFrozen       = "frozen"
	ExcludedNotOnboarded = "not onboarded"
	ExcludedConflict     = "in another rollout"
	ExcludedRefused      = "refused"
	ExcludedDowngrade    = "downgrade"
)

// RolloutCounts counts devices by their state.
type RolloutCounts struct {
	Healthy  int `json:"healthy"`
	Already  int `json:"already"`
	Changed  int `json:"changed"`
	Failed   int `json:"failed"`
	Unknown  int `json:"unknown"`
	NotBegun int `json:"not_begun"`
	Skipped  int `json:"skipped"`
	// Back counts those that were taken back.
	Back int `json:"back,omitempty"`
	// Unsafe counts those that may be neither as planned nor as before.
	Unsafe int `json:"unsafe"`
}

// Count counts one more device of a state.
func (c *RolloutCounts) Count(state string, unsafe bool) { c.Add(state, unsafe, 1) }

// Add counts n devices of a state; n may be negative. What nobody can name is
// unknown.
func (c *RolloutCounts) Add(state string, unsafe bool, n int) {
	switch state {
	case DeviceHealthy:
		c.Healthy += n
	case DeviceAlready:
		c.Already += n
	case DeviceChanged:
		c.Changed += n
	case DeviceFailed, DeviceKept:
		c.Failed += n
	case DeviceNotBegun:
		c.NotBegun += n
	case DeviceSkipped:
		c.Skipped += n
	case DeviceBack:
		c.Back += n
	default:
		c.Unknown += n
	}
	if unsafe {
		c.Unsafe += n
	}
}

// Sum adds the counts of another.
func (c *RolloutCounts) Sum(o RolloutCounts) {
	c.Healthy += o.Healthy
	c.Already += o.Already
	c.Changed += o.Changed
	c.Failed += o.Failed
	c.Unknown += o.Unknown
	c.NotBegun += o.NotBegun
	c.Skipped += o.Skipped
	c.Back += o.Back
	c.Unsafe += o.Unsafe
}

// Ended is how many devices have come to an end.
func (c RolloutCounts) Ended() int {
	return c.Healthy + c.Already + c.Changed + c.Failed + c.Unknown + c.NotBegun + c.Skipped + c.Back
}

// Bad is how many count against a limit: could not find out, and never started,
// are never "healthy".
func (c RolloutCounts) Bad() int { return c.Changed + c.Failed + c.Unknown + c.NotBegun }

// Words says what there is.
func (c RolloutCounts) Words() string {
	text := fmt.Sprintf("%d healthy", c.Healthy+c.Already)
	for _, p := range []struct {
		n    int
		what string
	}{{c.Failed, DeviceFailed}, {c.Unknown, DeviceUnknown}, {c.Changed, "changed since the plan"}, {c.NotBegun, DeviceNotBegun}, {c.Skipped, DeviceSkipped}, {c.Back, DeviceBack}} {
		if p.n > 0 {
			text += fmt.Sprintf(", %d %s", p.n, p.what)
		}
	}
	return text
}

const rolloutPrefix = "rollout/"

// rolloutIDLength is how much of a plan's hash names its rollout.
const rolloutIDLength = 12

var hashPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// RolloutOf returns the ID of the rollout of a plan: the first 12 digits of its
// hash. It is "" for what is no hash.
func RolloutOf(planHash string) string {
	if !hashPattern.MatchString(planHash) {
		return ""
	}
	return planHash[:rolloutIDLength]
}

var rolloutIDPattern = regexp.MustCompile(`^[0-9a-f]{12}$`)

// ValidRolloutID returns an error that says what the ID of a rollout looks like
// when id does not.
func ValidRolloutID(id string) error {
	if !rolloutIDPattern.MatchString(id) {
		return fmt.Errorf("rollout %.80q: want the 12 hexadecimal digits that edgefleet rollout list shows", id)
	}
	return nil
}

// RolloutWorkflowID is the workflow ID of a rollout, so that a plan runs once.
func RolloutWorkflowID(rolloutID string) string { return rolloutPrefix + rolloutID }

// ParseRolloutWorkflowID is the inverse of RolloutWorkflowID.
func ParseRolloutWorkflowID(workflowID string) (string, error) {
	id, ok := strings.CutPrefix(workflowID, rolloutPrefix)
	if !ok {
		return "", fmt.Errorf("%.200q is not the workflow of a rollout", workflowID)
	}
	return id, ValidRolloutID(id)
}

// RolloutWaveID is the workflow ID of a wave of a rollout; pass counts from 1
// how often the rollout came to it.
func RolloutWaveID(rolloutID string, wave, pass int) string {
	return fmt.Sprintf("%s%s/wave-%d/%d", rolloutPrefix, rolloutID, wave, pass)
}

// RollbackID is the workflow ID of the rollback of a rollout, so that there is
// one at a time.
func RollbackID(rolloutID string) string { return "rollback/" + rolloutID }

// PlanRolloutID is the workflow ID of the planning of a rollout, and the ID of
// the plan.
func PlanRolloutID(nonce string) string { return "plan-rollout/" + nonce }
