package stack_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/temporalproto"
	sdkclient "go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"edgefleet/dev/tools/toolchain"
	"edgefleet/devices/sim"
	"edgefleet/internal/store"
	"edgefleet/workflows"
	"edgefleet/workflows/contract"
)

var record = flag.Bool("record", false, "write the histories that workflows/testdata/replay does not have yet")

// recording is a workflow whose history is kept for the replay test.
type recording struct {
	name  string
	ends  enumspb.WorkflowExecutionStatus
	begin func(s *site) sdkclient.WorkflowRun
	// steer does what the workflow needs from outside; it may be nil.
	steer func(s *site, run sdkclient.WorkflowRun)
}

// TestRecordHistories runs what workflows can do on a real engine, and replays
// each history at once. With -record it keeps those that are not kept yet. It
// never overwrites one: what was recorded is what running workflows have
// behind them, and a change of behaviour gets a recording of its own.
func TestRecordHistories(t *testing.T) {
	recordAll(t, startStack(t, 18), recordings())
}

// recordAll begins all workflows before it waits for the first of them.
func recordAll(t *testing.T, s *site, all []recording) {
	root, err := toolchain.Root(".")
	require.NoError(t, err)
	dir := filepath.Join(root, "workflows", "testdata", "replay")
	runs := make([]sdkclient.WorkflowRun, len(all))
	for i, r := range all {
		runs[i] = r.begin(s)
	}
	for i, r := range all {
		t.Run(r.name, func(t *testing.T) {
			s := s.in(t)
			if r.steer != nil {
				r.steer(s, runs[i])
			}
			history := s.history(runs[i])
			d, err := s.temporal.DescribeWorkflowExecution(t.Context(), runs[i].GetID(), runs[i].GetRunID())
			require.NoError(t, err)
			require.Equal(t, r.ends, d.GetWorkflowExecutionInfo().GetStatus())
			require.NotEmpty(t, tellTales(t, history, root, s.dir), "the names of processes are found where they stand")
			strip(history.ProtoReflect())
			text, err := temporalproto.CustomJSONMarshalOptions{Indent: "  "}.Marshal(history)
			require.NoError(t, err)
			require.Empty(t, tellTales(t, history, root, s.dir), "nothing of the machine that records may stand in a history")

			replayer := sdkworker.NewWorkflowReplayer()
			workflows.Register(replayer)
			require.NoError(t, replayer.ReplayWorkflowHistory(nil, history))

			file := filepath.Join(dir, r.name+".json")
			_, err = os.Stat(file)
			if *record && os.IsNotExist(err) {
				require.NoError(t, os.MkdirAll(dir, 0o755))
				err = os.WriteFile(file, append(text, '\n'), 0o644)
			}
			require.NoError(t, err, "record it with make record")
		})
	}
}

// yields returns when a device of an onboarding is out of reach and waits for
// its next try.
func (s *site) yields(run sdkclient.WorkflowRun) {
	s.t.Helper()
	until(s.t, patience, func() error {
		answer, err := s.temporal.QueryWorkflow(s.t.Context(), run.GetID(), run.GetRunID(), contract.QueryProgress)
		if err != nil {
			return err
		}
		var p contract.OnboardProgress
		if err := answer.Get(&p); err != nil {
			return err
		}
		if p.Waiting != 1 || p.Done != 1 {
			return fmt.Errorf("%s is at %+v", run.GetID(), p)
		}
		return nil
	})
}

// history waits for the end of a run and returns all of its events.
func (s *site) history(run sdkclient.WorkflowRun) *historypb.History {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	_ = run.Get(ctx, nil)
	require.NoError(s.t, ctx.Err(), "%s has not ended", run.GetID())
	out := &historypb.History{}
	events := s.temporal.GetWorkflowHistory(ctx, run.GetID(), run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(s.t, err)
		out.Events = append(out.Events, event)
	}
	return out
}

// strip takes the names of processes and hosts out of a history. No replay
// looks at them.
func strip(m protoreflect.Message) {
	if queue, ok := m.Interface().(*taskqueuepb.TaskQueue); ok && queue.GetKind() == enumspb.TASK_QUEUE_KIND_STICKY {
		queue.Name = "sticky"
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Name() == "identity" && field.Kind() == protoreflect.StringKind:
			m.Set(field, protoreflect.ValueOfString("recorded"))
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { strip(v.Message()); return true })
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				strip(value.List().Get(i).Message())
			}
		default:
			strip(value.Message())
		}
		return true
	})
}

