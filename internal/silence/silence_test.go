package silence

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// manager has as much of Alertmanager's API as silences take. That it behaves
// as the real one is shown where the real one is there to be run.
type manager struct {
	mu       sync.Mutex
	silences map[string]map[string]any
	posts    int
	down     bool
}

func (m *manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case m.down:
		w.WriteHeader(http.StatusInternalServerError)
	case r.Method == http.MethodGet:
		list := []map[string]any{}
		for _, s := range m.silences {
			list = append(list, s)
		}
		_ = json.NewEncoder(w).Encode(list)
	case r.Method == http.MethodPost:
		var s map[string]any
		_ = json.NewDecoder(r.Body).Decode(&s)
		id, _ := s["id"].(string)
		if id == "" {
			id = fmt.Sprintf("11111111-2222-3333-4444-%012d", len(m.silences))
		}
		s["id"], s["status"], s["updatedAt"] = id, map[string]any{"state": "active"}, s["startsAt"]
		m.silences[id] = s
		m.posts++
		_ = json.NewEncoder(w).Encode(map[string]string{"silenceID": id})
	case r.Method == http.MethodDelete:
		id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		m.silences[id]["status"] = map[string]any{"state": "expired"}
	}
}

func (m *manager) look() (active, posts int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.silences {
		if s["status"].(map[string]any)["state"] == "active" {
			active++
		}
	}
	return active, m.posts
}

func clientOf(t *testing.T) (*Client, *manager) {
	t.Helper()
	m := &manager{silences: map[string]map[string]any{}}
	server := httptest.NewServer(m)
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	c, err := New(server.URL)
	require.NoError(t, err)
	return c, m
}

func edge() Silence {
	return Silence{Labels: map[string]string{"device_id": "edge-001"}, Marker: "edgefleet rollout x edge-001", Comment: "at work", By: "operator:kim"}
}

func TestASilenceLastsAsLongAsItIsHeld(t *testing.T) {
	c, m := clientOf(t)
	c.lease = 30 * time.Millisecond
	h, err := c.Hold(t.Context(), edge())
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, posts := m.look(); return posts > 3 }, 10*time.Second, time.Millisecond, "it is extended")
	active, _ := m.look()
	require.Equal(t, 1, active, "it is one silence that is extended")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, h.Release(over), "also when the work was cancelled")
	active, _ = m.look()
	require.Zero(t, active)
	require.NoError(t, h.Release(t.Context()), "once more is harmless")
}

func TestASilenceOfADeadProcessIsTakenUp(t *testing.T) {
	c, m := clientOf(t)
	require.NoError(t, c.put(t.Context(), edge()))
	h, err := c.Hold(t.Context(), edge())
	require.NoError(t, err)
	require.Len(t, m.silences, 1)
	require.NoError(t, h.Release(t.Context()))
	active, _ := m.look()
	require.Zero(t, active)
}

func TestSilencesOfOthersAreLeftAlone(t *testing.T) {
	c, m := clientOf(t)
	others := edge()
	others.Marker = "edgefleet rollout y edge-001"
	theirs, err := c.Hold(t.Context(), others)
	require.NoError(t, err)
	ours, err := c.Hold(t.Context(), edge())
	require.NoError(t, err)
	require.NoError(t, ours.Release(t.Context()))
	active, _ := m.look()
	require.Equal(t, 1, active, "it was not made by this work")
	require.NoError(t, theirs.Release(t.Context()))
}

func TestWhatWouldSilenceTooMuchIsRefused(t *testing.T) {
	c, m := clientOf(t)
	for _, s := range []Silence{{Marker: "x"}, {Labels: map[string]string{"device_id": "edge-001"}}} {
		_, err := c.Hold(t.Context(), s)
		require.ErrorContains(t, err, "would silence everything")
	}
	require.Empty(t, m.silences)
	m.down = true
	_, err := c.Hold(t.Context(), edge())
	require.ErrorContains(t, err, "look for the silence edgefleet rollout x edge-001 at Alertmanager")
}

func TestWithoutAnAlertmanagerNothingIsSilenced(t *testing.T) {
	c, err := New("")
	require.NoError(t, err)
	h, err := c.Hold(t.Context(), edge())
	require.NoError(t, err)
	require.NoError(t, h.Release(t.Context()))
	for _, bad := range []string{"alertmanager:9093", "http://user:secret@%zz"} {
		_, err := New(bad)
		require.ErrorContains(t, err, "want http://host:port")
		require.NotContains(t, err.Error(), "secret")
	}
}
