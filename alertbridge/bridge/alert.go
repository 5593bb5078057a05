package bridge

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	enumspb "go.temporal.io/api/enums/v1"
	sdkclient "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/internal/routes"
	"edgefleet/workflows/contract"
)

// Labels of Prometheus that the bridge itself reads.
const (
	labelAlertName = "alertname"
	labelSite      = "site"
	labelRegion    = "region"
)

const (
	// executionTimeout bounds a remediation with all its retries. It leaves
	// room for an approval over a night and a weekend day, and ends what
	// would otherwise wait for ever.
	executionTimeout = 48 * time.Hour

	// maxAlertName keeps workflow IDs, which Temporal bounds at 1,000 bytes,
	// and summaries, bounded at 400, well inside.
	maxAlertName = 200
	// maxKeyword is what a keyword column holds in Temporal's SQL stores.
	maxKeyword = 255
	// maxAlertBytes bounds the input of a workflow; Temporal warns at 512 KiB
	// and refuses at 2 MiB.
	maxAlertBytes = 256 << 10
)

// reason is why an alert was refused: a bounded set, and a metric's label.
type reason string

// Reasons for which an alert can never work as it is.
const (
	reasonMalformed   reason = "malformed"
	reasonStatus      reason = "bad_status"
	reasonNoDevice    reason = "no_device"
	reasonDevice      reason = "bad_device"
	reasonAlertName   reason = "bad_alert_name"
	reasonFingerprint reason = "bad_fingerprint"
	reasonStartsAt    reason = "bad_starts_at"
	reasonTooLarge    reason = "too_large"
)

func reasons() []reason {
	return []reason{
		reasonMalformed, reasonStatus, reasonNoDevice, reasonDevice,
		reasonAlertName, reasonFingerprint, reasonStartsAt, reasonTooLarge,
	}
}

// refusal is the error of an alert that can never work.
type refusal struct {
	reason reason
	detail string
}

func (r *refusal) Error() string { return string(r.reason) + ": " + r.detail }

func refuse(why reason, format string, args ...any) *refusal {
	return &refusal{why, fmt.Sprintf(format, args...)}
}

var fingerprintPattern = regexp.MustCompile(`^[0-9A-Za-z]{1,64}$`)

// readable refuses an alert that cannot be judged at all, before any route is
// asked.
func readable(a Alert) *refusal {
	switch {
	case a.malformed != nil:
		return refuse(reasonMalformed, "%v", a.malformed)
	case a.Status != statusFiring && a.Status != statusResolved:
		return refuse(reasonStatus, "status %.40q: want firing or resolved", a.Status)
	}
	return nil
}

// episodeOf identifies the episode that an alert belongs to, with the device
// from deviceLabel. Every part of it is checked, because they become a
// workflow ID that has to be parsed again.
func episodeOf(a Alert, deviceLabel string) (contract.Episode, *refusal) {
	device, name := a.Labels[deviceLabel], a.Labels[labelAlertName]
	if device == "" {
		return contract.Episode{}, refuse(reasonNoDevice, "no label %q: add it to the alert, or name the label that holds the device with device_label in the route", deviceLabel)
	}
	if err := contract.ValidDeviceID(device); err != nil {
		return contract.Episode{}, refuse(reasonDevice, "label %q: %v", deviceLabel, err)
	}
	if why := badAlertName(name); why != "" {
		return contract.Episode{}, refuse(reasonAlertName, "alert name %.80q %s", name, why)
	}
	if !fingerprintPattern.MatchString(a.Fingerprint) {
		return contract.Episode{}, refuse(reasonFingerprint, "fingerprint %.80q: want 1 to 64 letters and digits", a.Fingerprint)
	}
	if a.StartsAt.Unix() <= 0 {
		return contract.Episode{}, refuse(reasonStartsAt, "startsAt %s: want the time at which the alert began", a.StartsAt)
	}
	return contract.Episode{DeviceID: device, AlertName: name, Fingerprint: a.Fingerprint, StartsAt: a.StartsAt}, nil
}

// badAlertName says what is wrong with an alert's name as part of a workflow
// ID, or "". The name "manual" stands there for an operator.
func badAlertName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxAlertName:
		return fmt.Sprintf("is longer than %d bytes", maxAlertName)
	case name == "manual":
		return "is reserved for remediations that an operator starts"
	case strings.Contains(name, "/"):
		return "contains '/', which separates the parts of a workflow ID"
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "contains a character that cannot be printed"
	}
	return ""
}

// startOf builds the start of the remediation of one firing alert.
//
// The reuse policy lets a later repeat of the alert try again what failed, and
// nothing else; the conflict policy makes a resend, and the other half of a
// highly available pair, meet the run that is there.
func startOf(a Alert, e contract.Episode, r routes.Route) (sdkclient.StartWorkflowOptions, contract.RemediateInput, *refusal) {
	if a.size > maxAlertBytes {
		return sdkclient.StartWorkflowOptions{}, contract.RemediateInput{}, refuse(reasonTooLarge, "the alert has %d bytes, at most %d are taken: shorten its annotations", a.size, maxAlertBytes)
	}
	options := sdkclient.StartWorkflowOptions{
		ID:                                       e.WorkflowID(),
		TaskQueue:                                contract.TaskQueue,
		WorkflowExecutionTimeout:                 executionTimeout,
		WorkflowIDReusePolicy:                    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
		WorkflowIDConflictPolicy:                 enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		TypedSearchAttributes:                    searchAttributes(a, e),
		StaticSummary:                            "remediate " + e.DeviceID + ": " + e.AlertName,
	}
	input := contract.RemediateInput{
		DeviceID: e.DeviceID,
		Alert: &contract.Alert{
			Name: e.AlertName, Fingerprint: e.Fingerprint, StartsAt: e.StartsAt,
			Labels: a.Labels, Annotations: a.Annotations, GeneratorURL: a.GeneratorURL,
		},
		Actor:   contract.Actor{Kind: contract.ActorAlert, Name: e.AlertName},
		Reason:  fmt.Sprintf("alert %s is firing since %s", e.AlertName, e.StartsAt.UTC().Format(time.RFC3339)),
		Runbook: contract.RunbookRef{Path: r.Runbook, Function: r.Function},
	}
	return options, input, nil
}

func searchAttributes(a Alert, e contract.Episode) temporal.SearchAttributes {
	keyword := func(name, value string) temporal.SearchAttributeUpdate {
		return temporal.NewSearchAttributeKeyKeyword(name).ValueSet(value)
	}
	updates := []temporal.SearchAttributeUpdate{
		keyword(contract.AttrDeviceID, e.DeviceID),
		keyword(contract.AttrAlertName, e.AlertName),
		keyword(contract.AttrOutcome, contract.OutcomeRunning),
	}
	if site := cut(a.Labels[labelSite], maxKeyword); site != "" {
		updates = append(updates, keyword(contract.AttrSite, site))
	}
	if region := cut(a.Labels[labelRegion], maxKeyword); region != "" {
		updates = append(updates, keyword(contract.AttrRegion, region))
	}
	return temporal.NewSearchAttributes(updates...)
}

// cut shortens s to at most n bytes, between two characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
