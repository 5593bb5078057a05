package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/internal/silence"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// silences stands for an Alertmanager's API, as far as silences need it.
type silences struct {
	mu     sync.Mutex
	posted map[string]map[string]any
}

func takeSilences(t *testing.T) (*silences, *silence.Client) {
	t.Helper()
	s := &silences{posted: map[string]map[string]any{}}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	c, err := silence.New(server.URL)
	require.NoError(t, err)
	return s, c
}

func (s *silences) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch r.Method {
	case http.MethodGet:
		list := []map[string]any{}
		for _, one := range s.posted {
			list = append(list, one)
		}
		_ = json.NewEncoder(w).Encode(list)
	case http.MethodPost:
		var one map[string]any
		_ = json.NewDecoder(r.Body).Decode(&one)
		id, _ := one["id"].(string)
		if id == "" {
			id = fmt.Sprintf("11111111-2222-3333-4444-%012d", len(s.posted))
		}
		one["id"], one["status"], one["updatedAt"] = id, map[string]any{"state": "active"}, one["startsAt"]
		s.posted[id] = one
		_ = json.NewEncoder(w).Encode(map[string]string{"silenceID": id})
	case http.MethodDelete:
		s.posted[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]["status"] = map[string]any{"state": "expired"}
	}
}

// count returns how many silences are in force, and how many there ever were.
func (s *silences) count() (active, ever int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.posted {
		if one["status"].(map[string]any)["state"] == "active" {
			active++
		}
	}
	return active, len(s.posted)
}

// A device is silenced and held while it is in work, and on no way out is the
// one or the other left behind.
func TestNoWayOutLeavesALeaseOrASilenceBehind(t *testing.T) {
	refused := &devices.Error{Kind: devices.Rejected, Device: "edge-001", Op: "write settings", Err: errors.New("locked")}
	dark := &devices.Error{Kind: devices.Unreachable, Device: "edge-001", Op: "write settings", Err: errors.New("dark")}
	for _, c := range []struct {
		name  string
		write func(p *plant, call func() error, cancel func()) error
		// prepare changes the device behind the plan's back.
		prepare func(*plant)
		state   string
		unsafe  bool
	}{
		{"healthy", func(_ *plant, call func() error, _ func()) error { return call() }, nil, contract.DeviceHealthy, false},
		{"it has changed since the plan", nil, func(p *plant) { require.NoError(p.t, p.feeder.Poke(devices.Holding, 102, 700)) }, contract.DeviceChanged, false},
		{"it refuses the write", func(*plant, func() error, func()) error { return refused }, nil, contract.DeviceFailed, true},
		{"it is not healthy with it", func(p *plant, call func() error, _ func()) error {
			defer p.sicken()
			return call()
		}, nil, contract.DeviceFailed, true},
		{"it cannot be reached", func(*plant, func() error, func()) error { return dark }, nil, "", false},
		{"it is cancelled", func(_ *plant, call func() error, cancel func()) error {
			cancel()
			return call()
		}, nil, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlant(t)
			p.health()
			p.inService()
			r := p.startPlan(p.plan(planInput(rolled())))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p.ctx = ctx
			s, client := takeSilences(t)
			p.acts.deps.Silences = client
			inWork := 0
			p.driver.write = func(call func() error) error {
				inWork++
				active, _ := s.count()
				require.Equal(t, 1, active, "its alerts are silenced")
				_, err := p.store.LeaseOf(context.WithoutCancel(t.Context()), "edge-001")
				require.NoError(t, err, "it is held")
				return c.write(p, call, cancel)
			}
			if c.prepare != nil {
				c.prepare(p)
			}
			in := rollInput(r)
			in.Silence = true
			v, err := do[contract.DeviceVerdict](p, contract.ActivityRollOutDevice, in)
			require.Equal(t, c.write != nil, inWork > 0)
			if c.state == "" {
				require.Error(t, err)
			} else {
				require.NoError(t, err)
				require.Equal(t, []any{c.state, c.unsafe}, []any{v.State, v.Unsafe}, v.Detail)
			}
			active, ever := s.count()
			require.Equal(t, []int{0, 1}, []int{active, ever})
			p.overTheDeadline()
			p.requireFree()
		})
	}
}

func TestADeviceThatIsTakenBackIsSilencedToo(t *testing.T) {
	p := newPlant(t)
	p.health()
	p.inService()
	r := p.startPlan(p.plan(planInput(rolled())))
	_, err := p.roll(r)
	require.NoError(t, err)
	s, client := takeSilences(t)
	p.acts.deps.Silences = client
	p.driver.write = func(call func() error) error {
		active, _ := s.count()
		require.Equal(t, 1, active)
		p.sicken()
		return call()
	}
	left := func() contract.RolloutLeft {
		left, err := do[contract.RolloutLeft](p, contract.ActivityRollbackLeft, contract.RolloutLeftInput{RolloutID: r.RolloutID, Limit: 10})
		require.NoError(t, err)
		return left
	}
	require.Len(t, left().Devices, 1)
	v, err := do[contract.DeviceVerdict](p, contract.ActivityRollBackDevice, contract.RollBackDeviceInput{RolloutID: r.RolloutID, Silence: true,
		Deadline: time.Minute, Scope: contract.Scope{DeviceID: "edge-001", Actor: theOperator()}})
	require.NoError(t, err)
	require.Equal(t, []any{contract.DeviceBack, true}, []any{v.State, v.Unsafe}, "it has what it had, and is not well with it")
	require.Contains(t, v.Detail, "it has what it had before, and is not healthy")
	active, ever := s.count()
	require.Equal(t, []int{0, 1}, []int{active, ever})
	p.requireFree()
	require.Empty(t, left().Devices, "it is back, and not to be taken back once more")
}

