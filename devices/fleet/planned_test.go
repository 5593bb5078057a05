package fleet_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/baseline"
	"edgefleet/devices/fleet"
)

// wanted is what a plan wants of the plant's feeder: its baseline with another
// trip and another pickup.
func wanted(t *testing.T, o *fleet.Operator) baseline.Desired {
	t.Helper()
	desired, err := o.DesiredOf("edge-001", "standard", "8", map[string]string{
		"undervoltage_trip": "80", "undervoltage_delay": "1500", "overvoltage_trip": "110", "overcurrent_pickup": "700", "reclose_enabled": "on", "active_power_limit": "4500"})
	require.NoError(t, err)
	return desired
}

// planned is the change of a plan that was made now.
func planned(t *testing.T, o *fleet.Operator) fleet.Planned {
	t.Helper()
	p := fleet.Planned{DeviceID: "edge-001", Desired: wanted(t, o), Before: map[string]string{}}
	changes, err := o.PlanChanges(t.Context(), "edge-001", p.Desired)
	require.NoError(t, err)
	for _, c := range changes {
		p.Before[c.Setting] = c.Before
	}
	return p
}

func TestAPlanSaysExactlyWhatWouldBeWritten(t *testing.T) {
	p := newPlant(t)
	o := p.operator(nil)
	changes, err := o.PlanChanges(t.Context(), "edge-001", wanted(t, o))
	require.NoError(t, err)
	require.Equal(t, []fleet.PlannedChange{
		{Setting: "undervoltage_trip", Unit: "%", Before: "85", After: "80", BeforeText: "85", AfterText: "80"},
		{Setting: "overcurrent_pickup", Unit: "A", Before: "630", After: "700", BeforeText: "630", AfterText: "700"},
	}, changes)
	require.Empty(t, p.writes())
	require.Equal(t, "700", fleet.ExactSettings(wanted(t, o))["overcurrent_pickup"])
	_, err = o.DesiredOf("edge-001", "x", "1", map[string]string{"warp_factor": "9"})
	require.ErrorContains(t, err, "has no setting warp_factor")
	_, err = o.DesiredOf("edge-001", "x", "1", map[string]string{"undervoltage_trip": "9000"})
	require.Equal(t, devices.Rejected, devices.KindOf(err))
}

func TestWhatWasPlannedIsWrittenOnlyWhereTheDeviceIsAsThePlanHasIt(t *testing.T) {
	both := map[string]int{"undervoltage_trip": 1, "overcurrent_pickup": 1}
	for _, c := range []struct {
		name   string
		change func(*plant, *fleet.Planned)
		says   string
		writes map[string]int
	}{
		{"as planned", func(*plant, *fleet.Planned) {}, "", both},
		{"another value than before", func(p *plant, _ *fleet.Planned) { p.poke(102, 700) }, "undervoltage_trip is 70, and was 85", map[string]int{}},
		{"a value that was as wanted and is not any more", func(p *plant, _ *fleet.Planned) { p.poke(103, 900) }, "undervoltage_delay is 900, and was as wanted", map[string]int{}},
		{"a part of it is done already, by nobody knows whom", func(p *plant, _ *fleet.Planned) { p.poke(102, 800) }, "undervoltage_trip is as wanted already, and others are not", map[string]int{}},
		{"a part of it is done already, by this rollout", func(p *plant, f *fleet.Planned) { p.poke(102, 800); f.Again = true }, "", map[string]int{"overcurrent_pickup": 1}},
		{"it is not allowed", func(_ *plant, f *fleet.Planned) {
			f.Allow = func(context.Context) error { return errors.New("the window has closed") }
		}, "the window has closed", map[string]int{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlant(t)
			o := p.operator(nil)
			change := planned(t, o)
			c.change(p, &change)
			j := newMemory()
			done, err := o.ApplyPlanned(t.Context(), change, j, nil)
			require.Equal(t, c.writes, p.writes())
			if c.says == "" {
				require.NoError(t, err)
				require.Len(t, done.Changed, len(c.writes))
				return
			}
			require.ErrorContains(t, err, c.says)
			require.Empty(t, j.outcomes(), "no intent")
			require.Equal(t, c.name != "it is not allowed", errors.Is(err, fleet.ErrChanged))
		})
	}
	t.Run("all of it is there already", func(t *testing.T) {
		p := newPlant(t)
		o := p.operator(nil)
		change := planned(t, o)
		p.poke(102, 800)
		p.poke(106, 1, 4464) // 70000 hundredths of an ampere
		done, err := o.ApplyPlanned(t.Context(), change, newMemory(), nil)
		require.NoError(t, err)
		require.Empty(t, done.Changed)
		require.Empty(t, p.writes())
	})
}

