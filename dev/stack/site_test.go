package stack_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkclient "go.temporal.io/sdk/client"

	"edgefleet/dev/simfleet"
	"edgefleet/dev/stack"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

const (
	// patience bounds every wait for something that should happen soon. A
	// worker that was killed is missed by the heartbeat's time-out of 15 s, or
	// by an action's start-to-close of up to a minute.
	patience = 100 * time.Second
	pollEach = 10 * time.Millisecond
)

// until polls until look has nothing to complain about. Its last complaint is
// the failure.
func until(t testing.TB, within time.Duration, look func() error) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	ticker := time.NewTicker(pollEach)
	defer ticker.Stop()
	for {
		err := look()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			require.NoError(t, err, "still so after %s", within)
		case <-ticker.C:
		}
	}
}

// site is a running edgefleet as its neighbours see it, whether it runs in
// this process or in another.
type site struct {
	t         testing.TB
	dir       string
	temporal  sdkclient.Client
	bridgeURL string
	fleet     *simfleet.Client
	// store is the test's own window on what the worker keeps.
	store *store.Store
}

// in is the same site for a test inside of the one that started it.
func (s *site) in(t testing.TB) *site {
	at := *s
	at.t = t
	return &at
}

func openStore(t testing.TB, dir string) *store.Store {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(dir, "ledger.key"))
	require.NoError(t, err)
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "store.db"), store.Options{LedgerKey: bytes.TrimSpace(key)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func findFleet(t testing.TB, dir string) *simfleet.Client {
	t.Helper()
	f, err := simfleet.Find(t.Context(), stack.FleetState(dir))
	require.NoError(t, err)
	return f
}

// endFleet ends the fleet of a folder when the test ends, also one that
// outlived the process that started it.
func endFleet(t testing.TB, dir string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		f, err := simfleet.Find(ctx, stack.FleetState(dir))
		if errors.Is(err, simfleet.ErrNotRunning) {
			return
		}
		if err == nil {
			err = f.Stop(ctx)
		}
		if err != nil {
			t.Errorf("end the simulated fleet: %v", err)
		}
	})
}

// inline is a runbook that travels with its start; its function is go.
func inline(source string) contract.RunbookRef {
	return contract.RunbookRef{Path: "inline.py", Function: "heal", Source: source}
}

// asksFirst is a runbook that waits for a person.
const asksFirst = `
def heal(device_id):
    on_exit(update_incident_status, device_id, note="left in order")
    gate = wait_for_approval("go", "Go on with %s?" % device_id)
    print("approved" if gate else "refused: %s" % gate.note)
`

// looksOnly is a runbook that changes nothing.
const looksOnly = `
def heal(device_id):
    check_network(device_id)
`

// remediate starts what an operator would start.
func (s *site) remediate(device string, ref contract.RunbookRef, change ...func(*sdkclient.StartWorkflowOptions)) sdkclient.WorkflowRun {
	s.t.Helper()
	options := sdkclient.StartWorkflowOptions{
		ID: contract.ManualRemediateID(device, rand.Text()), TaskQueue: contract.TaskQueue,
		WorkflowExecutionTimeout: 10 * time.Minute,
	}
	for _, c := range change {
		c(&options)
	}
	run, err := s.temporal.ExecuteWorkflow(s.t.Context(), options, contract.WorkflowRemediate, contract.RemediateInput{
		DeviceID: device, Actor: contract.Actor{Kind: contract.ActorOperator, Name: "ann"}, Reason: "a test", Runbook: ref,
	})
	require.NoError(s.t, err)
	return run
}

// current is the present run of an alert's remediation.
func (s *site) current(a alert) sdkclient.WorkflowRun {
	s.t.Helper()
	d, err := s.temporal.DescribeWorkflowExecution(s.t.Context(), a.workflowID(), "")
	require.NoError(s.t, err)
	e := d.GetWorkflowExecutionInfo().GetExecution()
	return s.temporal.GetWorkflow(s.t.Context(), e.GetWorkflowId(), e.GetRunId())
}

// result waits for the end of a run.
func (s *site) result(run sdkclient.WorkflowRun) (contract.RemediateResult, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var out contract.RemediateResult
	err := run.GetWithOptions(ctx, &out, sdkclient.WorkflowRunGetOptions{DisableFollowingRuns: true})
	require.NoError(s.t, ctx.Err(), "%s has not ended within %s: %v", run.GetID(), patience, err)
	return out, err
}

// resolved waits for the end of a run and requires that it healed the device.
func (s *site) resolved(run sdkclient.WorkflowRun) contract.RemediateResult {
	s.t.Helper()
	out, err := s.result(run)
	require.NoError(s.t, err)
	require.Equal(s.t, contract.OutcomeResolved, out.Outcome, out.Detail)
	return out
}

func (s *site) progress(run sdkclient.WorkflowRun) (contract.Progress, error) {
	var p contract.Progress
	answer, err := s.temporal.QueryWorkflow(s.t.Context(), run.GetID(), run.GetRunID(), contract.QueryProgress)
	if err != nil {
		return p, err
	}
	return p, answer.Get(&p)
}