// What an attempt left behind that died is let go when its device gets its
// verdict; what another run holds is not ours.
func TestAVerdictLetsGoOfWhatADeadAttemptLeft(t *testing.T) {
	for name, c := range map[string]struct {
		owner store.Owner
		state string
		free  bool
	}{
		"of this run":                     {store.Owner{WorkflowID: testWorkflow, RunID: testRun}, contract.DeviceNotBegun, true},
		"of this run, when it takes back": {store.Owner{WorkflowID: testWorkflow, RunID: testRun}, contract.DeviceKept, true},
		"not of another":                  {store.Owner{WorkflowID: "remediate/x", RunID: "1"}, contract.DeviceNotBegun, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			p.inService()
			r := p.startPlan(p.plan(planInput(rolled())))
			if c.state == contract.DeviceKept {
				_, err := p.roll(r)
				require.NoError(t, err)
			}
			_, err := p.store.AcquireLease(t.Context(), "edge-001", c.owner)
			require.NoError(t, err)
			s, client := takeSilences(t)
			p.acts.deps.Silences = client
			dead, die := context.WithCancel(t.Context())
			held, err := client.Hold(dead, silenceOf(r.RolloutID, "edge-001"))
			require.NoError(t, err)
			die()
			_, err = do[contract.DeviceVerdict](p, contract.ActivitySettleDevice, contract.SettleDeviceInput{
				RolloutID: r.RolloutID, DeviceID: "edge-001", State: c.state, Reason: contract.ErrTimeout, Detail: "nobody took it up"})
			require.NoError(t, err)
			active, ever := s.count()
			require.Equal(t, []int{0, 1}, []int{active, ever})
			_, err = p.store.LeaseOf(t.Context(), "edge-001")
			require.Equal(t, c.free, errors.Is(err, store.ErrNotFound))
			require.NoError(t, held.Release(t.Context()))
		})
	}
}

func TestADeviceInWorkIsNotLeftOutAndComesAgainWhenItIsNamed(t *testing.T) {
	p := newPlant(t)
	p.inService()
	r := p.startPlan(p.plan(planInput(rolled())))
	settle := func(state string) contract.DeviceVerdict {
		v, err := do[contract.DeviceVerdict](p, contract.ActivitySettleDevice, contract.SettleDeviceInput{RolloutID: r.RolloutID, DeviceID: "edge-001", State: state, Detail: "no"})
		require.NoError(t, err)
		return v
	}
	again := func(named ...string) int {
		out, err := do[contract.TryAgainResult](p, contract.ActivityTryAgain, contract.TryAgainInput{RolloutID: r.RolloutID, Devices: named})
		require.NoError(t, err)
		return out.Devices
	}
	p.driver.write = func(call func() error) error {
		require.Equal(t, contract.DeviceWorking, settle(contract.DeviceSkipped).State, "its own verdict is to come")
		return call()
	}
	v, err := p.roll(r)
	require.NoError(t, err)
	require.Equal(t, contract.DeviceHealthy, v.State)
	require.Zero(t, again("edge-001"), "what is healthy had its turn")

	other := newPlant(t)
	p = other
	p.inService()
	r = p.startPlan(p.plan(planInput(rolled())))
	require.Equal(t, contract.DeviceSkipped, settle(contract.DeviceSkipped).State)
	require.Zero(t, again(), "who was left out stays so")
	require.Equal(t, 1, again("edge-001"), "but for those that are named")
}

func TestAWindowThatClosesBeforeTheWriteKeepsItFromBeingMade(t *testing.T) {
	p := newPlant(t)
	p.inService()
	r := p.startPlan(p.plan(planInput(rolled())))
	before := p.writes()
	in := rollInput(r)
	var clock atomic.Int64
	p.acts.now = func() time.Time { return time.Unix(clock.Load(), 0) }
	closes := time.Unix(60, 0).Add(in.Takes)
	in.Until = &closes
	opened := 0
	p.driver.open = func() {
		opened++
		clock.Store(60)
	}
	v, err := do[contract.DeviceVerdict](p, contract.ActivityRollOutDevice, in)
	require.NoError(t, err)
	require.Equal(t, contract.DeviceNotInTime, v.State)
	require.Positive(t, opened, "it had begun")
	require.Equal(t, before, p.writes())
	p.requireFree()
	opened = 0
	v, err = do[contract.DeviceVerdict](p, contract.ActivityRollOutDevice, in)
	require.NoError(t, err)
	require.Equal(t, contract.DeviceNotInTime, v.State)
	require.Contains(t, v.Detail, "its maintenance window is closed, or closes too soon")
	require.Zero(t, opened, "a device whose window is closed is not even asked")
}
