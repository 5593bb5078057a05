package fleet_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
)

// drift lets three settings of the feeder differ from the baseline, in two
// runs of addresses.
func (p *plant) drift() {
	p.poke(102, 900)        // undervoltage_trip 90
	p.poke(103, 2000)       // undervoltage_delay
	p.poke(106, 0, 50*1000) // overcurrent_pickup 500
}

var driftedNames = []string{"undervoltage_trip", "undervoltage_delay", "overcurrent_pickup"}

func onceEach() map[string]int {
	return map[string]int{"undervoltage_trip": 1, "undervoltage_delay": 1, "overcurrent_pickup": 1}
}

func changed(r fleet.ApplyReport) []string {
	var out []string
	for _, s := range r.Changed {
		out = append(out, s.Setting)
	}
	return out
}

func TestApplyWritesOnlyWhatDiffersAndKeepsWhatWasBefore(t *testing.T) {
	p := newPlant(t)
	p.drift()
	j := newMemory()
	report, err := p.operator(nil).ApplyBaseline(t.Context(), "edge-001", j, nil)
	require.NoError(t, err)
	require.Equal(t, fleet.SettingDrift{Setting: "undervoltage_trip", Want: "85", Got: "90", Unit: "%"}, report.Changed[0])
	require.Equal(t, driftedNames, changed(report))
	require.Zero(t, report.Confirmed)
	require.Equal(t, onceEach(), p.writes())
	require.Equal(t, []string{"intent", "result"}, j.steps)
	require.Equal(t, map[string]string{"undervoltage_trip": "90", "undervoltage_delay": "2000", "overcurrent_pickup": "500"}, j.captured)
	require.Equal(t, []fleet.Outcome{fleet.Applied}, j.outcomes())
	p.requireInSync()
}

func TestApplyOnADeviceInSyncWritesNothingAndRecordsNothing(t *testing.T) {
	p := newPlant(t)
	j := newMemory()
	report, err := p.operator(nil).ApplyBaseline(t.Context(), "edge-001", j, nil)
	require.NoError(t, err)
	require.Equal(t, fleet.ApplyReport{DeviceID: "edge-001", Baseline: "standard", Version: "7"}, report)
	require.Empty(t, j.steps)
	require.Empty(t, p.writes())
}

func TestApplyWithoutABaselineDoesNotAskTheDevice(t *testing.T) {
	p := newPlant(t)
	require.NoError(t, p.outlet.Break("offline", true))
	report, err := p.operator(nil).ApplyBaseline(t.Context(), "switch-01", newMemory(), nil)
	require.NoError(t, err)
	require.Equal(t, fleet.ApplyReport{DeviceID: "switch-01"}, report)
}

func TestApplyWritesNothingWhen(t *testing.T) {
	tests := map[string]struct {
		prepare func(p *plant, j *memory)
		kind    devices.Kind
		want    string
	}{
		"the device is another model": {func(p *plant, _ *memory) { p.poke(8, 0x5858, 0, 0) }, devices.Rejected,
			`its model is "XX", and "FR-200" was expected`},
		"the interlock holds": {func(p *plant, _ *memory) { require.NoError(p.t, p.feeder.Poke(devices.Discrete, 0, 1)) }, devices.Rejected,
			"local_control == true: the feeder is under local control"},
		"the values before and the intent cannot be kept": {func(_ *plant, j *memory) { j.refuse = "intent" }, "", "so nothing was written"},
		"the device is dark":                              {func(p *plant, _ *memory) { require.NoError(p.t, p.feeder.Break("offline", true)) }, devices.Unreachable, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			p.drift()
			j := newMemory()
			tt.prepare(p, j)
			_, err := p.operator(nil).ApplyBaseline(t.Context(), "edge-001", j, nil)
			require.ErrorContains(t, err, tt.want)
			require.Equal(t, tt.kind, devices.KindOf(err))
			require.Empty(t, p.writes())
		})
	}
}