// absolute is a path from the root of a file system, but not an import path or
// a part of a URL.
var absolute = regexp.MustCompile(`(^|[\s"'=(:])/[A-Za-z][\w.-]*/[\w./-]+`)

// tellTales are the texts of a history, payloads decoded, in which the host's
// name or a path of it stands.
func tellTales(t *testing.T, history *historypb.History, paths ...string) []string {
	t.Helper()
	host, err := os.Hostname()
	require.NoError(t, err)
	// Not every host has a name that cannot occur by chance.
	ofHost := regexp.MustCompile(`@` + regexp.QuoteMeta(host) + `|` + regexp.QuoteMeta(host) + `:[0-9a-f]{8}-`)
	var found []string
	var look func(m protoreflect.Message)
	text := func(s string) {
		bad := absolute.MatchString(s) || ofHost.MatchString(s)
		for _, p := range paths {
			bad = bad || strings.Contains(s, p)
		}
		if bad {
			found = append(found, s)
		}
	}
	look = func(m protoreflect.Message) {
		m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
			one := func(v protoreflect.Value) {
				switch {
				case field.IsMap() && field.MapValue().Message() != nil, !field.IsMap() && field.Message() != nil:
					look(v.Message())
				case field.Kind() == protoreflect.BytesKind:
					text(string(v.Bytes()))
				default:
					text(fmt.Sprint(v.Interface()))
				}
			}
			switch {
			case field.IsMap():
				value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { one(v); return true })
			case field.IsList():
				for i := range value.List().Len() {
					one(value.List().Get(i))
				}
			default:
				one(value)
			}
			return true
		})
	}
	look(proto.Message(history).ProtoReflect())
	return found
}

// everyBuiltin uses what a runbook has beside the actions.
const everyBuiltin = `
def reluctantly():
    fail("not this way")

def heal(device_id):
    on_exit(update_incident_status, device_id, note="the runbook has ended")
    step("look from two sides")
    network, drift = parallel(
        lambda: check_network(device_id, title="a quick look", timeout="10s", retries=0),
        lambda: attempt(detect_config_drift, device_id),
    )
    out = attempt(reluctantly)
    print("network %s, drift %s, %s" % (bool(network), bool(drift.value), out.error))
    step("wait")
    start = now()
    for i in range(3):
        sleep("1s")
        if verify_device(device_id):
            break
    print("after %d tries: %s" % (i + 1, now().unix > start.unix))
    return "done"
`

const asksBriefly = `
def heal(device_id):
    gate = wait_for_approval("go", "Now?", timeout="1s")
    if not gate:
        fail("not done: " + gate.note)
`

