package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/workflows/contract"
)

// twoBaselines are files of the working directory, and a third one is broken.
func twoBaselines(t *testing.T) {
	t.Helper()
	inFleet(t, map[string]string{
		"fleet/edge-configs/feeders.yaml": someBaseline,
		"others.yaml":                     strings.Replace(someBaseline, "name: feeders", "name: others", 1),
		"broken.yaml":                     strings.Replace(someBaseline, "report_interval: 60", "report_interval: 9999999", 1),
	})
}

func TestBaselinesGoTheWholeWayInOneCommand(t *testing.T) {
	done := ended(standing(contract.RolloutDone, "3 healthy", contract.RolloutCounts{Healthy: 1}, contract.RolloutCounts{Healthy: 2}))
	failed := ended(standing(contract.RolloutAborted, "it hums", contract.RolloutCounts{Failed: 1}))
	waits := standing(contract.RolloutWaiting, "wave 2 (100%, 2 devices)", contract.RolloutCounts{Healthy: 1})
	frozen := &contract.PlanProgress{Devices: 4, Looked: 4, Changing: 3, Plan: &contract.RolloutPlan{Hash: planHash}}
	const both = " fleet/edge-configs/feeders.yaml others.yaml --fleet fleet"
	for _, c := range []struct {
		name, args string
		r          *rolling
		code       int
		started    []any
	}{
		{"rollout-run", "rollout run --yes --reason spring" + both, &rolling{result: done}, 0,
			[]any{contract.PlanRolloutInput{}, contract.RolloutInput{}, contract.PlanRolloutInput{}, contract.RolloutInput{}}},
		{"rollout-run-json", "rollout run --yes -o json others.yaml --fleet fleet", &rolling{result: done}, 0,
			[]any{contract.PlanRolloutInput{}, contract.RolloutInput{}}},
		{"rollout-run-failed", "rollout run --yes" + both, &rolling{result: failed}, 1,
			[]any{contract.PlanRolloutInput{}, contract.RolloutInput{}}},
		{"rollout-run-waiting", "rollout run --yes --exit-when-waiting" + both, &rolling{looks: []contract.RolloutProgress{waits, waits, waits}}, 3,
			[]any{contract.PlanRolloutInput{}, contract.RolloutInput{}}},
		{"rollout-run-unasked", "rollout run" + both, &rolling{}, 2, []any{contract.PlanRolloutInput{}, contract.PlanRolloutInput{}}},
		{"rollout-run-broken", "rollout run --yes others.yaml broken.yaml --fleet fleet", &rolling{}, 2, nil},
		{"rollout-run-nothing", "rollout run --yes", &rolling{}, 2, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			twoBaselines(t)
			c.r.frozen = frozen
			s := rolloutSession(t, c.r)
			s.golden(c.name, strings.Fields(c.args)...)
			require.Contains(t, readGolden(t, c.name), "exit code "+string(rune('0'+c.code))+"\n")
			require.Len(t, c.r.started, len(c.started))
			for i, want := range c.started {
				require.IsType(t, want, c.r.started[i])
			}
		})
	}
}

func TestABaselineThatChangesNothingIsPassedOver(t *testing.T) {
	twoBaselines(t)
	r := &rolling{frozen: &contract.PlanProgress{Plan: &contract.RolloutPlan{Hash: planHash}},
		fakeTemporal: &fakeTemporal{answer: func(contract.InspectInput) (contract.InspectResult, error) {
			return contract.InspectResult{RolloutPlan: &contract.RolloutPlanPage{RolloutPlan: contract.RolloutPlan{Hash: planHash,
				Excluded: []contract.ExcludedCount{{Reason: contract.ExcludedInSync, Devices: 3}}}}}, nil
		}}}
	s := rolloutSession(t, r)
	require.Zero(t, s.run("rollout", "run", "--yes", "-o", "json", "--fleet", "fleet", "others.yaml"), s.err.String())
	require.Len(t, r.started, 1, "it is planned, and not started")
	var ran []map[string]any
	require.NoError(t, json.Unmarshal([]byte(s.out.String()), &ran))
	require.Equal(t, []map[string]any{{"file": "others.yaml", "plan_hash": planHash, "devices": 0.0}}, ran)
}

func readGolden(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(goldenFolder, name+".txt"))
	require.NoError(t, err)
	return string(text)
}
