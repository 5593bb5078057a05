package fleet_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
)

func onboardOver(p *plant, d devices.Driver, j fleet.Journal) (fleet.OnboardReport, error) {
	return p.operator(d).Onboard(p.t.Context(), "edge-001", fleet.OnboardOptions{}, j, nil)
}

func phasesOf(r fleet.OnboardReport) (out []fleet.Phase) {
	for _, p := range r.Phases {
		out = append(out, p.Phase)
	}
	return out
}

func changedBy(r fleet.OnboardReport) (out []string) {
	for _, c := range r.Changed {
		out = append(out, c.Setting)
	}
	return out
}

// newOnboardPlant is a plant whose feeder is unhealthy with a reclose_delay over
// 5 s, which its baseline leaves alone: the tests can break it.
func newOnboardPlant(t *testing.T) *plant {
	p := newPlant(t)
	p.write("profiles/fast-feeder.yaml", strings.Replace(profileText(p), "health:\n", "health:\n  - {point: reclose_delay, at_most: 5}\n", 1))
	return p
}

// sicken makes the feeder unhealthy.
func (p *plant) sicken() { p.poke(109, 9) }

// breaking is a driver over which every write lets the feeder fail.
func (p *plant) breaking() *hookedDriver {
	return &hookedDriver{Driver: p.driver, write: func(s []devices.Setting, call func([]devices.Setting) error) error {
		err := call(s)
		p.sicken()
		return err
	}}
}

// asFound is what the feeder has of the drifted settings before an onboarding.
func asFound() map[string]string {
	return map[string]string{"undervoltage_trip": "90", "undervoltage_delay": "2000", "overcurrent_pickup": "500"}
}

// requireAsFound wants the settings that drifted before to be as they were.
func (p *plant) requireAsFound() {
	p.t.Helper()
	report, err := p.operator(nil).Drift(p.t.Context(), "edge-001")
	require.NoError(p.t, err)
	got := map[string]string{}
	for _, s := range report.Drifted {
		got[s.Setting] = s.Got
	}
	require.Equal(p.t, asFound(), got)
}

func TestOnboardingOfADeviceThatIsAsDeclaredWritesNothing(t *testing.T) {
	p := newPlant(t)
	j := newMemory()
	report, err := onboardOver(p, nil, j)
	require.NoError(t, err)
	require.Empty(t, report.Failed, report.Why)
	require.Equal(t, []fleet.Phase{fleet.PhaseReach, fleet.PhaseIdentify, fleet.PhaseBackUp, fleet.PhaseApply, fleet.PhaseVerify}, phasesOf(report))
	require.Equal(t, []string{"Northline", "FR-200", "NL-edge-001"}, []string{report.Identity["maker"], report.Identity["model"], report.Identity["serial"]})
	require.Equal(t, []string{"standard", "7"}, []string{report.Baseline, report.Version})
	require.Greater(t, len(j.captured), 10, "every setting of the profile is kept, not only the baseline's")
	require.Equal(t, []string{"capture"}, j.steps)
	require.Empty(t, p.writes())
	for i, phase := range report.Phases {
		require.Positive(t, phase.Took)
		if i > 0 {
			require.False(t, phase.Began.Before(report.Phases[i-1].Began))
		}
	}
}

func TestOnboardingCorrectsWhatDiffersFromTheBaseline(t *testing.T) {
	p := newOnboardPlant(t)
	p.drift()
	report, err := onboardOver(p, nil, newMemory())
	require.NoError(t, err)
	require.Empty(t, report.Failed, report.Why)
	require.Equal(t, driftedNames, changedBy(report))
	require.Equal(t, onceEach(), p.writes())
	p.requireInSync()
}

