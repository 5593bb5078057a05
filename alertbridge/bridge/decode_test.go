package bridge

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/internal/routes"
	"edgefleet/workflows/contract"
)

// sample is a notification as Alertmanager 0.31 writes it.
func sample(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/notification.json")
	require.NoError(t, err)
	return data
}

func TestDecodeReadsWhatAlertmanagerWrites(t *testing.T) {
	m, err := Decode(sample(t))
	require.NoError(t, err)
	require.Equal(t, "edgefleet", m.Receiver)
	require.EqualValues(t, 3, m.TruncatedAlerts)
	require.Len(t, m.Alerts, 2)
	firing, resolved := m.Alerts[0], m.Alerts[1]
	require.Equal(t, statusFiring, firing.Status)
	require.Equal(t, "edge-001", firing.Labels["device_id"])
	require.Equal(t, "edge-001 does not answer", firing.Annotations["summary"])
	require.Equal(t, "2b1c0f6a3f0d9e11", firing.Fingerprint)
	require.True(t, firing.EndsAt.IsZero())
	require.Equal(t, statusResolved, resolved.Status)
	require.Equal(t, time.Date(2026, 3, 1, 12, 40, 0, 0, time.UTC), resolved.EndsAt.UTC())
}

func TestDecodeKeepsTheAlertsBesideOneThatItCannotRead(t *testing.T) {
	m, err := Decode([]byte(`{"alerts": [{"status": "firing"}, 5, {"status": "firing", "startsAt": "yesterday"}, null]}`))
	require.NoError(t, err)
	require.Len(t, m.Alerts, 4)
	require.NoError(t, m.Alerts[0].malformed)
	require.Error(t, m.Alerts[1].malformed)
	require.Error(t, m.Alerts[2].malformed)
	require.Empty(t, m.Alerts[2].Status, "nothing of an alert that is half read")
	require.NotNil(t, readable(m.Alerts[3]))
}

func FuzzDecode(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte(`{"alerts": []}`))
	f.Add([]byte(`{"alerts": [{"status": "resolved", "labels": {"alertname": "a", "device_id": "b"}, "fingerprint": "c", "startsAt": "2026-01-01T00:00:00+14:00"}]}`))
	f.Add([]byte(`{"ALERTS": [{"labels": null}], "alerts": null}`))
	f.Add([]byte(`{"alerts": [{"labels": {"device_id": "\ud800"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			return
		}
		require.True(t, json.Valid(data))
		for _, a := range m.Alerts {
			if readable(a) != nil {
				continue
			}
			requireSoundEpisode(t, a)
		}
	})
}

// requireSoundEpisode holds what Temporal and everybody who parses a workflow
// ID rely on, for any alert that is not refused.
func requireSoundEpisode(t require.TestingT, a Alert) {
	e, why := episodeOf(a, routes.DefaultDeviceLabel)
	if why != nil {
		return
	}
	id := e.WorkflowID()
	require.LessOrEqual(t, len(id), 1000)
	require.True(t, utf8.ValidString(id))
	back, err := contract.ParseEpisode(id)
	require.NoError(t, err)
	require.Equal(t, e.DeviceID, back.DeviceID)
	require.Equal(t, e.AlertName, back.AlertName)
	require.Equal(t, e.Fingerprint, back.Fingerprint)
	require.Equal(t, e.StartsAt.Unix(), back.StartsAt.Unix())
	options, input, why := startOf(a, e, routes.Route{Runbook: "r.py", Function: "f"})
	if why != nil {
		return
	}
	require.LessOrEqual(t, len(options.StaticSummary), 400)
	require.NoError(t, contract.ValidDeviceID(input.DeviceID))
}

func TestAnEpisodeThatIsNotRefusedCanBeParsedAgain(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Za-z0-9._/-]{0,70}`))
	rapid.Check(t, func(t *rapid.T) {
		a := Alert{
			Status:      rapid.SampledFrom([]string{statusFiring, statusResolved}).Draw(t, "status"),
			Labels:      map[string]string{labelAlertName: text.Draw(t, "name"), routes.DefaultDeviceLabel: text.Draw(t, "device"), labelSite: text.Draw(t, "site")},
			Fingerprint: text.Draw(t, "fingerprint"),
			StartsAt:    time.Unix(rapid.Int64Range(-1e10, 1e12).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")),
		}
		requireSoundEpisode(t, a)
	})
}

func TestTheSameEpisodeHasTheSameIDInEveryTimeZone(t *testing.T) {
	a := Alert{Labels: map[string]string{labelAlertName: "A", routes.DefaultDeviceLabel: "d"}, Fingerprint: "f", StartsAt: time.Date(2026, 1, 1, 0, 0, 0, 5, time.UTC)}
	utc, _ := episodeOf(a, routes.DefaultDeviceLabel)
	a.StartsAt = a.StartsAt.In(time.FixedZone("+14", 14*3600))
	east, _ := episodeOf(a, routes.DefaultDeviceLabel)
	require.Equal(t, utc.WorkflowID(), east.WorkflowID())
}

func TestCutEndsBetweenTwoCharacters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, n := rapid.String().Draw(t, "s"), rapid.IntRange(0, 40).Draw(t, "n")
		got := cut(s, n)
		require.True(t, strings.HasPrefix(s, got))
		require.LessOrEqual(t, len(got), n)
		require.True(t, utf8.ValidString(got) || !utf8.ValidString(s))
	})
}

func TestParseSizeTakesBytesAndTheirBinaryMultiples(t *testing.T) {
	for s, want := range map[string]int64{"1": 1, "4194304": 4 << 20, "64KiB": 64 << 10, "4MiB": 4 << 20} {
		got, err := parseSize(s)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, s := range []string{"", "0", "-1", "4MB", "MiB", "1.5MiB", "9223372036854775807KiB"} {
		_, err := parseSize(s)
		require.ErrorContains(t, err, "--max-body", s)
	}
}