func recordings() []recording {
	const completed, failed, canceled = enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, enumspb.WORKFLOW_EXECUTION_STATUS_FAILED, enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED
	breaks := func(s *site, device string, stuck bool, faults ...sim.Fault) {
		for _, f := range faults {
			_, err := s.fleet.Break(s.t.Context(), device, f, stuck)
			require.NoError(s.t, err)
		}
	}
	alerted := func(name, device string, stuck bool, faults ...sim.Fault) func(s *site) sdkclient.WorkflowRun {
		return func(s *site) sdkclient.WorkflowRun {
			breaks(s, device, stuck, faults...)
			a := firing(name, device)
			_, summary := s.post(a)
			require.Equal(s.t, 1, summary.Started)
			return s.current(a)
		}
	}
	byHand := func(device, runbook string) func(s *site) sdkclient.WorkflowRun {
		return func(s *site) sdkclient.WorkflowRun { return s.remediate(device, inline(runbook)) }
	}
	decides := func(approved bool) func(s *site, run sdkclient.WorkflowRun) {
		return func(s *site, run sdkclient.WorkflowRun) {
			s.waits(run, "go")
			require.NoError(s.t, s.decide(run, contract.Decision{Gate: "go", Approved: approved, By: "ann", Note: "seen"}))
		}
	}
	asks := func(in contract.InspectInput) func(s *site) sdkclient.WorkflowRun {
		return func(s *site) sdkclient.WorkflowRun { return s.ask(in) }
	}
	onboards := func(devices ...string) func(s *site) sdkclient.WorkflowRun {
		return func(s *site) sdkclient.WorkflowRun {
			run, err := s.temporal.ExecuteWorkflow(s.t.Context(), sdkclient.StartWorkflowOptions{
				ID: "onboard/" + devices[0], TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: 10 * time.Minute,
			}, contract.WorkflowOnboard, contract.OnboardInput{
				Selection: contract.Selection{IDs: devices}, Reason: "a test",
				Actor: contract.Actor{Kind: contract.ActorOperator, Name: "ann"},
			})
			require.NoError(s.t, err)
			return run
		}
	}
	// leftBehind are devices of the registry that the fleet does not declare.
	leftBehind := func(s *site, devices ...string) {
		own := store.Owner{WorkflowID: "onboard/before", RunID: "before"}
		for _, id := range devices {
			lease, err := s.store.AcquireLease(s.t.Context(), id, own)
			require.NoError(s.t, err)
			_, err = s.store.Register(s.t.Context(), store.Registration{DeviceID: id, State: store.StateOnboarded, Owner: own, LeaseToken: lease.Token,
				Actor: "operator:ann", ActivityID: "1", Facts: store.Facts{DeclaredHash: "before", Site: "substation-9", Region: "us-west-2"}})
			require.NoError(s.t, err)
			require.NoError(s.t, s.store.ReleaseLease(s.t.Context(), id, lease.Token))
		}
	}
	decommissions := func(devices ...string) func(s *site) sdkclient.WorkflowRun {
		return func(s *site) sdkclient.WorkflowRun {
			in := contract.DecommissionInput{Reason: "a test", Actor: contract.Actor{Kind: contract.ActorOperator, Name: "ann"}}
			for _, id := range devices {
				in.Devices = append(in.Devices, contract.DeviceRef{ID: id, Site: "substation-9", Region: "us-west-2"})
			}
			run, err := s.temporal.ExecuteWorkflow(s.t.Context(), sdkclient.StartWorkflowOptions{
				ID: contract.DecommissionID(devices[0]), TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: 10 * time.Minute,
			}, contract.WorkflowDecommission, in)
			require.NoError(s.t, err)
			return run
		}
	}
	scans := func(name string, spread time.Duration) func(s *site) sdkclient.WorkflowRun {
		return func(s *site) sdkclient.WorkflowRun {
			run, err := s.temporal.ExecuteWorkflow(s.t.Context(), sdkclient.StartWorkflowOptions{
				ID: contract.DriftScanID(name), TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: 2 * time.Hour,
			}, contract.WorkflowDriftScan, contract.DriftScanInput{
				Selection: contract.Selection{All: true}, Reason: "a test", Spread: spread,
				Actor: contract.Actor{Kind: contract.ActorOperator, Name: "ann"},
			})
			require.NoError(s.t, err)
			return run
		}
	}
	var first sdkclient.WorkflowRun
	var late alert
	return []recording{
		{"remediate-stuck-drift-escalates", failed, alerted("EdgeConfigDrift", "edge-001", true, sim.FaultDrift), nil},
		{"remediate-offline-and-drifted", completed, alerted(offlineAlert, "edge-002", false, sim.FaultOffline, sim.FaultDrift), nil},
		{"remediate-config-drift", completed, alerted("EdgeConfigDrift", "edge-003", false, sim.FaultDrift), nil},
		{"remediate-alert-ends-before-the-lease", completed, func(s *site) sdkclient.WorkflowRun {
			first = s.remediate("edge-004", inline(asksFirst))
			s.waits(first, "go")
			late = firing(offlineAlert, "edge-004")
			_, summary := s.post(late)
			require.Equal(s.t, 1, summary.Started)
			return s.current(late)
		}, func(s *site, run sdkclient.WorkflowRun) {
			s.queues(run)
			_, summary := s.post(late.resolved())
			require.Equal(s.t, 1, summary.Signalled)
			decides(true)(s, first)
			out, err := s.result(run)
			require.NoError(s.t, err)
			require.Equal(s.t, contract.OutcomeCleared, out.Outcome)
			require.Zero(s.t, s.entries("edge-004", contract.ActionTriggerNetworkReset, "intent"))
		}},
		{"remediate-approved", completed, byHand("edge-005", asksFirst), decides(true)},
		{"remediate-refused", completed, byHand("edge-006", asksFirst), decides(false)},
		{"remediate-alert-ends-in-a-gate", completed, byHand("edge-007", asksFirst), func(s *site, run sdkclient.WorkflowRun) {
			s.waits(run, "go")
			require.NoError(s.t, s.temporal.SignalWorkflow(s.t.Context(), run.GetID(), run.GetRunID(),
				contract.SignalAlertResolved, firing(offlineAlert, "edge-007").StartsAt))
		}},
		{"remediate-nobody-decides", failed, byHand("edge-008", asksBriefly), nil},
		{"remediate-cancelled-in-a-gate", canceled, byHand("edge-009", asksFirst), func(s *site, run sdkclient.WorkflowRun) {
			s.waits(run, "go")
			require.NoError(s.t, s.temporal.CancelWorkflow(s.t.Context(), run.GetID(), run.GetRunID()))
		}},
		{"remediate-every-builtin", completed, byHand("edge-010", everyBuiltin), nil},
		{"remediate-runbook-with-a-bug", failed, byHand("edge-011", "def heal(device_id):\n    return device_id + 1\n"), nil},
		{"remediate-unknown-device", failed, byHand("edge-999", looksOnly), nil},
		{"onboard-two-devices", completed, onboards("edge-013", "edge-014"), nil},
		{"onboard-a-dark-device-that-comes-back", completed, func(s *site) sdkclient.WorkflowRun {
			breaks(s, "edge-015", true, sim.FaultOffline)
			return onboards("edge-015", "edge-016")(s)
		}, func(s *site, run sdkclient.WorkflowRun) {
			s.yields(run)
			_, err := s.fleet.Heal(s.t.Context(), "edge-015")
			require.NoError(s.t, err)
			var out contract.OnboardProgress
			require.NoError(s.t, run.Get(s.t.Context(), &out))
			require.Equal(s.t, []int{2, 0}, []int{out.Done, out.Failed})
		}},
		{"onboard-cancelled-while-a-dark-device-waits", canceled, func(s *site) sdkclient.WorkflowRun {
			breaks(s, "edge-017", true, sim.FaultOffline)
			return onboards("edge-017", "edge-018")(s)
		}, func(s *site, run sdkclient.WorkflowRun) {
			s.yields(run)
			require.NoError(s.t, s.temporal.CancelWorkflow(s.t.Context(), run.GetID(), run.GetRunID()))
		}},
		{"decommission-two-devices", completed, func(s *site) sdkclient.WorkflowRun {
			leftBehind(s, "edge-901", "edge-902")
			return decommissions("edge-901", "edge-902")(s)
		}, func(s *site, run sdkclient.WorkflowRun) {
			var out contract.DecommissionProgress
			require.NoError(s.t, run.Get(s.t.Context(), &out))
			require.Equal(s.t, []int{2, 2, 0}, []int{out.Total, out.Done, out.Failed})
			r, err := s.store.Registered(s.t.Context(), "edge-902")
			require.NoError(s.t, err)
			require.Equal(s.t, store.StateDecommissioned, r.State)
		}},
		{"decommission-a-declared-and-an-unknown-device", failed, decommissions("edge-012", "edge-999"), nil},
		{"inspect-registry-list", completed, asks(contract.InspectInput{Question: contract.AskRegistryList, Registry: &contract.RegistryQuery{Limit: 1}}), nil},
		{"drift-scan-of-the-fleet", completed, scans("fleet", 2*time.Second), nil},
		{"drift-scan-cancelled-between-two-batches", canceled, scans("cancelled", time.Hour), func(s *site, run sdkclient.WorkflowRun) {
			until(s.t, patience, func() error {
				answer, err := s.temporal.QueryWorkflow(s.t.Context(), run.GetID(), run.GetRunID(), contract.QueryProgress)
				if err != nil {
					return err
				}
				var p contract.DriftScanProgress
				if err := answer.Get(&p); err != nil {
					return err
				}
				if p.Done() == 0 || p.Running > 0 {
					return fmt.Errorf("the first batch is not done: %+v", p)
				}
				return nil
			})
			require.NoError(s.t, s.temporal.CancelWorkflow(s.t.Context(), run.GetID(), run.GetRunID()))
		}},
		{"inspect-probe", completed, asks(contract.InspectInput{Question: contract.AskDeviceProbe, Device: &contract.DeviceQuery{ID: "edge-012"}}), nil},
		{"inspect-fingerprint-of-a-feeder", failed, asks(contract.InspectInput{Question: contract.AskDeviceFingerprint, Device: &contract.DeviceQuery{ID: "edge-012"}}), nil},
		{"inspect-audit-verify", completed, asks(contract.InspectInput{Question: contract.AskAuditVerify, Verify: &contract.AuditVerifyQuery{}}), nil},
		{"inspect-unknown-device", failed, asks(contract.InspectInput{Question: contract.AskDeviceDrift, Device: &contract.DeviceQuery{ID: "edge-999"}}), nil},
	}
}
