package stack_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"edgefleet/dev/monitor"
	"edgefleet/dev/tools/toolchain"
	"edgefleet/internal/promcheck"
	"edgefleet/internal/silence"
	"edgefleet/workflows/contract"
)

// silenced are the silences of a real Alertmanager, as "device state".
func silenced(t *testing.T, base string) (out []string) {
	t.Helper()
	answer, err := http.Get(base + "/api/v2/silences")
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	var list []struct {
		Matchers []struct{ Name, Value string }
		Status   struct{ State string }
	}
	require.NoError(t, json.Unmarshal(text, &list), "%s", text)
	for _, s := range list {
		require.Len(t, s.Matchers, 1)
		require.Equal(t, "device_id", s.Matchers[0].Name)
		out = append(out, s.Matchers[0].Value+" "+s.Status.State)
	}
	return out
}

func TestARolloutSilencesTheDevicesInWorkAtARealAlertmanager(t *testing.T) {
	p := startPieces(t, 4)
	c, err := silence.New(p.alerts.URL())
	require.NoError(t, err)
	edge := silence.Silence{Labels: map[string]string{"device_id": "edge-999"}, Marker: "a test", Comment: "it is one", By: "ann"}
	first, err := c.Hold(t.Context(), edge)
	require.NoError(t, err)
	second, err := c.Hold(t.Context(), edge)
	require.NoError(t, err)
	require.Equal(t, []string{"edge-999 active"}, silenced(t, p.alerts.URL()), "the same silence is one")
	require.NoError(t, first.Release(t.Context()))
	require.NoError(t, second.Release(t.Context()))
	require.Equal(t, []string{"edge-999 expired"}, silenced(t, p.alerts.URL()))

	p.onboardAll()
	plan := p.planRollout(newBaseline(t, &p.site, "2026.12.3", map[string]string{"report_interval": "75"}), "id!=edge-004", contract.RolloutStrategy{})
	done := p.rolledOut(p.startRollout(plan))
	require.Equal(t, contract.RolloutDone, done.State, done.Detail)
	var ours []string
	for _, s := range silenced(t, p.alerts.URL()) {
		if !strings.HasPrefix(s, "edge-999") {
			ours = append(ours, s)
		}
	}
	require.ElementsMatch(t, []string{"edge-001 expired", "edge-002 expired", "edge-003 expired"}, ours, "each device for as long as it was in work, and no other")
}

func TestAnExpressionIsEvaluatedByARealPrometheus(t *testing.T) {
	program := toolchain.ForTest(t, "prometheus")
	server, err := monitor.StartPrometheus(t.Context(), monitor.PrometheusOptions{
		Common: monitor.Common{DataDir: t.TempDir(), Program: program, Addr: anyPort}, WorkerAddr: anyPort, BridgeAddr: anyPort, AlertmanagerAddr: anyPort})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	c, err := promcheck.New(server.URL())
	require.NoError(t, err)
	for expression, want := range map[string]promcheck.Verdict{
		"vector(1)": promcheck.Healthy, "1": promcheck.Healthy, "vector(0)": promcheck.Failed, "vector(1) == bool 2": promcheck.Failed,
		"vector(1) == 2": promcheck.Unknown, `up{job="no such job"}`: promcheck.Unknown,
	} {
		v, detail, _, err := c.Check(t.Context(), expression)
		require.NoError(t, err, expression)
		require.Equal(t, want, v, "%s: %s", expression, detail)
	}
	_, _, permanent, err := c.Check(t.Context(), "sum(")
	require.Error(t, err)
	require.True(t, permanent, "a mistake in the expression")
}

func TestAWorkerThatIsGoneForAMomentLosesNothingOfARollout(t *testing.T) {
	const n = 12
	p := startPieces(t, n)
	p.onboardAll()
	before := map[string]int{}
	for _, id := range feeders(n) {
		before[id] = p.sum(id)
	}
	plan := p.planRollout(newBaseline(t, &p.site, "2026.12.4", map[string]string{"report_interval": "80"}), "", contract.RolloutStrategy{Waves: []string{"100%"}, Rate: 240})
	run := p.startRollout(plan)
	until(t, patience, func() error {
		if now := p.rolloutIs(run, contract.RolloutRunning); now.WaveID == "" || len(now.Waves) < 2 || now.Waves[1].Began == nil {
			return fmt.Errorf("it has not come to its second wave: %+v", now.Waves)
		}
		return nil
	})
	require.NoError(t, p.worker.Stop(t.Context()))
	p.startWorker()
	done := waitsFor(t, p, run)
	require.Equal(t, contract.RolloutDone, done.State, done.Detail)
	for _, id := range feeders(n) {
		require.Equal(t, before[id]+1, p.sum(id), "%s: written once", id)
		p.free(id)
	}
	p.intact()
}

// waitsFor waits for the end of a rollout, for at most a minute and a half.
func waitsFor(t *testing.T, p *pieces, run client.WorkflowRun) (out contract.RolloutProgress) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- run.Get(t.Context(), &out) }()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "it has not ended", "%+v", p.rolloutIs(run, contract.RolloutDone))
	}
	return out
}
