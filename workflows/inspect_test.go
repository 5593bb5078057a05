package workflows

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"edgefleet/workflows/contract"
)

// asked is what an activity of a question saw.
type asked struct {
	question, queue string
	query           any
	attempt         int32
}

// desk is a workflow environment in which every question has an answer.
type desk struct {
	env   *testsuite.TestWorkflowEnvironment
	asked []asked
	fail  map[string]error
}

func answer[Query, Answer any](d *desk, question string, a Answer) {
	d.env.RegisterActivityWithOptions(func(ctx context.Context, q Query) (Answer, error) {
		info := activity.GetInfo(ctx)
		d.asked = append(d.asked, asked{question, info.TaskQueue, q, info.Attempt})
		return a, d.fail[question]
	}, activity.RegisterOptions{Name: question})
}

func newDesk(t *testing.T) *desk {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	d := &desk{env: suite.NewTestWorkflowEnvironment(), fail: map[string]error{}}
	d.env.SetTestTimeout(20 * time.Second)
	Register(d.env)
	answer[contract.DeviceQuery](d, contract.AskDeviceList, []contract.DeviceStatus{{Device: theDevice(), State: "healthy"}})
	answer[contract.DeviceQuery](d, contract.AskDeviceShow, contract.DeviceDetail{DeviceStatus: contract.DeviceStatus{Device: theDevice()}, Baseline: "standard 7"})
	answer[contract.DeviceQuery](d, contract.AskDeviceProbe, contract.NetworkReport{DeviceID: "edge-001", Reachable: true})
	answer[contract.DeviceQuery](d, contract.AskDeviceDrift, contract.DriftReport{DeviceID: "edge-001", Checked: 6})
	answer[contract.IncidentQuery](d, contract.AskIncidentList, []contract.Incident{{ID: "inc-2"}, {ID: "inc-1"}})
	answer[contract.IncidentQuery](d, contract.AskIncidentShow, contract.IncidentDetail{Incident: contract.Incident{ID: "inc-1"}})
	answer[contract.AuditQuery](d, contract.AskAuditList, contract.AuditPage{Next: 9})
	answer[contract.RegistryQuery](d, contract.AskRegistryList, contract.RegistryPage{Devices: []contract.RegisteredDevice{{DeviceID: "edge-001"}}, Revision: "r1"})
	answer[contract.AuditVerifyQuery](d, contract.AskAuditVerify, contract.AuditVerdict{OK: true, Entries: 9})
	t.Cleanup(func() { require.True(t, d.env.IsWorkflowCompleted()) })
	return d
}

func (d *desk) ask(t *testing.T, in contract.InspectInput) (contract.InspectResult, error) {
	t.Helper()
	d.env.ExecuteWorkflow(contract.WorkflowInspect, in)
	var out contract.InspectResult
	if err := d.env.GetWorkflowError(); err != nil {
		return out, err
	}
	require.NoError(t, d.env.GetWorkflowResult(&out))
	return out, nil
}

