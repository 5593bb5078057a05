package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/modbus"
	"edgefleet/devices/sim"
)

// realProber probes simulated devices, with short time-outs.
func realProber(t *testing.T, dir string) *prober {
	t.Helper()
	declared, err := fleetdir.Load(dir)
	require.NoError(t, err)
	driver := modbus.New(modbus.Options{})
	t.Cleanup(driver.Close)
	op, err := fleet.New(fleet.Options{Fleet: declared, Drivers: []devices.Driver{driver},
		ConnectTimeout: 300 * time.Millisecond, ResponseTimeout: 200 * time.Millisecond})
	require.NoError(t, err)
	return newProber(proberOptions{now: north(op), maxAge: -1}, prometheus.NewRegistry())
}

// north serves region north with one operator.
func north(op diagnoser) func() (diagnoser, []string) {
	return func() (diagnoser, []string) { return op, []string{"north"} }
}

func counted(t *testing.T, p *prober, result string) float64 {
	t.Helper()
	var m dto.Metric
	require.NoError(t, p.results.WithLabelValues(result).Write(&m))
	return m.GetCounter().GetValue()
}

func get(h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func TestAProbeSaysWhatPrometheusHasToKnow(t *testing.T) {
	up, reference := feeder(t, "edge-001"), feeder(t, "edge-000")
	p := realProber(t, fleetDir(t, reference.Addr(), "edge-001 "+up.Addr()+" north",
		"edge-002 "+closedPort(t)+" north", "edge-009 127.0.0.1:9 south"))

	t.Run("a device that answers gives its series", func(t *testing.T) {
		answer := get(p, "/probe?device=edge-001")
		require.Equal(t, http.StatusOK, answer.Code, answer.Body.String())
		require.Contains(t, answer.Body.String(), "\nedge_config_settings 3\n")
		require.Regexp(t, `(?m)^edge_probe_duration_seconds 0\.\d+$`, answer.Body.String())
	})
	t.Run("drift is counted", func(t *testing.T) {
		before := get(p, "/probe?device=edge-001").Body.String()
		require.NoError(t, up.Break(sim.FaultDrift, false))
		after := get(p, "/probe?device=edge-001").Body.String()
		require.NotEqual(t, before, after)
		require.Regexp(t, `(?m)^edge_config_drift_settings [123]$`, after)
	})
	t.Run("a dark device fails the scrape, so that up is 0", func(t *testing.T) {
		answer := get(p, "/probe?device=edge-002")
		require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		require.Contains(t, answer.Body.String(), "edge-002 does not answer")
	})
	t.Run("a device that hangs is bounded", func(t *testing.T) {
		require.NoError(t, up.Break(sim.FaultHang, false))
		began := time.Now()
		answer := get(p, "/probe?device=edge-001")
		require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		require.Less(t, time.Since(began), 5*time.Second)
		require.NoError(t, up.Heal())
	})
	t.Run("a device that is not declared is not found", func(t *testing.T) {
		for _, path := range []string{"/probe?device=edge-00x", "/probe", "/probe?device=%1b%5b2J"} {
			require.Equal(t, http.StatusNotFound, get(p, path).Code, path)
		}
	})
	t.Run("a device of another region is not found, because from here it would look dark", func(t *testing.T) {
		answer := get(p, "/probe?device=edge-009")
		require.Equal(t, http.StatusNotFound, answer.Code)
		require.Equal(t, "edge-009 is in region south, which this worker does not serve\n", answer.Body.String())
	})
	t.Run("results are counted", func(t *testing.T) {
		require.Equal(t, 3.0, counted(t, p, "ok"))
		require.Equal(t, 2.0, counted(t, p, "unreachable"))
	})
}

func TestAProbeFromADeadNetworkSaysNothingOfTheDevice(t *testing.T) {
	p := realProber(t, fleetDir(t, closedPort(t), "edge-002 "+closedPort(t)+" north"))
	answer := get(p, "/probe?device=edge-002")
	require.Equal(t, http.StatusServiceUnavailable, answer.Code)
	require.Equal(t, 1.0, counted(t, p, "error"))
	require.Equal(t, 0.0, counted(t, p, "unreachable"))
}

// slow is a fleet whose devices answer when release is closed.
type slow struct {
	declared *fleetdir.Fleet
	release  chan struct{}
	driftErr error

	mu     sync.Mutex
	now    int
	most   int
	probes int
}

func newSlow(t *testing.T, devices int) *slow {
	t.Helper()
	var declared []string
	for i := range devices {
		declared = append(declared, fmt.Sprintf("edge-%03d 127.0.0.1:%d north", i, i+1))
	}
	f, err := fleetdir.Load(fleetDir(t, "127.0.0.1:1", declared...))
	require.NoError(t, err)
	return &slow{declared: f, release: make(chan struct{})}
}

func (s *slow) Fleet() *fleetdir.Fleet { return s.declared }

func (s *slow) Probe(ctx context.Context, id string) (fleet.Diagnosis, error) {
	s.mu.Lock()
	s.now++
	s.probes++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	select {
	case <-s.release:
		return fleet.Diagnosis{DeviceID: id, Reachable: true}, nil
	case <-ctx.Done():
		return fleet.Diagnosis{}, ctx.Err()
	}
}

func (s *slow) Drift(context.Context, string) (fleet.DriftReport, error) {
	return fleet.DriftReport{Checked: 3}, s.driftErr
}

func (s *slow) probing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// scrapes asks for devices at the same time, and gives the status codes.
func scrapes(p *prober, paths []string, header ...string) <-chan int {
	codes := make(chan int, len(paths))
	for _, path := range paths {
		go func() { codes <- get(p, path, header...).Code }()
	}
	return codes
}

func TestScrapesOfOneDeviceAtTheSameTimeShareOneProbe(t *testing.T) {
	s := newSlow(t, 1)
	p := newProber(proberOptions{now: north(s), maxAge: -1}, prometheus.NewRegistry())
	paths := make([]string, 20)
	for i := range paths {
		paths[i] = "/probe?device=edge-000"
	}
	first := scrapes(p, paths[:1])
	require.Eventually(t, func() bool { return s.probing() == 1 }, 10*time.Second, time.Millisecond)
	// These join the first one's probe, which cannot end before the release.
	rest := scrapes(p, paths[1:])
	require.Equal(t, http.StatusServiceUnavailable, get(p, paths[0], scrapeHeader, "0.6").Code, "a scraper that waits for less is answered in its time")
	close(s.release)
	require.Equal(t, http.StatusOK, <-first)
	for range paths[1:] {
		require.Equal(t, http.StatusOK, <-rest)
	}
	require.LessOrEqual(t, s.probes, 2, "those that came after the end may have had one of their own")
}

func TestAScraperThatHangsUpTakesNothingFromTheOthers(t *testing.T) {
	s := newSlow(t, 1)
	p := newProber(proberOptions{now: north(s), maxAge: -1}, prometheus.NewRegistry())
	ctx, hangUp := context.WithCancel(context.Background())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/probe?device=edge-000", nil))
	}()
	require.Eventually(t, func() bool { return s.probing() == 1 }, 10*time.Second, time.Millisecond)
	hangUp()
	<-gone
	require.Equal(t, 1, s.probing(), "the probe goes on for whoever shares it")
	other := scrapes(p, []string{"/probe?device=edge-000"})
	close(s.release)
	require.Equal(t, http.StatusOK, <-other)
}

