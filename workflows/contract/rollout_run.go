package contract

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Activities of a rollout.
const (
	// ActivityBeginRollout checks that the plan is the one with the hash, and
	// starts it; on TaskQueue, as all that have no device.
	ActivityBeginRollout = "begin_rollout"
	// ActivityNoteRollout keeps how a rollout stands, and writes it to the
	// ledger.
	ActivityNoteRollout = "note_rollout"
	// ActivityRolloutLeft returns a page of what is left to do of waves.
	ActivityRolloutLeft = "rollout_left"
	// ActivityRollOutDevice does one device, from its lease to its verdict, on
	// the queue of its region.
	ActivityRollOutDevice = "roll_out_device"
	// ActivitySettleDevice gives a device the verdict that its own activity
	// did not come to.
	ActivitySettleDevice = "settle_rollout_device"
	// ActivityCheckRollout looks at devices of a region that were healthy.
	ActivityCheckRollout = "check_rollout_devices"
	// ActivityCheckMetric evaluates a PromQL expression.
	ActivityCheckMetric = "check_metric"
	// ActivityReadRunbook brings the runbook of a check.
	ActivityReadRunbook = "read_runbook"
	// ActivityRolloutCalendar says when devices may be written.
	ActivityRolloutCalendar = "rollout_calendar"
	// ActivityRolloutTally counts what became of the devices, by wave.
	ActivityRolloutTally = "rollout_tally"
	// ActivityTryAgain lets devices come to their turn again.
	ActivityTryAgain = "try_rollout_devices_again"
	// ActivityRollbackLeft returns a page of what is left to take back.
	ActivityRollbackLeft = "rollback_left"
	// ActivityRollBackDevice takes one device back, on the queue of its region.
	ActivityRollBackDevice = "roll_back_device"
)

// Updates of a rollout. Each is answered at once: done, or refused with the
// reason.
const (
	// UpdateRolloutPause takes a RolloutCommand; what is in work is finished.
	UpdateRolloutPause = "pause"
	// UpdateRolloutResume takes a RolloutCommand, and accepts what made it
	// pause.
	UpdateRolloutResume = "resume"
	// UpdateRolloutAbort takes a RolloutCommand: nothing more is begun.
	UpdateRolloutAbort = "abort"
	// UpdateRolloutRollBack takes a RolloutCommand: nothing more is begun, and
	// what was written is taken back.
	UpdateRolloutRollBack = "roll-back"
	// UpdateRolloutSkip takes a RolloutCommand with devices, which are left
	// out.
	UpdateRolloutSkip = "skip"
	// UpdateRolloutRetry takes a RolloutCommand; with devices, only those.
	UpdateRolloutRetry = "retry"
	// UpdateRolloutApprove takes a RolloutDecision.
	UpdateRolloutApprove = "approve"
	// SignalRolloutControl tells a wave what its rollout was told; its argument
	// is a RolloutControl.
	SignalRolloutControl = "rollout-control"
)

// MaxCommandDevices is how many devices one command names.
const MaxCommandDevices = 1000

// RolloutCommand is what an operator wants of a rollout.
type RolloutCommand struct {
	By      string   `json:"by"`
	Note    string   `json:"note,omitempty"`
	Devices []string `json:"devices,omitempty"`
}

// Check refuses a command without a name, or with names that cannot be.
func (c RolloutCommand) Check() error {
	switch {
	case strings.TrimSpace(c.By) == "":
		return errors.New("who asks? the name is empty")
	case len(c.By) > 200 || len(c.Note) > 4096:
		return errors.New("the name has more than 200 bytes, or the note more than 4096")
	case len(c.Devices) > MaxCommandDevices:
		return fmt.Errorf("%d devices: want at most %d in one command", len(c.Devices), MaxCommandDevices)
	}
	for _, id := range c.Devices {
		if err := ValidDeviceID(id); err != nil {
			return err
		}
	}
	return nil
}

// RolloutDecision answers an approval gate of a rollout. PlanHash has to be the
// whole hash of the plan, so that nobody approves another one.
type RolloutDecision struct {
	By       string `json:"by"`
	Approved bool   `json:"approved"`
	PlanHash string `json:"plan_hash"`
	Note     string `json:"note,omitempty"`
}