func TestEveryQuestionIsAnsweredByItsActivityOnTheRightQueue(t *testing.T) {
	one := &contract.DeviceQuery{ID: "edge-001"}
	show := asked{contract.AskDeviceShow, contract.TaskQueue, *one, 1}
	for _, tt := range []struct {
		question string
		in       contract.InspectInput
		asked    []asked
		out      contract.InspectResult
	}{
		{contract.AskDeviceList, contract.InspectInput{Device: &contract.DeviceQuery{Site: "s1"}},
			[]asked{{contract.AskDeviceList, contract.TaskQueue, contract.DeviceQuery{Site: "s1"}, 1}},
			contract.InspectResult{Devices: []contract.DeviceStatus{{Device: theDevice(), State: "healthy"}}}},
		{contract.AskDeviceShow, contract.InspectInput{Device: one}, []asked{show},
			contract.InspectResult{Device: &contract.DeviceDetail{DeviceStatus: contract.DeviceStatus{Device: theDevice()}, Baseline: "standard 7"}}},
		{contract.AskDeviceProbe, contract.InspectInput{Device: one},
			[]asked{show, {contract.AskDeviceProbe, "edgefleet.north", *one, 1}},
			contract.InspectResult{Network: &contract.NetworkReport{DeviceID: "edge-001", Reachable: true}}},
		{contract.AskDeviceDrift, contract.InspectInput{Device: one},
			[]asked{show, {contract.AskDeviceDrift, "edgefleet.north", *one, 1}},
			contract.InspectResult{Drift: &contract.DriftReport{DeviceID: "edge-001", Checked: 6}}},
		{contract.AskIncidentList, contract.InspectInput{Incident: &contract.IncidentQuery{Limit: 2}},
			[]asked{{contract.AskIncidentList, contract.TaskQueue, contract.IncidentQuery{Limit: 2}, 1}},
			contract.InspectResult{Incidents: []contract.Incident{{ID: "inc-2"}, {ID: "inc-1"}}}},
		{contract.AskIncidentShow, contract.InspectInput{Incident: &contract.IncidentQuery{ID: "inc-1"}},
			[]asked{{contract.AskIncidentShow, contract.TaskQueue, contract.IncidentQuery{ID: "inc-1"}, 1}},
			contract.InspectResult{Incident: &contract.IncidentDetail{Incident: contract.Incident{ID: "inc-1"}}}},
		{contract.AskAuditList, contract.InspectInput{Audit: &contract.AuditQuery{After: 3}},
			[]asked{{contract.AskAuditList, contract.TaskQueue, contract.AuditQuery{After: 3}, 1}},
			contract.InspectResult{Audit: &contract.AuditPage{Next: 9}}},
		{contract.AskAuditVerify, contract.InspectInput{Verify: &contract.AuditVerifyQuery{AnchorSeq: 4}},
			[]asked{{contract.AskAuditVerify, contract.TaskQueue, contract.AuditVerifyQuery{AnchorSeq: 4}, 1}},
			contract.InspectResult{Verdict: &contract.AuditVerdict{OK: true, Entries: 9}}},
		{contract.AskRegistryList, contract.InspectInput{Registry: &contract.RegistryQuery{After: "edge-000"}},
			[]asked{{contract.AskRegistryList, contract.TaskQueue, contract.RegistryQuery{After: "edge-000"}, 1}},
			contract.InspectResult{Registry: &contract.RegistryPage{Devices: []contract.RegisteredDevice{{DeviceID: "edge-001"}}, Revision: "r1"}}},
	} {
		t.Run(tt.question, func(t *testing.T) {
			d := newDesk(t)
			tt.in.Question, tt.in.By = tt.question, "ann"
			out, err := d.ask(t, tt.in)
			require.NoError(t, err)
			require.Equal(t, tt.asked, d.asked)
			require.Equal(t, tt.out, out)
		})
	}
}

func TestAQuestionsErrorKeepsItsType(t *testing.T) {
	unknown := temporal.NewNonRetryableApplicationError("edge-009 is not in fleet.yaml", contract.ErrUnknownDevice, nil)
	dark := temporal.NewApplicationError("no answer", contract.ErrUnreachable)
	for _, tt := range []struct {
		name     string
		question string
		fails    string
		err      error
		asked    int
	}{
		{"an unknown device is not looked for twice", contract.AskDeviceShow, contract.AskDeviceShow, unknown, 1},
		{"an unknown device has no region to ask", contract.AskDeviceProbe, contract.AskDeviceShow, unknown, 1},
		{"what may pass is tried three times", contract.AskDeviceDrift, contract.AskDeviceDrift, dark, 1 + 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t)
			d.fail[tt.fails] = tt.err
			_, err := d.ask(t, contract.InspectInput{Question: tt.question, Device: &contract.DeviceQuery{ID: "edge-009"}})
			var want *temporal.ApplicationError
			require.ErrorAs(t, tt.err, &want)
			require.Equal(t, want.Message(), requireType(t, want.Type(), err))
			require.Len(t, d.asked, tt.asked)
		})
	}
}

func TestAQuestionThatThisWorkerDoesNotKnowSaysSo(t *testing.T) {
	d := newDesk(t)
	_, err := d.ask(t, contract.InspectInput{Question: "device_reboot"})
	require.Contains(t, requireType(t, contract.ErrNotFound, err), `unknown question "device_reboot": the worker may be older`)
	require.Empty(t, d.asked)
}

func TestAQuestionWithoutItsQueryIsAskedWithAnEmptyOne(t *testing.T) {
	d := newDesk(t)
	_, err := d.ask(t, contract.InspectInput{Question: contract.AskDeviceProbe, By: strings.Repeat("ä", 500)})
	require.NoError(t, err)
	require.Equal(t, contract.DeviceQuery{}, d.asked[0].query)
}