func TestADeviceThatCannotBeOnboardedIsLeftAsItWasFound(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(p *plant)
		failed  fleet.Phase
		why     string
	}{
		{"another model", func(p *plant) { p.poke(8, 0x5858, 0, 0) }, fleet.PhaseIdentify,
			`its model is "XX", and "FR-200" was expected; correct the fleet file, or find out which device this is`},
		{"a setting that cannot be read", func(p *plant) { p.poke(108, 9) }, fleet.PhaseBackUp, "reclose_enabled"},
		{"someone works on it", func(p *plant) { require.NoError(p.t, p.feeder.Poke(devices.Discrete, 0, 1)) }, fleet.PhaseApply, "local control"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlant(t)
			p.drift()
			tt.prepare(p)
			report, err := onboardOver(p, nil, newMemory())
			require.NoError(t, err, "it will be found again")
			require.Equal(t, tt.failed, report.Failed)
			require.Contains(t, report.Why, tt.why)
			require.Equal(t, tt.failed, report.Phases[len(report.Phases)-1].Phase)
			require.False(t, report.Undone)
			require.Empty(t, p.writes())
			require.NotEmpty(t, report.Identity["maker"], "what it said of itself is told")
		})
	}
}

func TestADarkDeviceIsAnErrorThatAnotherAttemptMayNotFind(t *testing.T) {
	p := newPlant(t)
	require.NoError(t, p.feeder.Break("offline", true))
	report, err := onboardOver(p, nil, newMemory())
	require.Equal(t, devices.Unreachable, devices.KindOf(err))
	require.Equal(t, []fleet.Phase{fleet.PhaseReach}, phasesOf(report), "the last phase is where it stands")
	require.Empty(t, report.Failed)
}

func TestChangesAreTakenBackWhenTheDeviceIsNotHealthyWithThem(t *testing.T) {
	p := newOnboardPlant(t)
	p.drift()
	report, err := onboardOver(p, p.breaking(), newMemory())
	require.NoError(t, err)
	require.Equal(t, fleet.PhaseVerify, report.Failed)
	require.Contains(t, report.Why, "reclose_delay is 9, and healthy means reclose_delay <= 5")
	require.Contains(t, report.Why, "; its changes were taken back")
	require.True(t, report.Undone)
	require.Equal(t, map[string]int{"undervoltage_trip": 2, "undervoltage_delay": 2, "overcurrent_pickup": 2}, p.writes(), "there and back, once each")
	p.requireAsFound()
}

func TestWhatSomebodyElseChangedMeanwhileIsNotTakenBack(t *testing.T) {
	p := newOnboardPlant(t)
	p.drift()
	first := true
	driver := &hookedDriver{Driver: p.driver, read: func(call func() error) error {
		// The first reading after the write and its reading back is Verify's.
		if p.writes()["overcurrent_pickup"] == 1 && first {
			if err := call(); err != nil {
				return err
			}
			first = false
			p.sicken()
			p.poke(102, 770)
			return nil
		}
		return call()
	}}
	report, err := onboardOver(p, driver, newMemory())
	require.NoError(t, err)
	require.Equal(t, fleet.PhaseVerify, report.Failed)
	require.True(t, report.Undone)
	require.Equal(t, map[string]int{"undervoltage_trip": 1, "undervoltage_delay": 2, "overcurrent_pickup": 2}, p.writes())
	drift, err := p.operator(nil).Drift(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, "77", drift.Drifted[0].Got)
}

func TestHalfAWriteThatTheDeviceRefusedIsTakenBack(t *testing.T) {
	p := newOnboardPlant(t)
	p.drift()
	refused := false
	driver := &hookedDriver{Driver: p.driver, write: func(s []devices.Setting, call func([]devices.Setting) error) error {
		if refused {
			return call(s)
		}
		refused = true
		require.NoError(p.t, call(s[:2]))
		return &devices.Error{Kind: devices.Rejected, Device: "edge-001", Op: "write", Err: fmt.Errorf("illegal data value")}
	}}
	report, err := onboardOver(p, driver, newMemory())
	require.NoError(t, err)
	require.Equal(t, fleet.PhaseApply, report.Failed)
	require.Contains(t, report.Why, "illegal data value")
	require.True(t, report.Undone)
	require.Equal(t, map[string]int{"undervoltage_trip": 2, "undervoltage_delay": 2}, p.writes())
	p.requireAsFound()
}