func TestApplyHasItsEffectOnceWhereverTheProcessDies(t *testing.T) {
	for step := 0; ; step++ {
		p := newPlant(t)
		p.drift()
		j := newMemory()
		first := &life{left: step}
		_, err := p.operator(mortalDriver(p.driver, first)).ApplyBaseline(t.Context(), "edge-001", mortalJournal{first, j}, nil)
		if !first.dead {
			require.NoError(t, err)
			require.Greater(t, step, 15, "the test has to reach every step")
			return
		}
		t.Run(fmt.Sprintf("step %d %s", step, first.where), func(t *testing.T) {
			require.ErrorIs(t, err, errDied)
			report, err := p.operator(nil).ApplyBaseline(t.Context(), "edge-001", j, nil)
			require.NoError(t, err)
			require.Equal(t, driftedNames, changed(report), "what was changed is reported, whichever attempt did it")
			require.Equal(t, onceEach(), p.writes())
			require.Len(t, j.outcomes(), 1)
			require.Contains(t, []fleet.Outcome{fleet.Applied, fleet.Confirmed}, j.outcomes()[0])
			p.requireInSync()
		})
	}
}

func TestApplyAfterADeathInTheMiddleOfTheWriteWritesOnlyTheRest(t *testing.T) {
	p := newPlant(t)
	p.drift()
	j := newMemory()
	first := &life{left: 1000}
	dying := &hookedDriver{Driver: p.driver, write: func(s []devices.Setting, call func([]devices.Setting) error) error {
		require.NoError(t, call(s[:2]))
		first.left = 0
		return errDied
	}}
	_, err := p.operator(dying).ApplyBaseline(t.Context(), "edge-001", mortalJournal{first, j}, nil)
	require.ErrorIs(t, err, errDied)
	report, err := p.operator(nil).ApplyBaseline(t.Context(), "edge-001", j, nil)
	require.NoError(t, err)
	require.Equal(t, 2, report.Confirmed)
	require.Equal(t, onceEach(), p.writes())
	p.requireInSync()
}

func TestApplyRefusesWhatSomeoneElseChangedMeanwhile(t *testing.T) {
	p := newPlant(t)
	p.drift()
	j := newMemory()
	dead := &life{left: 1000}
	dying := &hookedDriver{Driver: p.driver, write: func([]devices.Setting, func([]devices.Setting) error) error {
		dead.left = 0
		return errDied
	}}
	_, err := p.operator(dying).ApplyBaseline(t.Context(), "edge-001", mortalJournal{dead, j}, nil)
	require.ErrorIs(t, err, errDied)
	p.poke(102, 770)
	for range 2 { // the refusal stands, also for a third attempt
		_, err = p.operator(nil).ApplyBaseline(t.Context(), "edge-001", j, nil)
		require.Equal(t, devices.Rejected, devices.KindOf(err))
		require.ErrorContains(t, err, "undervoltage_trip is 77, neither 90 as before nor 85 as wanted")
		require.Empty(t, p.writes())
	}
}

func TestALostAnswerIsResolvedByReadingBack(t *testing.T) {
	tests := map[string]struct {
		write   func(s []devices.Setting, call func([]devices.Setting) error) error
		kind    devices.Kind
		outcome fleet.Outcome
	}{
		"it was written": {func(s []devices.Setting, call func([]devices.Setting) error) error {
			_ = call(s)
			return lost("edge-001")
		}, "", fleet.Applied},
		"it was not written": {func([]devices.Setting, func([]devices.Setting) error) error { return lost("edge-001") }, devices.Unreachable, fleet.NotApplied},
		"some was written": {func(s []devices.Setting, call func([]devices.Setting) error) error {
			_ = call(s[:1])
			return lost("edge-001")
		}, devices.Unreachable, fleet.Partial},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			p.drift()
			j := newMemory()
			_, err := p.operator(&hookedDriver{Driver: p.driver, write: tt.write}).ApplyBaseline(t.Context(), "edge-001", j, nil)
			require.Equal(t, tt.kind, devices.KindOf(err))
			require.Equal(t, []fleet.Outcome{tt.outcome}, j.outcomes())
			if tt.kind != "" {
				require.ErrorIs(t, err, fleet.ErrNotApplied)
			}
			_, err = p.operator(nil).ApplyBaseline(t.Context(), "edge-001", j, nil)
			require.NoError(t, err, "the next attempt writes what is left")
			require.Equal(t, onceEach(), p.writes())
			p.requireInSync()
		})
	}
}

