package contract

import "time"

// ActivitySelect resolves a selection against the fleet directory and the
// registry.
const ActivitySelect = "select_devices"

// ActivityOnboard takes one device through all phases of onboarding, on the
// queue of its region.
const ActivityOnboard = "onboard_device"

// Selection names devices. Exactly one of IDs, All, Site and Region counts, in
// this order.
type Selection struct {
	IDs    []string `json:"ids,omitempty"`
	All    bool     `json:"all,omitempty"`
	Site   string   `json:"site,omitempty"`
	Region string   `json:"region,omitempty"`
	// Again selects devices that are onboarded as they are declared, too.
	Again bool `json:"again,omitempty"`
}

// DeviceRef is as much of a device as it takes to schedule work on it.
type DeviceRef struct {
	ID     string `json:"id"`
	Site   string `json:"site"`
	Region string `json:"region"`
}

// Selected is the result of ActivitySelect, in the order of the IDs.
type Selected struct {
	Devices []DeviceRef `json:"devices"`
	// Skipped counts devices that are onboarded as they are declared.
	Skipped int `json:"skipped"`
	// Revision names the state of the fleet directory that was selected from.
	Revision string `json:"revision"`
}

// MaxAtOnce is the most devices that one workflow works on at once: with more,
// what still has to be noted when its history is long would not fit into it.
const MaxAtOnce = 256

// Bounds bound the devices in work at once; a zero field has its default, and
// Total is MaxAtOnce at most.
type Bounds struct {
	PerSite   int `json:"per_site,omitempty"`   // 4
	PerRegion int `json:"per_region,omitempty"` // 32
	Total     int `json:"total,omitempty"`      // 64
}

// WithDefaults fills the fields that are zero, and keeps Total in its bound.
func (b Bounds) WithDefaults() Bounds {
	for _, f := range []struct {
		field    *int
		fallback int
	}{{&b.PerSite, 4}, {&b.PerRegion, 32}, {&b.Total, 64}} {
		if *f.field <= 0 {
			*f.field = f.fallback
		}
	}
	b.Total = min(b.Total, MaxAtOnce)
	return b
}

// OnboardInput is the input of WorkflowOnboard.
type OnboardInput struct {
	Selection Selection `json:"selection"`
	Actor     Actor     `json:"actor"`
	Reason    string    `json:"reason"`
	Bounds    Bounds    `json:"bounds"`
	Trust

	// Resume is set by the workflow itself when it continues as new.
	Resume *OnboardState `json:"resume,omitempty"`
}

// Trust is what the one who onboards devices takes upon himself.
type Trust struct {
	// TrustFirstUse pins what a device shows to be known by when nothing is
	// known of it, where the fleet allows that.
	TrustFirstUse bool `json:"trust_first_use,omitempty"`
	// AcceptReplacement takes another device than the one that is in service
	// under this name: another serial number, and with TrustFirstUse another
	// fingerprint than the pinned one.
	AcceptReplacement bool `json:"accept_replacement,omitempty"`
}

// OnboardState is what a workflow takes along when it continues as new.
type OnboardState struct {
	Pending  []DeviceRef     `json:"pending"`
	Progress OnboardProgress `json:"progress"`
	// Tried counts the tries of the pending devices that had any.
	Tried []TriedDevice `json:"tried,omitempty"`
}

// TriedDevice is a device that could not be reached so many times.
type TriedDevice struct {
	ID    string `json:"id"`
	Tries int    `json:"tries"`
}

// OnboardProgress is the answer to QueryProgress of an onboarding, and its
// result.
type OnboardProgress struct {
	Total   int `json:"total"`
	Done    int `json:"done"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	// Running holds the IDs of the devices in work, sorted.
	Running []string `json:"running,omitempty"`
	// Waiting counts the devices that could not be reached so far, and are
	// tried again.
	Waiting int `json:"waiting,omitempty"`
	// Failures holds the first failures; Failed counts all of them.
	Failures []OnboardFailure `json:"failures,omitempty"`
	// Phases sums the time spent in each phase over all devices.
	Phases   []PhaseTime `json:"phases,omitempty"`
	Began    time.Time   `json:"began"`
	Revision string      `json:"revision"`
}

// OnboardFailure says why a device was not onboarded. It is also the detail of
// an error of ActivityOnboard. Phase is empty when the device's turn ended
// before the first phase, or nobody can tell.
type OnboardFailure struct {
	DeviceID string `json:"device_id"`
	Phase    string `json:"phase"`
	Reason   string `json:"reason"`
	Detail   string `json:"detail"`
}

// PhaseTime is how long a phase took: of one device, or of all the Devices
// together that had it in an OnboardProgress.
type PhaseTime struct {
	Phase   string        `json:"phase"`
	Took    time.Duration `json:"took_ns"`
	Devices int           `json:"devices,omitempty"`
}

// OnboardDeviceInput is the input of ActivityOnboard.
type OnboardDeviceInput struct {
	Scope
	Trust
	// Yield asks for a result with Later where the device cannot be had yet and
	// nothing was done to it: the caller tries again, and the device's place is
	// free meanwhile. Without it that is an error, which is retried in place.
	Yield bool `json:"yield,omitempty"`
	// Final says that there is no other try after this one, so that what comes
	// of it is what the registry is told.
	Final bool `json:"final,omitempty"`
}

// OnboardDeviceResult is the result of ActivityOnboard. A device that could
// not be onboarded is a result and not an error, so that one bad device does
// not look like a bad workflow.
type OnboardDeviceResult struct {
	DeviceID string          `json:"device_id"`
	Phases   []PhaseTime     `json:"phases"`
	Failure  *OnboardFailure `json:"failure,omitempty"`
	// Undone says that changes were made and taken back.
	Undone bool `json:"undone,omitempty"`
	// Later says that Failure may pass: the device is dark, busy or another
	// workflow's, and is as it was.
	Later bool `json:"later,omitempty"`
}

// The phases of onboarding, in order. Only devices that can prove who they are
// have PhaseEnrol.
const (
	PhaseReach    = "reach"
	PhaseEnrol    = "enrol"
	PhaseIdentify = "identify"
	PhaseBackUp   = "back up"
	PhaseApply    = "apply"
	PhaseVerify   = "verify"
	PhaseRegister = "register"
)

// Phases returns the phases of onboarding in their order.
func Phases() []string {
	return []string{PhaseReach, PhaseEnrol, PhaseIdentify, PhaseBackUp, PhaseApply, PhaseVerify, PhaseRegister}
}

// OnboardID is the workflow ID of an onboarding.
func OnboardID(nonce string) string { return "onboard/" + nonce }
