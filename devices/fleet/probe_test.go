package fleet_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/devices/sim"
)

func results(d fleet.Diagnosis) map[fleet.Check]fleet.Result {
	out := map[fleet.Check]fleet.Result{}
	for _, v := range d.Verdicts {
		out[v.Check] = v.Result
	}
	return out
}

func TestProbeDiagnoses(t *testing.T) {
	tests := map[string]struct {
		fault     sim.Fault
		reachable bool
		connect   fleet.Result
		protocol  fleet.Result
		reference fleet.Result
		summary   string
	}{
		"a healthy device":                      {"", true, fleet.OK, fleet.OK, fleet.Skipped, "edge-001 answers modbus-tcp at "},
		"a dark device":                         {sim.FaultOffline, false, fleet.Failing, fleet.Skipped, fleet.OK, "the connection was refused. The reference of region north answers, so the path from here is up."},
		"a device that hangs":                   {sim.FaultHang, false, fleet.OK, fleet.Failing, fleet.OK, "and then there is no modbus-tcp: no answer for "},
		"a device that resets every connection": {sim.FaultResetOnly, false, "", "", fleet.OK, ": the connection is reset. "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			if tt.fault != "" {
				require.NoError(t, p.feeder.Break(tt.fault, false))
			}
			d, err := p.operator(nil).Probe(t.Context(), "edge-001")
			require.NoError(t, err)
			require.Equal(t, tt.reachable, d.Reachable)
			require.Contains(t, d.Summary, tt.summary)
			if tt.connect == "" {
				// The reset can arrive before or after the connection is made.
				tt.connect, tt.protocol = results(d)[fleet.CheckConnect], results(d)[fleet.CheckProtocol]
			}
			require.Equal(t, map[fleet.Check]fleet.Result{fleet.CheckName: fleet.Skipped, fleet.CheckConnect: tt.connect,
				fleet.CheckProtocol: tt.protocol, fleet.CheckReference: tt.reference}, results(d))
			var order []fleet.Check
			for _, v := range d.Verdicts {
				order = append(order, v.Check)
				require.NotEmpty(t, v.Detail)
			}
			require.Equal(t, []fleet.Check{fleet.CheckName, fleet.CheckConnect, fleet.CheckProtocol, fleet.CheckReference}, order)
			t.Log(d.Summary)
		})
	}
}

func TestDarkDeviceAndDarkReferenceIsTheWorkersOwnPath(t *testing.T) {
	p := newPlant(t)
	require.NoError(t, p.feeder.Break(sim.FaultOffline, false))
	require.NoError(t, p.reference.Close())
	_, err := p.operator(nil).Probe(t.Context(), "edge-001")
	require.Equal(t, devices.OwnPath, devices.KindOf(err))
	require.ErrorContains(t, err, "the worker's own path is down, nothing can be said of the device")
	_, err = p.operator(nil).Verify(t.Context(), "edge-001")
	require.Equal(t, devices.OwnPath, devices.KindOf(err))
}

func TestDarkDeviceWithoutAReferenceIsDarkAndSaysThatThePathIsNotKnown(t *testing.T) {
	p := newPlant(t)
	p.declare("fast-feeder", "fast-outlet", "")
	require.NoError(t, p.feeder.Break(sim.FaultOffline, false))
	d, err := p.operator(nil).Probe(t.Context(), "edge-001")
	require.NoError(t, err)
	require.False(t, d.Reachable)
	require.Contains(t, d.Summary, "Region north declares no reference, so it is not known whether the path from here is up.")
	require.Equal(t, fleet.Skipped, results(d)[fleet.CheckReference])
}

// rename puts the feeder behind a name, which no literal check of the fleet
// file sees.
func (p *plant) rename(host string) {
	p.t.Helper()
	_, port, _ := strings.Cut(p.feeder.Addr(), ":")
	f := strings.Replace(fleetText(p), p.feeder.Addr(), host+":"+port, 1)
	p.write("fleet.yaml", f)
}

func TestNameThatResolvesOutsideAllowedNetworksIsAnErrorAndNotUnreachable(t *testing.T) {
	p := newPlant(t)
	p.rename("localhost")
	p.write("fleet.yaml", strings.NewReplacer("127.0.0.0/8", "10.0.0.0/8", p.outlet.Addr(), "10.0.0.1:502", p.reference.Addr().String(), "10.0.0.2:502").Replace(fleetText(p)))
	_, err := p.operator(nil).Probe(t.Context(), "edge-001")
	require.Equal(t, devices.Auth, devices.KindOf(err))
	require.ErrorContains(t, err, "is outside allowed_networks")
}

func TestNameGetsItsOwnVerdict(t *testing.T) {
	p := newPlant(t)
	p.rename("localhost")
	d, err := p.operator(nil).Probe(t.Context(), "edge-001")
	require.NoError(t, err)
	require.True(t, d.Reachable)
	require.Equal(t, fleet.OK, results(d)[fleet.CheckName])
}

func TestCancelledProbeSaysNothingOfTheDevice(t *testing.T) {
	p := newPlant(t)
	require.NoError(t, p.feeder.Break(sim.FaultHang, false))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.operator(nil).Probe(ctx, "edge-001")
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, devices.KindOf(err))
}

func TestVerifySaysWhy(t *testing.T) {
	tests := map[string]struct {
		prepare func(p *plant)
		healthy bool
		want    string
	}{
		"healthy": {func(*plant) {}, true, "edge-001 is the fast-feeder that it should be; state is running; 6 settings equal standard 7."},
		"drifted": {func(p *plant) { p.drift() }, false, "undervoltage_trip is 90, and standard 7 wants 85 %"},
		"in another state": {func(p *plant) {
			p.write("profiles/fast-feeder.yaml", strings.Replace(profileText(p), "equals: running", "equals: fault", 1))
		},
			false, "edge-001 is not healthy: state is running, and healthy means state == fault."},
		"another device": {func(p *plant) { p.poke(8, 0x5858, 0, 0) }, false, `is not a fast-feeder: its model is "XX", and "FR-200" was expected.`},
		"dark":           {func(p *plant) { require.NoError(p.t, p.feeder.Break(sim.FaultOffline, false)) }, false, "edge-001 does not answer: TCP to "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			tt.prepare(p)
			report, err := p.operator(nil).Verify(t.Context(), "edge-001")
			require.NoError(t, err)
			require.Equal(t, tt.healthy, report.Healthy, report.Detail)
			require.Contains(t, report.Detail, tt.want)
		})
	}
}

func TestDeviceWithoutHealthConditionsAndBaselineIsHealthyWhenItAnswers(t *testing.T) {
	report, err := newPlant(t).operator(nil).Verify(t.Context(), "switch-01")
	require.NoError(t, err)
	require.Equal(t, fleet.HealthReport{DeviceID: "switch-01", Healthy: true, Detail: "switch-01 is the fast-outlet that it should be; no baseline selects it."}, report)
}

func TestOperationsCostAsFewRequestsAsTheySay(t *testing.T) {
	p := newPlant(t)
	reads := 0
	counting := &hookedDriver{Driver: p.driver, read: func(call func() error) error { reads++; return call() }}
	o := p.operator(counting)
	_, err := o.Probe(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, 1, reads, "a probe of a healthy device is one ping")
	reads = 0
	_, err = o.Drift(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, 1, reads)
	reads = 0
	_, err = o.ApplyBaseline(t.Context(), "edge-001", newMemory(), nil)
	require.NoError(t, err)
	require.Equal(t, 3, reads, "identity, interlock, settings")
	reads = 0
	_, err = o.Verify(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, 2, reads, "identity; health and settings together")
}