// waits returns when the run waits for a decision on the gate.
func (s *site) waits(run sdkclient.WorkflowRun, gate string) {
	s.t.Helper()
	until(s.t, patience, func() error {
		p, err := s.progress(run)
		if err == nil && p.Waiting != gate {
			err = fmt.Errorf("%s is %q and waits for %q", run.GetID(), p.Phase, p.Waiting)
		}
		return err
	})
}

// queues returns when the run has been told that another one has its device.
func (s *site) queues(run sdkclient.WorkflowRun) {
	s.t.Helper()
	until(s.t, patience, func() error {
		d, err := s.temporal.DescribeWorkflowExecution(s.t.Context(), run.GetID(), run.GetRunID())
		if err != nil {
			return err
		}
		for _, a := range d.GetPendingActivities() {
			if a.GetLastFailure().GetApplicationFailureInfo().GetType() == contract.ErrLeaseHeld {
				return nil
			}
		}
		return fmt.Errorf("%s does not wait for a lease", run.GetID())
	})
}

// decide answers a gate as the command line does.
func (s *site) decide(run sdkclient.WorkflowRun, d contract.Decision) error {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	handle, err := s.temporal.UpdateWorkflow(ctx, sdkclient.UpdateWorkflowOptions{
		WorkflowID: run.GetID(), RunID: run.GetRunID(), UpdateName: contract.UpdateDecide, Args: []any{d},
		WaitForStage: sdkclient.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return err
	}
	return handle.Get(ctx, nil)
}

// incident is the one incident of a run.
func (s *site) incident(run sdkclient.WorkflowRun) store.Incident {
	s.t.Helper()
	all, err := s.store.Incidents(s.t.Context(), store.IncidentQuery{WorkflowID: run.GetID()})
	require.NoError(s.t, err)
	var own []store.Incident
	for _, i := range all {
		if i.RunID == run.GetRunID() {
			own = append(own, i)
		}
	}
	require.Len(s.t, own, 1, "incidents of %s", run.GetID())
	return own[0]
}

// free requires that nobody holds the device.
func (s *site) free(device string) {
	s.t.Helper()
	lease, err := s.store.LeaseOf(s.t.Context(), device)
	require.ErrorIs(s.t, err, store.ErrNotFound, "%+v", lease)
}

// ledger is what the ledger has of a device, oldest first.
func (s *site) ledger(device string) []store.LedgerEntry {
	s.t.Helper()
	page, err := s.store.ListLedger(s.t.Context(), store.LedgerQuery{DeviceID: device, Limit: 1000})
	require.NoError(s.t, err)
	return page.Entries
}

// entries counts what the ledger has of an action on a device in a phase.
func (s *site) entries(device, action, phase string) int {
	s.t.Helper()
	n := 0
	for _, e := range s.ledger(device) {
		if e.Action == action && e.Phase == phase {
			n++
		}
	}
	return n
}

// intact asks a worker to verify the ledger, as the command line does.
func (s *site) intact() {
	s.t.Helper()
	v := s.inspect(contract.InspectInput{Question: contract.AskAuditVerify, Verify: &contract.AuditVerifyQuery{}}).Verdict
	require.True(s.t, v.OK, "%s at entry %d: %s", v.Finding, v.Seq, v.Detail)
	require.True(s.t, v.Keyed)
	require.Positive(s.t, v.Entries)
}

func (s *site) inspect(in contract.InspectInput) contract.InspectResult {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var out contract.InspectResult
	require.NoError(s.t, s.ask(in).Get(ctx, &out))
	return out
}

func (s *site) ask(in contract.InspectInput) sdkclient.WorkflowRun {
	s.t.Helper()
	in.By = "ann"
	run, err := s.temporal.ExecuteWorkflow(s.t.Context(), sdkclient.StartWorkflowOptions{
		ID: contract.InspectID(in.Question, rand.Text()), TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: 3 * time.Minute,
	}, contract.WorkflowInspect, in)
	require.NoError(s.t, err)
	return run
}

// written counts what clients wrote to a device, by setting and address.
func (s *site) written(device string) map[string]int {
	s.t.Helper()
	w, err := s.fleet.Writes(s.t.Context(), device)
	require.NoError(s.t, err)
	out := map[string]int{}
	for _, c := range w.Counters {
		out[c.Name+"@"+strconv.Itoa(int(c.Address))] = int(c.Count)
	}
	return out
}

// restoredOnce are the four registers of the three settings that a drift
// changes, each written once.
func restoredOnce() map[string]int {
	return map[string]int{"undervoltage_trip@102": 1, "overcurrent_pickup@106": 1, "overcurrent_pickup@107": 1, "report_interval@112": 1}
}

// pulses counts the commands that the device's port of its outlet was given.
func (s *site) pulses(device string) int {
	s.t.Helper()
	d := s.device(device)
	return s.written(d.Outlet)[fmt.Sprintf("cycle-port-%d@%d", d.Port, d.Port-1)]
}

func (s *site) device(id string) simfleet.Device {
	s.t.Helper()
	d, err := s.fleet.Device(s.t.Context(), id)
	require.NoError(s.t, err)
	return d
}

var errNotYet = errors.New("it has not come to that")

func runsOutOfTime(after time.Duration) func(*sdkclient.StartWorkflowOptions) {
	return func(o *sdkclient.StartWorkflowOptions) { o.WorkflowExecutionTimeout = after }
}