// Wherever the process dies, a planned change has its effect once, and the
// device is never taken for one that somebody else has changed.
func TestAPlannedChangeSurvivesADeathAtEveryStep(t *testing.T) {
	deaths := 0
	for step := 0; ; step++ {
		p := newPlant(t)
		change := planned(t, p.operator(nil))
		j := newMemory()
		l := &life{left: step}
		_, err := p.operator(mortalDriver(p.driver, l)).ApplyPlanned(t.Context(), change, mortalJournal{l, j}, nil)
		if !l.dead {
			require.NoError(t, err)
			break
		}
		deaths++
		asked := 0
		change.Allow = func(context.Context) error { asked++; return nil }
		begun := len(j.outcomes()) > 0
		done, err := p.operator(nil).ApplyPlanned(t.Context(), change, j, nil)
		if begun {
			require.Zero(t, asked, "after a death %s: what was begun is brought to its end, whatever the window is by now", l.where)
		} else {
			require.Equal(t, 1, asked, "after a death %s", l.where)
		}
		require.NoError(t, err, "after a death %s", l.where)
		require.Len(t, done.Changed, 2, "after a death %s", l.where)
		require.Equal(t, map[string]int{"undervoltage_trip": 1, "overcurrent_pickup": 1}, p.writes(), "after a death %s", l.where)
	}
	require.Greater(t, deaths, 8)
}

// An answer that is lost in the middle of a write leaves a part of it written,
// by us: the next attempt goes on with the rest, and with nothing that somebody
// else has changed.
func TestAPlannedChangeThatWasWrittenInPartIsGoneOnWith(t *testing.T) {
	for name, changed := range map[string]bool{"as it was left": false, "changed meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			change := planned(t, p.operator(nil))
			j := newMemory()
			half := &hookedDriver{Driver: p.driver, write: func(s []devices.Setting, call func([]devices.Setting) error) error {
				_ = call(s[:1])
				return lost("edge-001")
			}}
			_, err := p.operator(half).ApplyPlanned(t.Context(), change, j, nil)
			require.ErrorIs(t, err, fleet.ErrNotApplied)
			require.Equal(t, []fleet.Outcome{fleet.Partial}, j.outcomes())
			if changed {
				p.poke(106, 0, 500)
			}
			_, err = p.operator(nil).ApplyPlanned(t.Context(), change, j, nil)
			if changed {
				require.ErrorIs(t, err, fleet.ErrChanged)
				require.Equal(t, map[string]int{"undervoltage_trip": 1}, p.writes())
				return
			}
			require.NoError(t, err)
			require.Equal(t, map[string]int{"undervoltage_trip": 1, "overcurrent_pickup": 1}, p.writes())
		})
	}
}