func TestNoMoreThanSoManyDevicesAreProbedAtOnce(t *testing.T) {
	const devices = maxProbes + 10
	s := newSlow(t, devices)
	p := newProber(proberOptions{now: north(s), maxAge: -1}, prometheus.NewRegistry())
	var paths []string
	for i := range devices {
		paths = append(paths, fmt.Sprintf("/probe?device=edge-%03d", i))
	}
	codes := scrapes(p, paths)
	require.Eventually(t, func() bool { return s.probing() == maxProbes }, 10*time.Second, time.Millisecond)
	close(s.release)
	for range devices {
		require.Equal(t, http.StatusOK, <-codes, "one that found no room waited")
	}
	require.Equal(t, maxProbes, s.most)
	require.Equal(t, devices, s.probes)
}

func TestADeviceThatAnswersAndCannotBeReadIsUpAndItsDriftIsNotKnown(t *testing.T) {
	s := newSlow(t, 1)
	s.driftErr = errors.New("edge-000: read holding 100+15: illegal address")
	close(s.release)
	p := newProber(proberOptions{now: north(s), maxAge: -1}, prometheus.NewRegistry())
	answer := get(p, "/probe?device=edge-000")
	require.Equal(t, http.StatusOK, answer.Code, "a device that is up is not remediated for being dark")
	require.Contains(t, answer.Body.String(), "\nedge_config_readable 0\n")
	require.NotContains(t, answer.Body.String(), "edge_config_drift_settings", "unknown is not 0")
	require.NotContains(t, answer.Body.String(), "edge_config_settings")
	require.Equal(t, 1.0, counted(t, p, probeUnread))
	require.Equal(t, 0.0, counted(t, p, probeError), "the worker is not blind")
	s.driftErr = nil
	answer = get(p, "/probe?device=edge-000")
	require.Contains(t, answer.Body.String(), "\nedge_config_readable 1\n")
	require.Contains(t, answer.Body.String(), "\nedge_config_drift_settings 0\n")
}

