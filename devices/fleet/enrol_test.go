package fleet_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
)

func TestADeviceProvesWhoItIsBeforeAnythingIsSaidToIt(t *testing.T) {
	trust := fleet.OnboardOptions{TrustFirstUse: true}
	swap := fleet.OnboardOptions{TrustFirstUse: true, AcceptReplacement: true}
	for _, c := range []struct {
		name             string
		security, states string
		pinned           string
		opts             fleet.OnboardOptions
		// pin is what is pinned afterwards, or why says why nothing is.
		pin string
		why []string
	}{
		{"the declared key is one of several", "", fmt.Sprintf("%q, %q", keyC, keyB), "", fleet.OnboardOptions{}, keyB, nil},
		{"none of the declared keys is shown", "", fmt.Sprintf("%q", keyC), "", swap, "",
			[]string{"it shows " + keyA + ", " + keyB, "the fleet file states " + keyC, "correct fleet.yaml:6"}},
		{"nothing is known, and nobody said to trust it", "trust_first_use: true", "", "", fleet.OnboardOptions{}, "",
			[]string{"it shows " + keyA, "nothing is known of it", "state it at fleet.yaml:6 as ssh: {host_keys: [\"" + keyA, "or onboard it with --trust-first-use"}},
		{"nothing is known yet, and the fleet trusts nobody", "", "unknown", "", swap, "",
			[]string{"it shows " + keyA, "nothing is known of it", "state it at fleet.yaml:6 as ssh: {host_keys: [\"" + keyA}},
		{"what was pinned does not count where the fleet trusts nobody", "", "unknown", keyA, swap, "",
			[]string{"it shows " + keyA, "nothing is known of it"}},
		{"nothing is known, and it is trusted at first", "trust_first_use: true", "", "", trust, keyA + " " + keyB, nil},
		{"the pinned key is shown", "trust_first_use: true", "", keyB + " " + keyC, fleet.OnboardOptions{}, keyB, nil},
		{"another key than the pinned one", "trust_first_use: true", "", keyC, trust, "",
			[]string{"it shows " + keyA + ", " + keyB, keyC + " is pinned since it was taken into service", "--accept-replacement --trust-first-use"}},
		{"another key than the pinned one, which nobody said to trust", "trust_first_use: true", "", keyC, fleet.OnboardOptions{AcceptReplacement: true}, "",
			[]string{"it shows " + keyA + ", " + keyB, keyC + " is pinned since it was taken into service"}},
		{"another key than the pinned one, on purpose", "trust_first_use: true", "", keyC, swap, keyA + " " + keyB, nil},
		{"the fleet file has the last word over a pin", "trust_first_use: true", fmt.Sprintf("%q", keyA), keyC, fleet.OnboardOptions{}, keyA, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGateway(t)
			g.declare(c.security, c.states)
			if c.pinned != "" {
				g.pins["gw-1"] = c.pinned
			}
			report, err := g.onboard(c.opts, newMemory())
			require.NoError(t, err)
			if c.pin != "" {
				require.Empty(t, report.Failed, report.Why)
				require.Equal(t, c.pin, report.Pin)
				require.Equal(t, []fleet.Phase{fleet.PhaseReach, fleet.PhaseEnrol, fleet.PhaseIdentify, fleet.PhaseBackUp, fleet.PhaseApply, fleet.PhaseVerify}, phasesOf(report))
				return
			}
			require.Equal(t, fleet.PhaseEnrol, report.Failed)
			require.Equal(t, devices.Auth, report.Kind)
			for _, say := range c.why {
				require.Contains(t, report.Why, say)
			}
			require.Empty(t, report.Pin)
			require.Zero(t, g.host.sent, "no credential goes to a stranger")
			require.Equal(t, 1, g.host.asked)
		})
	}
}

func TestWhatWasPinnedAtTheOnboardingCountsFromThenOn(t *testing.T) {
	g := newGateway(t)
	report, err := g.onboard(fleet.OnboardOptions{TrustFirstUse: true}, newMemory())
	require.NoError(t, err)
	g.pins["gw-1"] = report.Pin
	health, err := g.operator(nil).Verify(t.Context(), "gw-1")
	require.NoError(t, err)
	require.True(t, health.Healthy, health.Detail)

	g.host.keys = []string{keyC}
	_, err = g.operator(nil).Verify(t.Context(), "gw-1")
	require.Equal(t, devices.Auth, devices.KindOf(err))
	_, err = g.operator(nil).ApplyBaseline(t.Context(), "gw-1", newMemory(), nil)
	require.Equal(t, devices.Auth, devices.KindOf(err))
}

func TestADeviceThatShowsAKeyAndDoesNotProveItIsRefused(t *testing.T) {
	g := newGateway(t)
	liar := &lyingHost{host: g.host}
	report, err := g.operator(liar).Onboard(t.Context(), "gw-1", fleet.OnboardOptions{TrustFirstUse: true}, newMemory(), nil)
	require.NoError(t, err)
	require.Equal(t, fleet.PhaseEnrol, report.Failed)
	require.Contains(t, report.Why, "the host key is not a pinned one")
	require.Empty(t, report.Pin)
}

