package contract

import "time"

// ActivityDecommission takes one device out of service: in the registry alone,
// on TaskQueue. Nothing is written to the device.
const ActivityDecommission = "decommission_device"

// MaxSelection is the most devices that one workflow is given by name: what it
// is started with, and what it takes along, has to fit into one payload.
const MaxSelection = 5000

// DecommissionInput is the input of WorkflowDecommission. The devices come with
// their sites and regions, because a fleet that does not declare them any more
// cannot tell.
type DecommissionInput struct {
	Devices []DeviceRef `json:"devices"`
	Actor   Actor       `json:"actor"`
	Reason  string      `json:"reason"`
	Bounds  Bounds      `json:"bounds"`

	// Resume is set by the workflow itself when it continues as new; Devices
	// is empty then.
	Resume *DecommissionState `json:"resume,omitempty"`
}

// DecommissionState is what a workflow takes along when it continues as new.
type DecommissionState struct {
	Pending  []DeviceRef          `json:"pending"`
	Progress DecommissionProgress `json:"progress"`
}

// DecommissionProgress is the answer to QueryProgress of a decommissioning, and
// its result. Its fields are named as those of an OnboardProgress.
type DecommissionProgress struct {
	Total  int `json:"total"`
	Done   int `json:"done"`
	Failed int `json:"failed"`
	// Running holds the IDs of the devices in work, sorted.
	Running []string `json:"running,omitempty"`
	// Failures holds the first failures; Failed counts all of them.
	Failures []DecommissionFailure `json:"failures,omitempty"`
	Began    time.Time             `json:"began"`
}

// DecommissionFailure says why a device is still in service.
type DecommissionFailure struct {
	DeviceID string `json:"device_id"`
	Reason   string `json:"reason"`
	Detail   string `json:"detail"`
}

// DecommissionDeviceInput is the input of ActivityDecommission.
type DecommissionDeviceInput struct {
	Scope
}

// DecommissionDeviceResult is the result of ActivityDecommission. ChangedAt is
// when the device was taken out of service, which may have been earlier.
type DecommissionDeviceResult struct {
	DeviceID  string    `json:"device_id"`
	ChangedAt time.Time `json:"changed_at"`
}

// DecommissionID is the workflow ID of a decommissioning.
func DecommissionID(nonce string) string { return "decommission/" + nonce }