func TestHowLongAScraperWaits(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": probeTimeout, "soon": probeTimeout, "-1": probeTimeout, "0.2": probeTimeout, "NaN": probeTimeout,
		"10": probeTimeout, "3": 2500 * time.Millisecond, "1e300": probeTimeout,
	} {
		r := httptest.NewRequest(http.MethodGet, "/probe", nil)
		r.Header.Set(scrapeHeader, header)
		require.Equal(t, want, patienceOf(r), header)
	}
}

// quick is a fleet of one device that answers at once.
func quick(t *testing.T) *slow {
	s := newSlow(t, 1)
	close(s.release)
	return s
}

func TestScrapesShareAnAnswerForAWhile(t *testing.T) {
	s, now := quick(t), time.Unix(1_700_000_000, 0)
	p := newProber(proberOptions{now: north(s), maxAge: 10 * time.Second, clock: func() time.Time { return now }}, prometheus.NewRegistry())
	require.Contains(t, get(p, "/probe?device=edge-000").Body.String(), "\nedge_probe_age_seconds 0\n")
	now = now.Add(10 * time.Second)
	require.Contains(t, get(p, "/probe?device=edge-000").Body.String(), "\nedge_probe_age_seconds 10\n")
	require.Equal(t, 1, s.probes)
	now = now.Add(time.Millisecond)
	require.Contains(t, get(p, "/probe?device=edge-000").Body.String(), "\nedge_probe_age_seconds 0\n")
	require.Equal(t, 2, s.probes)
	require.Equal(t, 1.0, counted(t, p, probeCached))
}

func TestADeviceIsNotAskedWhileAWriteIsInFlight(t *testing.T) {
	s, now, writing := quick(t), time.Unix(1_700_000_000, 0), true
	p := newProber(proberOptions{now: north(s), maxAge: -1, clock: func() time.Time { return now },
		writing: func(context.Context, string) bool { return writing }}, prometheus.NewRegistry())
	t.Run("and without an earlier answer nothing is known", func(t *testing.T) {
		answer := get(p, "/probe?device=edge-000")
		require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		require.Contains(t, answer.Body.String(), "a write to edge-000 is in flight")
	})
	writing = false
	require.Equal(t, http.StatusOK, get(p, "/probe?device=edge-000").Code)
	writing = true
	t.Run("the answer before it is given, with its age", func(t *testing.T) {
		now = now.Add(maxAgeWriting)
		require.Contains(t, get(p, "/probe?device=edge-000").Body.String(), "\nedge_probe_age_seconds 120\n")
	})
	t.Run("for two minutes", func(t *testing.T) {
		now = now.Add(time.Second)
		require.Equal(t, http.StatusServiceUnavailable, get(p, "/probe?device=edge-000").Code)
	})
	require.Equal(t, 1, s.probes)
}

func TestWhatAProbeSaysOfUptime(t *testing.T) {
	up, reference := feeder(t, "edge-001"), feeder(t, "edge-000")
	type seen struct{ id, state string }
	var all []seen
	for reference, want := range map[string][]seen{
		reference.Addr(): {{"edge-001", "up"}, {"edge-002", "down"}},
		closedPort(t):    {{"edge-001", "up"}, {"edge-002", ""}}, // nothing could be found out of it
	} {
		p := realProber(t, fleetDir(t, reference, "edge-001 "+up.Addr()+" north", "edge-002 "+closedPort(t)+" north"))
		all = nil
		p.opts.observe = func(id, state string) { all = append(all, seen{id, state}) }
		get(p, "/probe?device=edge-001")
		get(p, "/probe?device=edge-002")
		require.Equal(t, want, all)
	}
	t.Run("a device that answers and cannot be read is up", func(t *testing.T) {
		s := quick(t)
		s.driftErr = errors.New("illegal address")
		p := newProber(proberOptions{now: north(s), maxAge: -1, observe: func(id, state string) { all = []seen{{id, state}} }}, prometheus.NewRegistry())
		require.Equal(t, http.StatusOK, get(p, "/probe?device=edge-000").Code)
		require.Equal(t, []seen{{"edge-000", "up"}}, all)
	})
}