// RolloutControl is how a wave is to go on.
type RolloutControl struct {
	Paused bool `json:"paused"`
	// Stopped lets nothing more begin; the wave ends when nothing runs.
	Stopped bool `json:"stopped"`
}

// RolloutInput is the input of WorkflowRollout.
type RolloutInput struct {
	PlanHash string `json:"plan_hash"`
	Actor    Actor  `json:"actor"`
	Reason   string `json:"reason"`

	// AskedBy is the operator on whose behalf Actor started it, when Actor is
	// none: he cannot approve it either.
	AskedBy string `json:"asked_by,omitempty"`

	// Resume is set by the workflow itself when it continues as new.
	Resume *RolloutState `json:"resume,omitempty"`
}

// RolloutState is what a rollout takes along when it continues as new.
type RolloutState struct {
	Begun    BegunRollout    `json:"begun"`
	Progress RolloutProgress `json:"progress"`
	Passes   int             `json:"passes"`
	// Accepted and AcceptedMine as in RolloutWaveInput.
	Accepted     RolloutCounts `json:"accepted"`
	AcceptedMine RolloutCounts `json:"accepted_mine"`
	// Approved is the last wave that was approved.
	Approved int  `json:"approved"`
	Paused   bool `json:"paused,omitempty"`
	// Want is RolloutAborting or RolloutRollingBack when the rollout is to end
	// so instead of its next wave, as Wanted says.
	Want   string `json:"want,omitempty"`
	Wanted string `json:"wanted,omitempty"`
}

// BegunRollout is the result of ActivityBeginRollout.
type BegunRollout struct {
	RolloutID string          `json:"rollout_id"`
	PlanID    string          `json:"plan_id"`
	PlanHash  string          `json:"plan_hash"`
	Baseline  string          `json:"baseline"`
	Version   string          `json:"version"`
	Requester string          `json:"requester"`
	Strategy  RolloutStrategy `json:"strategy"`
	Waves     []PlanWave      `json:"waves"`
}

// RolloutProgress is the answer to QueryProgress of a rollout, and its result.
type RolloutProgress struct {
	RolloutID string `json:"rollout_id"`
	PlanHash  string `json:"plan_hash"`
	Baseline  string `json:"baseline"`
	Version   string `json:"version"`
	State     string `json:"state"`
	// Detail says why it is in its state, in words.
	Detail string `json:"detail,omitempty"`
	// Waiting names what an approval is waited for, until ApproveBy.
	Waiting   string     `json:"waiting,omitempty"`
	ApproveBy *time.Time `json:"approve_by,omitempty"`
	Total     int        `json:"total"`
	RolloutCounts
	Waves []WaveStatus `json:"waves"`
	// WaveID is the workflow of the wave that runs, whose own progress is
	// newer than what stands in Waves.
	WaveID   string            `json:"wave_id,omitempty"`
	Rollback *RollbackProgress `json:"rollback,omitempty"`
	// Held and LeaseWaits are those of the wave or the rollback that runs; whoever
	// shows a rollout fills them in from there.
	Held       int         `json:"held,omitempty"`
	LeaseWaits []LeaseWait `json:"lease_waits,omitempty"`
	// Events are the last things that happened.
	Events []Moment   `json:"events,omitempty"`
	Began  time.Time  `json:"began"`
	Ended  *time.Time `json:"ended,omitempty"`
}

// Over says that the rollout has come to its end.
func (p RolloutProgress) Over() bool { return p.Ended != nil }

// WaveStatus is how a wave stands.
type WaveStatus struct {
	PlanWave
	RolloutCounts
	// Verdict is "", "healthy", "failed" or "unknown".
	Verdict string     `json:"verdict,omitempty"`
	Detail  string     `json:"detail,omitempty"`
	Began   *time.Time `json:"began,omitempty"`
	Ended   *time.Time `json:"ended,omitempty"`
	// Phase and Opens are those of WaveProgress, of the wave that runs, where
	// who shows it has asked the wave too; a rollout's own answer has neither.
	Phase string     `json:"phase,omitempty"`
	Opens *time.Time `json:"opens,omitempty"`
}

// The verdicts on a wave.
const (
	VerdictHealthy = "healthy"
	VerdictFailed  = "failed"
	VerdictUnknown = "unknown"
)

