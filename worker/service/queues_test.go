package service

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeQueue stops when it is let go.
type fakeQueue struct {
	letGo   chan struct{}
	stopped atomic.Bool
}

func (f *fakeQueue) Stop() {
	<-f.letGo
	f.stopped.Store(true)
}

func newQueues(letGo chan struct{}, started map[string]*fakeQueue) *queues {
	return &queues{running: map[string]stopper{}, start: func(region string) (stopper, error) {
		if region == "refused" {
			return nil, errors.New("no such thing")
		}
		started[region] = &fakeQueue{letGo: letGo}
		return started[region], nil
	}}
}

func TestQueuesFollowRegionsAndWaitForNobodyUntilTheEnd(t *testing.T) {
	letGo, started := make(chan struct{}), map[string]*fakeQueue{}
	q := newQueues(letGo, started)
	taken, left, err := q.follow([]string{"a", "refused", "b"})
	require.ErrorContains(t, err, "no such thing")
	require.Equal(t, []string{"a", "b"}, taken, "one that is refused does not keep the others from being served")
	require.Empty(t, left)

	taken, left, err = q.follow([]string{"b", "c"})
	require.NoError(t, err)
	require.Equal(t, []string{"c"}, taken)
	require.Equal(t, []string{"a"}, left, "what runs there is given its time elsewhere")
	require.Equal(t, []string{"b", "c"}, q.regions())

	done := make(chan struct{})
	go func() { defer close(done); q.stop() }()
	close(letGo)
	<-done
	for region, f := range started {
		require.True(t, f.stopped.Load(), region)
	}
	_, _, err = q.follow([]string{"d"})
	require.NoError(t, err)
	require.True(t, started["d"].stopped.Load(), "what came too late is stopped at once")
	require.Empty(t, q.regions())
}

func TestARunningWorkerFollowsItsFleetDirectory(t *testing.T) {
	f, temporal := newFrontend(t)
	o := options(t, temporal)
	o.FleetInterval = 2 * time.Millisecond
	w := started(t, o)
	before := w.now.Load().declared().Revision()
	require.NotContains(t, f.queues(), "activities of edgefleet.east")

	file := filepath.Join(o.FleetDir, "fleet.yaml")
	write(t, file, strings.Replace(read(t, file), "south: {}", "south: {}, east: {}", 1)+
		"  - {id: edge-007, site: s2, region: east, class: rtu, profile: feeder-rtu, address: \"127.0.0.1:7\"}\n", 0o600)
	require.Eventually(t, func() bool { return f.queues()["activities of edgefleet.east"] }, 10*time.Second, time.Millisecond)
	_, body := fetch(t, w, "/sd")
	require.Contains(t, body, "edge-007")
	_, body = fetch(t, w, "/metrics")
	require.Contains(t, body, "edgefleet_fleet_devices 3")
	require.NotContains(t, body, before)

	text := read(t, file)
	text = strings.Replace(text, ", east: {}", "", 1)
	write(t, file, text[:strings.Index(text, "  - {id: edge-007")], 0o600)
	require.Eventually(t, func() bool { return len(w.queues.regions()) == 2 }, 10*time.Second, time.Millisecond)
	require.Equal(t, before, w.now.Load().declared().Revision())
	require.NoError(t, w.Stop(context.Background()))
	require.Empty(t, w.queues.regions())
}
