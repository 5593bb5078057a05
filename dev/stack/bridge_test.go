package stack_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/alertbridge/bridge"
	"edgefleet/devices/sim"
	"edgefleet/internal/store"
)

func TestTheSameMessageFiftyTimesAtOnceStartsOneRemediation(t *testing.T) {
	const times = 50
	s := startStack(t, 1)
	_, err := s.fleet.Break(t.Context(), "edge-001", sim.FaultOffline, false)
	require.NoError(t, err)
	a := firing(offlineAlert, "edge-001")
	type answer struct {
		code int
		bridge.Summary
		err error
	}
	// A message beyond the 32 that the bridge takes at once is answered 503,
	// and sent again, as Alertmanager does.
	answers := make([]answer, times)
	var senders sync.WaitGroup
	for i := range answers {
		senders.Go(func() {
			out := &answers[i]
			for out.code == 0 || out.code == http.StatusServiceUnavailable {
				if out.code, out.Summary, out.err = postMessage(s.bridgeURL, a); out.err != nil {
					return
				}
			}
		})
	}
	senders.Wait()
	started, duplicates := 0, 0
	for _, a := range answers {
		require.NoError(t, a.err)
		require.Equal(t, http.StatusOK, a.code)
		started += a.Started
		duplicates += a.Duplicates
	}
	require.Equal(t, 1, started)
	require.Equal(t, times-1, duplicates)
	require.EqualValues(t, 1, s.metric("edgefleet_bridge_starts_total"))
	require.EqualValues(t, times-1, s.metric("edgefleet_bridge_duplicates_total"))
	require.EqualValues(t, times, s.metric("edgefleet_bridge_messages_total", "code", "200"))

	run := s.temporal.GetWorkflow(t.Context(), a.workflowID(), "")
	s.resolved(run)
	incidents, err := s.store.Incidents(t.Context(), store.IncidentQuery{DeviceID: "edge-001"})
	require.NoError(t, err)
	require.Len(t, incidents, 1)
	require.Equal(t, 1, s.pulses("edge-001"))

	code, summary := s.post(a)
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, bridge.Summary{Duplicates: 1}, summary, "a remediation that ended well is not run again for its episode")
}