func TestADarkHostIsAnErrorOfReaching(t *testing.T) {
	g := newGateway(t)
	g.host.dark = true
	report, err := g.onboard(fleet.OnboardOptions{TrustFirstUse: true}, newMemory())
	require.Equal(t, devices.Unreachable, devices.KindOf(err))
	require.Equal(t, []fleet.Phase{fleet.PhaseReach}, phasesOf(report))
}

func TestMissingCredentialsAreToldAfterTheFingerprint(t *testing.T) {
	g := newGateway(t)
	require.NoError(t, os.RemoveAll(g.secrets+"/gateways"))
	report, err := g.onboard(fleet.OnboardOptions{TrustFirstUse: true}, newMemory())
	require.NoError(t, err)
	require.Equal(t, fleet.PhaseEnrol, report.Failed)
	require.Equal(t, devices.Auth, report.Kind)
	require.Contains(t, report.Why, "/gateways is not there")
}

func TestADeviceThatWasExchangedIsRefusedUnlessThatIsAccepted(t *testing.T) {
	g := newGateway(t)
	g.pins["gw-1"] = keyA
	report, err := g.onboard(fleet.OnboardOptions{Serial: "m-0000"}, newMemory())
	require.NoError(t, err)
	require.Equal(t, fleet.PhaseIdentify, report.Failed)
	require.Contains(t, report.Why, `gw-1 is in service with the serial number "m-0000", and the device at 127.0.0.1:22 says that its is "m-0001"`)
	require.Contains(t, report.Why, "onboard it with --accept-replacement")
	require.Empty(t, g.host.writes)

	report, err = g.onboard(fleet.OnboardOptions{Serial: "m-0000", AcceptReplacement: true}, newMemory())
	require.NoError(t, err)
	require.Empty(t, report.Failed, report.Why)
	require.Equal(t, "m-0001", report.Identity["serial"])
}

func TestAnExchangedDeviceOfAProtocolThatProvesNothingIsFoundByItsSerialNumber(t *testing.T) {
	p := newPlant(t)
	p.drift()
	report, err := p.operator(nil).Onboard(t.Context(), "edge-001", fleet.OnboardOptions{Serial: "NL-edge-777"}, newMemory(), nil)
	require.NoError(t, err)
	require.Equal(t, fleet.PhaseIdentify, report.Failed)
	require.Contains(t, report.Why, `"NL-edge-777"`)
	require.Contains(t, report.Why, `"NL-edge-001"`)
	require.Empty(t, p.writes())
}

func TestTheFingerprintsOfADeviceAreShownBesideWhatIsKnown(t *testing.T) {
	for _, c := range []struct {
		name, states, pinned string
		verdict              fleet.ShownVerdict
	}{
		{"nothing is known", "", "", fleet.ShownUnpinned},
		{"it is declared", fmt.Sprintf("%q", keyA), "", fleet.ShownDeclared},
		{"it is pinned", "", keyB, fleet.ShownPinned},
		{"another is declared", fmt.Sprintf("%q", keyC), keyA, fleet.ShownDiffers},
		{"another is pinned", "", keyC, fleet.ShownDiffers},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGateway(t)
			g.declare("trust_first_use: true", c.states)
			if c.pinned != "" {
				g.pins["gw-1"] = c.pinned
			}
			shown, err := g.operator(nil).Fingerprints(t.Context(), "gw-1")
			require.NoError(t, err)
			require.Equal(t, []string{keyA, keyB}, shown.Fingerprints)
			require.Equal(t, c.verdict, shown.Verdict)
			require.Equal(t, fmt.Sprintf("ssh: {host_keys: [%q, %q]}", keyA, keyB), shown.State)
			require.Zero(t, g.host.sent)
		})
	}
	_, err := newPlant(t).operator(nil).Fingerprints(t.Context(), "edge-001")
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
	require.ErrorContains(t, err, "over modbus-tcp a device cannot prove who it is")
}

// The first contact with a device of a fleet that trusts nobody: it is declared
// with a fingerprint that is not known yet, asked what it shows, and spoken to
// by nobody until that is stated.
func TestADeviceWhoseFingerprintIsNotKnownYetIsAskedForItAndNothingElse(t *testing.T) {
	g := newGateway(t)
	g.declare("", "unknown")
	shown, err := g.operator(nil).Fingerprints(t.Context(), "gw-1")
	require.NoError(t, err)
	require.Equal(t, fleet.ShownUnpinned, shown.Verdict)
	require.Equal(t, []string{keyA, keyB}, shown.Fingerprints)
	_, err = g.operator(nil).Drift(t.Context(), "gw-1")
	require.Equal(t, devices.Auth, devices.KindOf(err))
	require.ErrorContains(t, err, "state its fingerprint at fleet.yaml:6 as ssh: {host_keys: [...]} (edgefleet device fingerprint gw-1 shows it)")
	require.NotContains(t, err.Error(), "--trust-first-use", "which this fleet does not allow")
	_, err = g.operator(nil).ApplyBaseline(t.Context(), "gw-1", newMemory(), nil)
	require.Equal(t, devices.Auth, devices.KindOf(err))
	require.Zero(t, g.host.sent, "no credential goes to a stranger")
	require.Empty(t, g.host.writes)
}
