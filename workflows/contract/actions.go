package contract

import "time"

// Actions: the things that a runbook can do to or ask of a device. Each is an
// activity of the same name, and a builtin of the same name in runbooks.
const (
	ActionCheckNetwork         = "check_network"
	ActionTriggerNetworkReset  = "trigger_network_reset"
	ActionDetectConfigDrift    = "detect_config_drift"
	ActionApplyBaselineConfig  = "apply_baseline_config"
	ActionUpdateIncidentStatus = "update_incident_status"
	ActionVerifyDevice         = "verify_device"
)

// ActionKind says what an action may do.
type ActionKind string

// The kinds of actions.
const (
	KindRead   ActionKind = "read"   // asks the device, changes nothing
	KindChange ActionKind = "change" // changes the device or its surroundings
	KindRecord ActionKind = "record" // changes edgefleet's own records only
)

// Param is a parameter of an action after device_id: all are optional strings.
type Param struct {
	Name string
	Doc  string
	// OneOf bounds the values, when it is not empty.
	OneOf []string
}

// Answer is one of the answers that an action can give, as far as a runbook
// that branches on it can tell them apart.
type Answer struct {
	// Name is what a plan shows: "reachable".
	Name string
	// True is the truth value of the result in a runbook.
	True bool
}

// Action declares an action: everything that workflows, the linter and the
// planner know of it. It is implemented in package activities.
type Action struct {
	Name string
	Kind ActionKind
	Doc  string
	// Params follow device_id, the first parameter of every action.
	Params  []Param
	Answers []Answer
	// Central actions run on TaskQueue, others on the region's queue.
	Central bool
	// Verb is the action in words for summaries: "reset network".
	Verb string

	// StartToClose bounds one attempt, ScheduleToClose all of them; a runbook
	// changes the first with timeout= and the attempts with retries=.
	StartToClose    time.Duration
	ScheduleToClose time.Duration
	// Heartbeat is 0 for actions that take seconds at most.
	Heartbeat   time.Duration
	MaxAttempts int32
}

// Actions returns the catalogue, in a fixed order.
func Actions() []Action {
	return []Action{
		{
			Name: ActionCheckNetwork, Kind: KindRead, Verb: "check network",
			Doc:          "Can the device be reached? True when it answers its protocol. Fails when the worker's own path to the region is down.",
			Answers:      []Answer{{"reachable", true}, {"unreachable", false}},
			StartToClose: 30 * time.Second, ScheduleToClose: 5 * time.Minute, MaxAttempts: 5,
		},
		{
			Name: ActionTriggerNetworkReset, Kind: KindChange, Verb: "reset network",
			Doc:          "Reset the device's network path as the fleet file says, once, and wait for the device. True when it came back.",
			Answers:      []Answer{{"came back", true}, {"still dark", false}},
			StartToClose: 5 * time.Minute, ScheduleToClose: 15 * time.Minute, Heartbeat: 15 * time.Second, MaxAttempts: 5,
		},
		{
			Name: ActionDetectConfigDrift, Kind: KindRead, Verb: "detect drift",
			Doc:          "Which settings differ from the baseline? True when any does. Fails when a setting cannot be read.",
			Answers:      []Answer{{"drifted", true}, {"in sync", false}},
			StartToClose: 1 * time.Minute, ScheduleToClose: 5 * time.Minute, MaxAttempts: 5,
		},
		{
			Name: ActionApplyBaselineConfig, Kind: KindChange, Verb: "apply baseline",
			Doc:     "Write the settings that differ from the baseline, each compared before and read back after. True when anything was changed.",
			Answers: []Answer{{"changed", true}, {"nothing to change", false}},
			// A write to a host ends with its restart and its health check.
			StartToClose: 10 * time.Minute, ScheduleToClose: 30 * time.Minute, Heartbeat: 15 * time.Second, MaxAttempts: 5,
		},
		{
			Name: ActionUpdateIncidentStatus, Kind: KindRecord, Central: true, Verb: "update incident",
			Doc: "Set the status of the incident, with a note.",
			Params: []Param{
				{Name: "status", Doc: "the new status; without it, mitigated", OneOf: []string{"investigating", "mitigated"}},
				{Name: "note", Doc: "what to tell the next reader"},
			},
			Answers:      []Answer{{"updated", true}},
			StartToClose: 15 * time.Second, ScheduleToClose: 15 * time.Minute, MaxAttempts: 0,
		},
		{
			Name: ActionVerifyDevice, Kind: KindRead, Verb: "verify device",
			Doc:          "Is the device healthy now: reachable, in sync with its baseline, and passing its profile's health check? True when it is.",
			Answers:      []Answer{{"healthy", true}, {"not healthy", false}},
			StartToClose: 1 * time.Minute, ScheduleToClose: 5 * time.Minute, MaxAttempts: 5,
		},
	}
}

// ActionInput is the input of every action.
type ActionInput struct {
	Scope
	// Args holds the parameters after device_id that the caller gave.
	Args map[string]string `json:"args,omitempty"`
}

// IncidentReport is the result of update_incident_status.
type IncidentReport struct {
	IncidentID string `json:"incident_id"`
	Status     string `json:"status"`
}

// MustAction returns the declaration of an action that the caller knows to be
// in the catalogue; another name is a bug and panics.
func MustAction(name string) Action {
	for _, a := range Actions() {
		if a.Name == name {
			return a
		}
	}
	panic("contract: no action " + name)
}
