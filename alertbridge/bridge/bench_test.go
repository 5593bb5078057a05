package bridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/alertbridge/bridge"
)

// BenchmarkMessage is the bridge's own share of the work: a message of 100
// alerts over loopback, with a Temporal that answers at once.
func BenchmarkMessage(b *testing.B) {
	br := run(b, bridge.Options{Temporal: &fakeTemporal{}})
	c := client(b)
	alerts := make([]alert, 100)
	for i := range alerts {
		alerts[i] = offline(fmt.Sprintf("edge-%03d", i)).with("fingerprint", strings.Repeat("a", 13)+fmt.Sprintf("%03d", i))
	}
	body := message(b, alerts...)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		require.Equal(b, http.StatusOK, post(b, c, br, body).code)
	}
	b.ReportMetric(float64(b.N*len(alerts))/b.Elapsed().Seconds(), "alerts/s")
}
