package fleet_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/devices/sim"
)

// hung breaks the feeder in a way that a power cycle cures.
func (p *plant) hung() { require.NoError(p.t, p.feeder.Break(sim.FaultHang, false)) }

func TestResetCyclesThePortOnceAndWaitsForTheDevice(t *testing.T) {
	p := newPlant(t)
	p.hung()
	j := newMemory()
	var said []string
	report, err := p.operator(nil).Reset(t.Context(), "edge-001", j, func(s string) { said = append(said, s) })
	require.NoError(t, err)
	require.Equal(t, fleet.ResetDone, report.Outcome)
	require.Equal(t, "switch-01 cycle-port-1", report.Via)
	require.True(t, report.CameBack)
	require.Contains(t, report.Detail, "switch-01 cycle-port-1 was done, as the counter shows; edge-001 answered after")
	require.Equal(t, 1, p.cycles())
	require.Equal(t, []string{"intent", "result"}, j.steps)
	require.NotEmpty(t, said)
	rec, err := j.Prior(t.Context(), "reset edge-001 via switch-01 cycle-port-1")
	require.NoError(t, err)
	require.Equal(t, fleet.Record{Outcome: fleet.Applied, Detail: "switch-01 cycle-port-1 was done, as the counter shows", Change: fleet.Change{
		Item: "reset edge-001 via switch-01 cycle-port-1", Action: "cycle-port-1", Target: "switch-01", Within: 15 * time.Second,
		Before: map[string]string{"port_1_cycles": "0"}, After: map[string]string{"port_1_cycles": "1"}}}, *rec)
}

func TestResetHasItsEffectOnceWhereverTheProcessDies(t *testing.T) {
	for step := 0; ; step++ {
		p := newPlant(t)
		p.hung()
		j := newMemory()
		first := &life{left: step}
		_, err := p.operator(mortalDriver(p.driver, first)).Reset(t.Context(), "edge-001", mortalJournal{first, j}, nil)
		if !first.dead {
			require.NoError(t, err)
			require.Greater(t, step, 13, "the test has to reach every step")
			return
		}
		t.Run(fmt.Sprintf("step %d %s", step, first.where), func(t *testing.T) {
			require.ErrorIs(t, err, errDied)
			report, err := p.operator(nil).Reset(t.Context(), "edge-001", j, nil)
			require.NoError(t, err)
			require.Equal(t, fleet.ResetDone, report.Outcome)
			require.True(t, report.CameBack)
			require.Equal(t, 1, p.cycles())
			require.Len(t, j.outcomes(), 1)
		})
	}
}

func TestResetWithoutACounterIsNeverRepeatedWhereverTheProcessDies(t *testing.T) {
	for step := 0; ; step++ {
		p := newPlant(t)
		p.declare("fast-feeder", "blind-outlet", "")
		j := newMemory()
		first := &life{left: step}
		_, err := p.operator(mortalDriver(p.driver, first)).Reset(t.Context(), "edge-001", mortalJournal{first, j}, nil)
		if !first.dead {
			require.NoError(t, err)
			return
		}
		t.Run(fmt.Sprintf("step %d %s", step, first.where), func(t *testing.T) {
			report, err := p.operator(nil).Reset(t.Context(), "edge-001", j, nil)
			require.NoError(t, err)
			require.LessOrEqual(t, p.cycles(), 1)
			if first.where == "before write" || first.where == "after write" || first.where == "after intent" || first.where == "before result" {
				require.Equal(t, fleet.ResetIndeterminate, report.Outcome)
				require.Contains(t, report.Detail, "it is not sent again")
			} else {
				require.Equal(t, fleet.ResetDone, report.Outcome)
				require.Equal(t, 1, p.cycles())
			}
			require.True(t, report.CameBack)
		})
	}
}

