package contract

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var deviceIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// ValidDeviceID returns an error that says what a device ID has to look like
// when id does not: 1 to 63 letters, digits, dots, dashes and underscores,
// beginning with a letter or digit. It has to hold for everything that comes
// from an alert's label, because the ID becomes part of workflow IDs.
func ValidDeviceID(id string) error {
	if !deviceIDPattern.MatchString(id) {
		return fmt.Errorf("device ID %.80q: want 1 to 63 letters, digits, '.', '-' or '_', beginning with a letter or digit", id)
	}
	return nil
}

// Episode identifies one firing of one alert for one device: every resend,
// repeat and duplicate of it has the same Episode.
type Episode struct {
	DeviceID    string
	AlertName   string
	Fingerprint string
	StartsAt    time.Time
}

const remediatePrefix = "remediate/"

// WorkflowID returns "remediate/<device>/<alert>/<fingerprint>-<startsAt unix>".
func (e Episode) WorkflowID() string {
	return fmt.Sprintf("%s%s/%s/%s-%d", remediatePrefix, e.DeviceID, e.AlertName, e.Fingerprint, e.StartsAt.Unix())
}

// ParseEpisode is the inverse of Episode.WorkflowID; StartsAt comes back in
// UTC with a resolution of one second. It accepts what WorkflowID builds, and
// nothing else.
func ParseEpisode(id string) (Episode, error) {
	parts := strings.Split(strings.TrimPrefix(id, remediatePrefix), "/")
	if !strings.HasPrefix(id, remediatePrefix) || len(parts) != 3 || parts[1] == "" || parts[1] == manualName {
		return Episode{}, fmt.Errorf("%.200q is not the ID of an alert's remediation (remediate/<device>/<alert>/<fingerprint>-<unix>)", id)
	}
	if err := ValidDeviceID(parts[0]); err != nil {
		return Episode{}, fmt.Errorf("%.200q: %w", id, err)
	}
	cut := strings.LastIndexByte(parts[2], '-')
	if cut < 1 {
		return Episode{}, fmt.Errorf("%.200q: want a fingerprint and a start time, with a dash between", id)
	}
	sec, err := strconv.ParseInt(parts[2][cut+1:], 10, 64)
	if err != nil {
		return Episode{}, fmt.Errorf("%.200q: start time: %w", id, err)
	}
	e := Episode{DeviceID: parts[0], AlertName: parts[1], Fingerprint: parts[2][:cut], StartsAt: time.Unix(sec, 0).UTC()}
	if e.WorkflowID() != id {
		return Episode{}, fmt.Errorf("%.200q: the start time is not written as seconds since 1970 are", id)
	}
	return e, nil
}

// manualName stands where an alert's name stands in the ID of a remediation
// that an operator started.
const manualName = "manual"

// ManualRemediateID is the workflow ID of a remediation that an operator
// started; nonce makes a second one distinct.
func ManualRemediateID(deviceID, nonce string) string {
	return remediatePrefix + deviceID + "/" + manualName + "/" + nonce
}

// InspectID is the workflow ID of a question to the workers.
func InspectID(question, nonce string) string { return "inspect/" + question + "/" + nonce }
