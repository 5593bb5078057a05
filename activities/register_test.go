package activities

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// names collects what is registered.
type names struct {
	worker.ActivityRegistry
	list []string
}

func (n *names) RegisterActivityWithOptions(_ any, o activity.RegisterOptions) {
	n.list = append(n.list, o.Name)
}

func TestEveryActivityOfTheContractIsRegisteredOnItsQueueAndNoOther(t *testing.T) {
	p := newPlant(t)
	var central, regional names
	p.acts.RegisterCentral(&central)
	p.acts.RegisterDevice(&regional)
	registered := append(slices.Clone(central.list), regional.list...)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(registered))), len(registered), "none of them twice")
	require.Subset(t, constants(t, "*.go"), registered, "a name that is not the contract's")

	// What reaches devices needs the region's network; all else the store only.
	reaches := []string{contract.AskDeviceProbe, contract.AskDeviceDrift, contract.AskDeviceFingerprint, contract.ActivityOnboard, contract.ActivityScanDrift,
		contract.ActivityPlanDevices, contract.ActivityRollOutDevice, contract.ActivityCheckRollout, contract.ActivityRollBackDevice}
	for _, a := range contract.Actions() {
		if !a.Central {
			reaches = append(reaches, a.Name)
		}
	}
	require.Subset(t, regional.list, reaches)
	for _, name := range constants(t, "actions.go", "decommission.go", "drift.go", "inspect.go", "onboard.go", "registry.go", "remediate.go", "rollout*.go") {
		require.Contains(t, registered, name, "the contract promises it")
		require.Equal(t, slices.Contains(reaches, name), slices.Contains(regional.list, name), name)
	}
}

// constants are the names of activities that files of the contract declare.
func constants(t *testing.T, patterns ...string) (names []string) {
	t.Helper()
	constant := regexp.MustCompile(`(?m)^(?:const|\s)\s*(?:Action|Activity|Ask)[A-Z]\w+\s*=\s*"([a-z_]+)"`)
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join("../workflows/contract", pattern))
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, m := range constant.FindAllSubmatch(text, -1) {
				names = append(names, string(m[1]))
			}
		}
	}
	require.NotEmpty(t, names)
	return names
}

func TestEveryParameterOfTheCatalogueHasItsEffect(t *testing.T) {
	used := map[string]map[string]func(p *plant, s contract.Scope){
		contract.ActionUpdateIncidentStatus: {
			"status": func(p *plant, s contract.Scope) {
				action := contract.MustAction(contract.ActionUpdateIncidentStatus)
				env := p.env()
				for _, status := range action.Params[0].OneOf {
					out, err := next[contract.IncidentReport](env, action.Name, contract.ActionInput{Scope: s, Args: map[string]string{"status": status}})
					require.NoError(p.t, err, "the store knows every status that a runbook may give")
					require.Equal(p.t, status, out.Status)
				}
			},
			"note": func(p *plant, s contract.Scope) {
				_, err := do[contract.IncidentReport](p, contract.ActionUpdateIncidentStatus, contract.ActionInput{Scope: s, Args: map[string]string{"note": "hello"}})
				require.NoError(p.t, err)
				notes, err := p.store.Notes(p.t.Context(), s.IncidentID)
				require.NoError(p.t, err)
				require.Equal(p.t, "hello", notes[0].Text)
			},
		},
	}
	for _, a := range contract.Actions() {
		require.Len(t, used[a.Name], len(a.Params), a.Name)
		for _, param := range a.Params {
			t.Run(a.Name+" "+param.Name, func(t *testing.T) {
				p := newPlant(t)
				used[a.Name][param.Name](p, p.begin())
			})
		}
	}
}

func TestChangesHeartbeatWhileARequestIsUnderWay(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(10 * time.Second)
	var beats atomic.Int32
	enough := make(chan struct{})
	env.SetOnActivityHeartbeatListener(func(_ *activity.Info, details converter.EncodedValues) {
		var says string
		if assert.NoError(t, details.Get(&says)) {
			assert.Equal(t, "writing 2 settings of edge-001", says)
		}
		if beats.Add(1) == 3 {
			close(enough)
		}
	})
	env.RegisterActivityWithOptions(func(ctx context.Context) error {
		say, stop := heartbeat(ctx)
		defer stop()
		say("writing 2 settings of edge-001")
		select {
		case <-enough:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, activity.RegisterOptions{Name: "slow"})
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 5 * time.Second, HeartbeatTimeout: 200 * time.Millisecond})
		return workflow.ExecuteActivity(ctx, "slow").Get(ctx, nil)
	})
	require.True(t, env.IsWorkflowCompleted())
	require.NoError(t, env.GetWorkflowError())
	for _, a := range contract.Actions() {
		if a.Kind == contract.KindChange {
			require.Positive(t, a.Heartbeat, "%s learns of a cancellation by its heartbeat", a.Name)
		}
	}
}