func TestALostAnswerToThePulseIsResolvedByTheCounter(t *testing.T) {
	done := func(s []devices.Setting, call func([]devices.Setting) error) error {
		_ = call(s)
		return lost("switch-01")
	}
	never := func([]devices.Setting, func([]devices.Setting) error) error { return lost("switch-01") }

	t.Run("it was done", func(t *testing.T) {
		p := newPlant(t)
		p.hung()
		j := newMemory()
		report, err := p.operator(&hookedDriver{Driver: p.driver, write: done}).Reset(t.Context(), "edge-001", j, nil)
		require.NoError(t, err)
		require.Equal(t, fleet.ResetDone, report.Outcome)
		require.Equal(t, 1, p.cycles())
	})
	t.Run("it was not done, so the next attempt does it", func(t *testing.T) {
		p := newPlant(t)
		p.hung()
		j := newMemory()
		_, err := p.operator(&hookedDriver{Driver: p.driver, write: never}).Reset(t.Context(), "edge-001", j, nil)
		require.ErrorIs(t, err, fleet.ErrNotApplied)
		require.Equal(t, devices.Unreachable, devices.KindOf(err))
		report, err := p.operator(nil).Reset(t.Context(), "edge-001", j, nil)
		require.NoError(t, err)
		require.Equal(t, fleet.ResetDone, report.Outcome)
		require.Equal(t, 1, p.cycles())
		require.ElementsMatch(t, []fleet.Outcome{fleet.NotApplied, fleet.Applied}, j.outcomes())
	})
	t.Run("without a counter nobody can tell", func(t *testing.T) {
		p := newPlant(t)
		p.declare("fast-feeder", "blind-outlet", "")
		j := newMemory()
		for range 2 {
			report, err := p.operator(&hookedDriver{Driver: p.driver, write: done}).Reset(t.Context(), "edge-001", j, nil)
			require.NoError(t, err)
			require.Equal(t, fleet.ResetIndeterminate, report.Outcome)
		}
		require.Equal(t, 1, p.cycles())
	})
	t.Run("the caller gives up while the counter stands still, so the intent stays open", func(t *testing.T) {
		p := newPlant(t)
		p.hung()
		j := newMemory()
		ctx, cancel := context.WithCancel(t.Context())
		hooked := &hookedDriver{Driver: p.driver, write: func([]devices.Setting, func([]devices.Setting) error) error {
			cancel()
			return lost("switch-01")
		}}
		_, err := p.operator(hooked).Reset(ctx, "edge-001", j, nil)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, []fleet.Outcome{""}, j.outcomes())
	})
}

func TestAnAcceptedPulseThatIsNotCountedIsIndeterminate(t *testing.T) {
	p := newPlant(t)
	j := newMemory()
	swallow := &hookedDriver{Driver: p.driver, write: func([]devices.Setting, func([]devices.Setting) error) error { return nil }}
	report, err := p.operator(swallow).Reset(t.Context(), "edge-001", j, nil)
	require.NoError(t, err)
	require.Equal(t, fleet.ResetIndeterminate, report.Outcome)
	require.Contains(t, report.Detail, "the counter does not show that it was done; it is not sent again")
}

func TestACounterThatWasResetMeanwhileIsIndeterminate(t *testing.T) {
	p := newPlant(t)
	require.NoError(t, p.outlet.Poke(devices.Input, 100, 500))
	j := newMemory()
	dead := &life{left: 1000}
	dying := &hookedDriver{Driver: p.driver, write: func([]devices.Setting, func([]devices.Setting) error) error {
		dead.left = 0
		return errDied
	}}
	_, err := p.operator(dying).Reset(t.Context(), "edge-001", mortalJournal{dead, j}, nil)
	require.ErrorIs(t, err, errDied)
	require.NoError(t, p.outlet.Poke(devices.Input, 100, 3))
	report, err := p.operator(nil).Reset(t.Context(), "edge-001", j, nil)
	require.NoError(t, err)
	require.Equal(t, fleet.ResetIndeterminate, report.Outcome)
	require.Zero(t, p.cycles())
}

func TestACounterMayWrap(t *testing.T) {
	p := newPlant(t)
	p.hung()
	require.NoError(t, p.outlet.Poke(devices.Input, 100, 65535))
	report, err := p.operator(nil).Reset(t.Context(), "edge-001", newMemory(), nil)
	require.NoError(t, err)
	require.Equal(t, fleet.ResetDone, report.Outcome)
}

func TestResetOfADeviceThatStaysDarkIsAValue(t *testing.T) {
	p := newPlant(t)
	require.NoError(t, p.feeder.Break(sim.FaultOffline, true))
	report, err := p.operator(nil).Reset(t.Context(), "edge-001", newMemory(), nil)
	require.NoError(t, err)
	require.Equal(t, fleet.ResetDone, report.Outcome)
	require.False(t, report.CameBack)
	require.Contains(t, report.Detail, "edge-001 did not answer within 2s")
}

func TestResetSendsNothingWhen(t *testing.T) {
	tests := map[string]struct {
		prepare func(p *plant, j *memory)
		device  string
		kind    devices.Kind
		want    string
	}{
		"no reset is declared":          {func(*plant, *memory) {}, "switch-01", devices.Unsupported, "declares no network_reset"},
		"the outlet is another model":   {func(p *plant, _ *memory) { require.NoError(p.t, p.outlet.Poke(devices.Holding, 8, 0x5858, 0, 0)) }, "edge-001", devices.Rejected, `its model is "XX"`},
		"the outlet is dark":            {func(p *plant, _ *memory) { require.NoError(p.t, p.outlet.Break(sim.FaultOffline, true)) }, "edge-001", devices.Unreachable, "switch-01"},
		"the intent cannot be recorded": {func(_ *plant, j *memory) { j.refuse = "intent" }, "edge-001", "", "so nothing was sent"},
		"the device is not declared":    {func(*plant, *memory) {}, "edge-999", "", "unknown device"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			j := newMemory()
			tt.prepare(p, j)
			_, err := p.operator(nil).Reset(t.Context(), tt.device, j, nil)
			require.ErrorContains(t, err, tt.want)
			require.Equal(t, tt.kind, devices.KindOf(err))
			require.Zero(t, p.cycles())
		})
	}
}