func TestAChangeThatCannotBeTakenBackIsToldBesideItsCause(t *testing.T) {
	p := newOnboardPlant(t)
	p.drift()
	driver := &hookedDriver{Driver: p.driver, write: func(s []devices.Setting, call func([]devices.Setting) error) error {
		err := call(s)
		p.sicken()
		require.NoError(p.t, p.feeder.Poke(devices.Discrete, 0, 1))
		return err
	}}
	report, err := onboardOver(p, driver, newMemory())
	require.NoError(t, err)
	require.Equal(t, fleet.PhaseVerify, report.Failed)
	require.Contains(t, report.Why, "reclose_delay is 9")
	require.Contains(t, report.Why, "; its changes could not be taken back: ")
	require.Contains(t, report.Why, "local control")
	require.False(t, report.Undone)
	require.Equal(t, onceEach(), p.writes())
}

func TestADeviceThatGoesDarkWithItsChangesKeepsThem(t *testing.T) {
	p := newOnboardPlant(t)
	p.drift()
	j := newMemory()
	dark := false
	driver := &hookedDriver{Driver: p.driver, read: func(call func() error) error {
		if j.outcomes() != nil && j.outcomes()[0] == fleet.Applied && !dark {
			dark = true
			return &devices.Error{Kind: devices.Unreachable, Device: "edge-001", Op: "read", Err: fmt.Errorf("it restarts")}
		}
		return call()
	}}
	report, err := onboardOver(p, driver, j)
	require.Equal(t, devices.Unreachable, devices.KindOf(err), "it may be restarting with them")
	require.Equal(t, fleet.PhaseVerify, report.Phases[len(report.Phases)-1].Phase)
	report, err = onboardOver(p, driver, j)
	require.NoError(t, err)
	require.Empty(t, report.Failed, report.Why)
	require.Equal(t, driftedNames, changedBy(report))
	require.Equal(t, onceEach(), p.writes())
	p.requireInSync()
}

func TestOnboardingHasItsEffectOnceWhereverTheProcessDies(t *testing.T) {
	for step := 0; ; step++ {
		p := newOnboardPlant(t)
		p.drift()
		j := newMemory()
		first := &life{left: step}
		_, err := onboardOver(p, mortalDriver(p.driver, first), mortalJournal{first, j})
		if !first.dead {
			require.NoError(t, err)
			require.Greater(t, step, 25, "the test has to reach every step")
			return
		}
		t.Run(fmt.Sprintf("step %d %s", step, first.where), func(t *testing.T) {
			require.Error(t, err)
			report, err := onboardOver(p, nil, j)
			require.NoError(t, err)
			require.Empty(t, report.Failed, report.Why)
			require.Equal(t, driftedNames, changedBy(report))
			require.Equal(t, onceEach(), p.writes())
			require.Len(t, j.outcomes(), 1)
			p.requireInSync()
		})
	}
}

func TestTakingBackHasItsEffectOnceWhereverTheProcessDies(t *testing.T) {
	for step := 0; ; step++ {
		p := newOnboardPlant(t)
		p.drift()
		j := newMemory()
		first := &life{left: step}
		report, err := onboardOver(p, mortalDriver(p.breaking(), first), mortalJournal{first, j})
		if !first.dead {
			require.NoError(t, err)
			require.True(t, report.Undone)
			require.Greater(t, step, 40, "the test has to reach every step")
			return
		}
		t.Run(fmt.Sprintf("step %d %s", step, first.where), func(t *testing.T) {
			require.Error(t, err)
			// Before its write the feeder is well; the second life breaks it too.
			report, err := onboardOver(p, p.breaking(), j)
			require.NoError(t, err)
			require.Equal(t, fleet.PhaseVerify, report.Failed)
			require.True(t, report.Undone)
			twice := onceEach()
			for name := range maps.Keys(onceEach()) {
				twice[name] = 2
			}
			require.Equal(t, twice, p.writes())
			p.requireAsFound()
		})
	}
}