func TestADeviceGetsBackWhatItHad(t *testing.T) {
	wrote := map[string]string{"undervoltage_trip": "80", "overcurrent_pickup": "700"}
	had := map[string]string{"undervoltage_trip": "85", "overcurrent_pickup": "630"}
	roll := func(t *testing.T) (*plant, *fleet.Operator) {
		p := newPlant(t)
		o := p.operator(nil)
		_, err := o.ApplyPlanned(t.Context(), planned(t, o), newMemory(), nil)
		require.NoError(t, err)
		return p, o
	}
	t.Run("all of it", func(t *testing.T) {
		p, o := roll(t)
		back, err := o.Restore(t.Context(), "edge-001", wrote, had, newMemory(), nil)
		require.NoError(t, err)
		require.True(t, back.Written)
		require.Equal(t, []string{"undervoltage_trip", "overcurrent_pickup"}, back.Restored)
		p.requireInSync()
		again, err := o.Restore(t.Context(), "edge-001", wrote, had, newMemory(), nil)
		require.NoError(t, err)
		require.False(t, again.Written, "it has it already")
		require.Equal(t, map[string]int{"undervoltage_trip": 2, "overcurrent_pickup": 2}, p.writes())
	})
	t.Run("but for what somebody else has changed since", func(t *testing.T) {
		p, o := roll(t)
		p.poke(102, 700)
		back, err := o.Restore(t.Context(), "edge-001", wrote, had, newMemory(), nil)
		require.NoError(t, err)
		require.Equal(t, []string{"overcurrent_pickup"}, back.Restored)
		require.Equal(t, []fleet.SettingDrift{{Setting: "undervoltage_trip", Want: "80", Got: "70", Unit: "%"}}, back.Kept)
		require.Equal(t, map[string]int{"undervoltage_trip": 1, "overcurrent_pickup": 2}, p.writes())
	})
	t.Run("but for what somebody changes in the moment of it", func(t *testing.T) {
		p, _ := roll(t)
		opened := 0
		meanwhile := openings{Driver: p.driver, before: func() {
			if opened++; opened == 2 {
				p.poke(102, 700)
			}
		}}
		_, err := p.operator(meanwhile).Restore(t.Context(), "edge-001", wrote, had, newMemory(), nil)
		require.ErrorIs(t, err, fleet.ErrChanged)
		require.ErrorContains(t, err, "undervoltage_trip is 70, and 80 was written")
		require.Equal(t, map[string]int{"undervoltage_trip": 1, "overcurrent_pickup": 1}, p.writes())
	})
	t.Run("once, wherever the process dies", func(t *testing.T) {
		for step := 0; ; step++ {
			p, _ := roll(t)
			j := newMemory()
			l := &life{left: step}
			_, err := p.operator(mortalDriver(p.driver, l)).Restore(t.Context(), "edge-001", wrote, had, mortalJournal{l, j}, nil)
			if !l.dead {
				require.NoError(t, err)
				break
			}
			_, err = p.operator(nil).Restore(t.Context(), "edge-001", wrote, had, j, nil)
			require.NoError(t, err, "after a death %s", l.where)
			require.Equal(t, map[string]int{"undervoltage_trip": 2, "overcurrent_pickup": 2}, p.writes(), "after a death %s", l.where)
		}
	})
}

// openings tells before each link that is opened.
type openings struct {
	devices.Driver
	before func()
}

func (o openings) Open(ctx context.Context, ep devices.Endpoint) (devices.Link, error) {
	o.before()
	return o.Driver.Open(ctx, ep)
}

// assigned is what one device was assigned.
type assigned struct {
	a   *fleet.Assigned
	err error
}

func (a assigned) Assigned(context.Context, string) (*fleet.Assigned, error) { return a.a, a.err }

func TestWhatADeviceWasAssignedGoesBeforeTheDirectory(t *testing.T) {
	p := newPlant(t)
	operator := func(a assigned) *fleet.Operator {
		o, err := fleet.New(fleet.Options{Fleet: p.operator(nil).Fleet(), Drivers: []devices.Driver{p.driver}, Assigned: a})
		require.NoError(t, err)
		return o
	}
	given := assigned{a: &fleet.Assigned{Baseline: "standard", Version: "6", Settings: map[string]string{"undervoltage_trip": "80"}}}
	drift, err := operator(given).Drift(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, "6", drift.Version)
	require.Len(t, drift.Drifted, 1)
	_, err = operator(given).ApplyBaseline(t.Context(), "edge-001", newMemory(), nil)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"undervoltage_trip": 1}, p.writes())
	health, err := operator(given).Verify(t.Context(), "edge-001")
	require.NoError(t, err)
	require.True(t, health.Healthy, health.Detail)

	drift, err = operator(assigned{}).Drift(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, "7", drift.Version, "without one, the directory's counts")

	unknown := assigned{err: errors.New("the store is away")}
	for name, ask := range map[string]func(o *fleet.Operator) error{
		"drift":  func(o *fleet.Operator) error { _, err := o.Drift(t.Context(), "edge-001"); return err },
		"verify": func(o *fleet.Operator) error { _, err := o.Verify(t.Context(), "edge-001"); return err },
		"apply": func(o *fleet.Operator) error {
			_, err := o.ApplyBaseline(t.Context(), "edge-001", newMemory(), nil)
			return err
		},
	} {
		require.ErrorContains(t, ask(operator(unknown)), "the store is away", "%s: could not find out is never the directory's", name)
	}
	done, err := operator(unknown).Onboard(t.Context(), "edge-001", fleet.OnboardOptions{}, newMemory(), nil)
	require.NoError(t, err, "an onboarding brings a device to what is declared")
	require.Equal(t, "7", done.Version)
}