// RolloutWaveInput is the input of WorkflowRolloutWave. It works on what is left
// of all waves up to Wave.
type RolloutWaveInput struct {
	RolloutID string          `json:"rollout_id"`
	PlanHash  string          `json:"plan_hash"`
	Wave      PlanWave        `json:"wave"`
	Strategy  RolloutStrategy `json:"strategy"`
	Actor     Actor           `json:"actor"`
	Reason    string          `json:"reason"`
	Rate      float64         `json:"rate_per_minute,omitempty"`
	// Total is the number of devices of the rollout. Before is what came of
	// devices of other waves, Mine of those of this one in earlier passes.
	// Accepted and AcceptedMine are what an operator has accepted: they do not
	// count against the limits any more.
	Total        int            `json:"total"`
	Before       RolloutCounts  `json:"before"`
	Mine         RolloutCounts  `json:"mine"`
	Accepted     RolloutCounts  `json:"accepted"`
	AcceptedMine RolloutCounts  `json:"accepted_mine"`
	Control      RolloutControl `json:"control"`

	// Resume is set by the workflow itself when it continues as new.
	Resume *WaveState `json:"resume,omitempty"`
}

// WaveState is what a wave takes along when it continues as new.
type WaveState struct {
	Progress WaveProgress `json:"progress"`
	// Idle is how much time did not count for the deadline: paused, or without
	// an open window.
	Idle time.Duration `json:"idle_ns"`
	// Soaked says that the soak is over, Passed counts the checks in a row that
	// found everything healthy, and CheckUntil is when the checks give up.
	Soaked     bool       `json:"soaked,omitempty"`
	Passed     int        `json:"passed"`
	CheckUntil *time.Time `json:"check_until,omitempty"`
	// Waited is how long devices have waited for their leases that have not had
	// their turn yet.
	Waited []LeaseWaited `json:"waited,omitempty"`
}

// The phases of a wave.
const (
	WaveRolling  = "rolling"
	WaveWaiting  = "waiting for a window"
	WaveHeld     = "waiting for leases"
	WavePaused   = "paused"
	WaveSoaking  = "soaking"
	WaveChecking = "checking"
	WaveOver     = "over"
)

// WaveProgress is the answer to QueryProgress of a wave, and its result.
type WaveProgress struct {
	Wave  int    `json:"wave"`
	Phase string `json:"phase"`
	RolloutCounts
	// Running holds the IDs of the devices in work, sorted.
	Running []string `json:"running,omitempty"`
	// Opens is when the next window opens, while none is open that is long
	// enough; nil when that is not known yet.
	Opens *time.Time `json:"opens,omitempty"`
	// Held counts the devices that wait for another workflow's lease, LeaseWaits
	// are the first of them.
	Held       int         `json:"held,omitempty"`
	LeaseWaits []LeaseWait `json:"lease_waits,omitempty"`
	// Breach says which limit was passed, and Left how many devices have not
	// had their turn.
	Breach  string `json:"breach,omitempty"`
	Left    int    `json:"left"`
	Verdict string `json:"verdict,omitempty"`
	Detail  string `json:"detail,omitempty"`
	// Findings are the first devices that are not healthy.
	Findings []RolloutFinding `json:"findings,omitempty"`
	Began    time.Time        `json:"began"`
}

// RolloutFinding is a device that is not healthy.
type RolloutFinding struct {
	DeviceID string `json:"device_id"`
	State    string `json:"state"`
	Unsafe   bool   `json:"unsafe,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Detail   string `json:"detail"`
}

// BeginRolloutInput is the input of ActivityBeginRollout.
type BeginRolloutInput struct {
	PlanHash string `json:"plan_hash"`
	Actor    Actor  `json:"actor"`
	Reason   string `json:"reason"`
}

// NoteRolloutInput is the input of ActivityNoteRollout.
type NoteRolloutInput struct {
	RolloutID string `json:"rollout_id"`
	State     string `json:"state"`
	Detail    string `json:"detail"`
	// Event, where it is not empty, is written to the ledger, as done by By,
	// or by the actor when that is empty.
	Event string `json:"event,omitempty"`
	By    string `json:"by,omitempty"`
	Actor Actor  `json:"actor"`
	Ended bool   `json:"ended,omitempty"`
}