func TestADeviceThatForgetsWhatItAcceptedIsRejected(t *testing.T) {
	p := newPlant(t)
	require.NoError(t, p.feeder.Break("drift", true))
	j := newMemory()
	_, err := p.operator(nil).ApplyBaseline(t.Context(), "edge-001", j, nil)
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "the device accepted the write and kept")
	require.Equal(t, []fleet.Outcome{fleet.Failed}, j.outcomes())
}

func TestAnIntentStaysOpenWhileTheDeviceCannotBeReadBack(t *testing.T) {
	p := newPlant(t)
	p.drift()
	j := newMemory()
	hooked := &hookedDriver{Driver: p.driver, write: func(s []devices.Setting, call func([]devices.Setting) error) error {
		_ = call(s)
		require.NoError(t, p.feeder.Break("offline", false))
		return lost("edge-001")
	}}
	_, err := p.operator(hooked).ApplyBaseline(t.Context(), "edge-001", j, nil)
	require.Equal(t, devices.Indeterminate, devices.KindOf(err))
	require.Equal(t, []fleet.Outcome{""}, j.outcomes())

	require.NoError(t, p.feeder.Heal())
	report, err := p.operator(nil).ApplyBaseline(t.Context(), "edge-001", j, nil)
	require.NoError(t, err)
	require.Equal(t, 3, report.Confirmed)
	require.Equal(t, onceEach(), p.writes())
}

func TestACallerThatGivesUpAfterTheWriteLeavesATrueRecord(t *testing.T) {
	p := newPlant(t)
	p.drift()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	j := newMemory()
	hooked := &hookedDriver{Driver: p.driver, write: func(s []devices.Setting, call func([]devices.Setting) error) error {
		err := call(s)
		cancel()
		return err
	}}
	_, err := p.operator(hooked).ApplyBaseline(ctx, "edge-001", j, nil)
	require.NoError(t, err)
	require.Equal(t, []fleet.Outcome{fleet.Applied}, j.outcomes())
}

func TestDriftListsWhatDiffers(t *testing.T) {
	p := newPlant(t)
	p.drift()
	report, err := p.operator(nil).Drift(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, fleet.DriftReport{DeviceID: "edge-001", Baseline: "standard", Version: "7", Checked: 6, Drifted: []fleet.SettingDrift{
		{Setting: "undervoltage_trip", Want: "85", Got: "90", Unit: "%"},
		{Setting: "undervoltage_delay", Want: "1500", Got: "2000", Unit: "ms"},
		{Setting: "overcurrent_pickup", Want: "630", Got: "500", Unit: "A"},
	}}, report)
}

func TestDriftOfASettingThatCannotBeReadIsAnError(t *testing.T) {
	p := newPlant(t)
	p.poke(108, 9) // reclose_enabled has no such value
	_, err := p.operator(nil).Drift(t.Context(), "edge-001")
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "reclose_enabled: the device has 9, which the profile does not name")
}

func TestDriftWithoutABaselineHasNothingToCompare(t *testing.T) {
	report, err := newPlant(t).operator(nil).Drift(t.Context(), "switch-01")
	require.NoError(t, err)
	require.Equal(t, fleet.DriftReport{DeviceID: "switch-01"}, report)
}
