package fleet_test

import (
	"context"
	"crypto/sha1" // OPC UA tools show the SHA-1 of a certificate.
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/modbus"
	"edgefleet/devices/opcua"
	"edgefleet/devices/sim"
	"edgefleet/devices/sim/opcuasim"
	"edgefleet/devices/sshhost"
	"edgefleet/devices/sunspec"
	"edgefleet/devices/sunspec/sunspecsim"
)

// site is a fleet directory of devices that speak for themselves over their own
// protocols, with the real drivers.
type site struct {
	t            *testing.T
	dir, secrets string
	drivers      []devices.Driver
	pins         pinBoard
}

func newSite(t *testing.T) *site {
	t.Helper()
	m, u, h := modbus.New(modbus.Options{}), opcua.New(opcua.Options{}), sshhost.New(sshhost.Options{})
	t.Cleanup(m.Close)
	t.Cleanup(u.Close)
	t.Cleanup(h.Close)
	return &site{t: t, dir: t.TempDir(), secrets: t.TempDir(), drivers: []devices.Driver{m, u, h}, pins: pinBoard{}}
}

func (s *site) write(dir, name, text string) {
	s.t.Helper()
	file := filepath.Join(dir, filepath.FromSlash(name))
	require.NoError(s.t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(s.t, os.WriteFile(file, []byte(text), 0o600))
}

// declare writes the fleet file, with lines of devices.
func (s *site) declare(trustFirst bool, lines ...string) {
	text := fmt.Sprintf(`fleet:
  name: site
  regions: {north: {}}
  security: {allowed_networks: [127.0.0.0/8], trust_first_use: %t}
devices:
`, trustFirst)
	for _, line := range lines {
		text += "  - " + line + "\n"
	}
	s.write(s.dir, "fleet.yaml", text)
}

func (s *site) operator() *fleet.Operator {
	s.t.Helper()
	f, err := fleetdir.Load(s.dir)
	require.NoError(s.t, err)
	secrets, err := credentials.Open(s.secrets)
	require.NoError(s.t, err)
	models, err := sunspec.NewCatalog()
	require.NoError(s.t, err)
	o, err := fleet.New(fleet.Options{Fleet: f, Drivers: s.drivers, Credentials: secrets, Pins: s.pins, SunSpec: models,
		ConnectTimeout: 5 * time.Second, ResponseTimeout: 5 * time.Second})
	require.NoError(s.t, err)
	return o
}

func (s *site) onboard(id string, opts fleet.OnboardOptions) fleet.OnboardReport {
	s.t.Helper()
	report, err := s.operator().Onboard(s.t.Context(), id, opts, newMemory(), nil)
	require.NoError(s.t, err)
	if report.Failed == "" {
		s.pins[id] = report.Pin
	}
	return report
}

const plcPassword = "a password of the test"

// plcIdentity is made once: a key takes a while.
var plcIdentity = sync.OnceValues(opcuasim.NewIdentity)

// newPLC is a site with a controller that takes a certificate and a password.
func newPLC(t *testing.T) (*site, *opcuasim.Device) {
	s := newSite(t)
	require.NoError(t, credentials.NewOPCUA(s.secrets, "plant-ops", "urn:site:edgefleet"))
	s.write(s.secrets, "plant-ops/username", "edgefleet\n")
	s.write(s.secrets, "plant-ops/password", plcPassword+"\n")
	text, err := os.ReadFile(filepath.Join(s.secrets, "plant-ops", credentials.TLSCert))
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	ours, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	identity, err := plcIdentity()
	require.NoError(t, err)
	plc, err := opcuasim.Start(opcuasim.Config{ID: "plc-1", Identity: identity, User: "edgefleet", Password: plcPassword,
		Trusted: []*x509.Certificate{ours}, Boot: 20 * time.Millisecond, Init: time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, plc.Close()) })
	s.write(s.dir, "edge-configs/pumps.yaml", "name: pumps\nversion: 2\nprofile: opcua-plc\nsettings: {pump_setpoint: 70.5, mode: manual, station_name: North}\n")
	return s, plc
}

func plcLine(plc *opcuasim.Device, security string) string {
	return fmt.Sprintf(`{id: plc-1, site: s1, region: north, profile: opcua-plc, address: %q, credentials: plant-ops, opcua: {%s}}`, plc.Addr(), security)
}

func TestAControllerIsOnboardedOverOPCUAByWhatItProves(t *testing.T) {
	identity, err := plcIdentity()
	require.NoError(t, err)
	sum := sha1.Sum(identity.Certificate.Raw)
	for _, c := range []struct {
		name, security, pin string
	}{
		{"its SHA-256 is declared", fmt.Sprintf("thumbprint: %q", identity.Thumbprint()), identity.Thumbprint()},
		{"its SHA-1 is declared", fmt.Sprintf("thumbprint: %q", hex.EncodeToString(sum[:])), hex.EncodeToString(sum[:])},
		{"it is trusted at first", "", identity.Thumbprint()},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, plc := newPLC(t)
			s.declare(true, plcLine(plc, c.security))
			report := s.onboard("plc-1", fleet.OnboardOptions{TrustFirstUse: true})
			require.Empty(t, report.Failed, report.Why)
			require.Equal(t, c.pin, report.Pin)
			require.Equal(t, []string{"Northline", "PLC-400"}, []string{report.Identity["maker"], report.Identity["model"]})
			require.Equal(t, []string{"pump_setpoint", "mode", "station_name"}, changedBy(report))
			got, err := plc.Peek("Pump.Setpoint")
			require.NoError(t, err)
			require.Equal(t, 70.5, got)

			found, err := s.operator().Drift(t.Context(), "plc-1")
			require.NoError(t, err)
			require.Equal(t, []int{3, 0}, []int{found.Checked, len(found.Drifted)}, "what was pinned is what counts from then on")
		})
	}
}

func TestAControllerWithAnotherCertificateIsRefusedBeforeAnyPasswordIsSent(t *testing.T) {
	s, plc := newPLC(t)
	identity, err := plcIdentity()
	require.NoError(t, err)
	s.declare(true, plcLine(plc, ""))
	s.pins["plc-1"] = "00" + identity.Thumbprint()[2:]
	report := s.onboard("plc-1", fleet.OnboardOptions{TrustFirstUse: true})
	require.Equal(t, fleet.PhaseEnrol, report.Failed)
	require.Contains(t, report.Why, "it shows "+identity.Thumbprint())
	require.Contains(t, report.Why, s.pins["plc-1"]+" is pinned")
	require.Empty(t, plc.Writes())

	shown, err := s.operator().Fingerprints(t.Context(), "plc-1")
	require.NoError(t, err)
	require.Equal(t, fleet.ShownDiffers, shown.Verdict)
	require.Equal(t, fmt.Sprintf("opcua: {thumbprint: %q}", identity.Thumbprint()), shown.State)

	sha1 := "0123456789abcdef0123456789abcdef01234567"
	s.declare(false, plcLine(plc, fmt.Sprintf("thumbprint: %q", sha1)))
	report = s.onboard("plc-1", fleet.OnboardOptions{})
	require.Equal(t, fleet.PhaseEnrol, report.Failed)
	require.Contains(t, report.Why, identity.Thumbprint(), "the driver names what was shown")
	shown, err = s.operator().Fingerprints(t.Context(), "plc-1")
	require.NoError(t, err)
	require.Equal(t, fleet.ShownUnknown, shown.Verdict)
}

// twoFaced shows the certificate of another endpoint of the server as well.
type twoFaced struct {
	*opcua.Driver
	other string
}

func (d twoFaced) Fingerprints(ctx context.Context, ep devices.Endpoint) ([]string, error) {
	own, err := d.Driver.Fingerprints(ctx, ep)
	return append(own, d.other), err
}

func TestAControllerThatShowsSeveralCertificatesIsNotTrustedByAGuess(t *testing.T) {
	s, plc := newPLC(t)
	identity, err := plcIdentity()
	require.NoError(t, err)
	other := "00" + identity.Thumbprint()[2:]
	s.drivers[1] = twoFaced{s.drivers[1].(*opcua.Driver), other}
	s.declare(true, plcLine(plc, ""))
	report := s.onboard("plc-1", fleet.OnboardOptions{TrustFirstUse: true})
	require.Equal(t, fleet.PhaseEnrol, report.Failed)
	require.Contains(t, report.Why, "it shows 2 certificates ("+other)
	require.Contains(t, report.Why, "which is its own is not to be guessed")
	require.Empty(t, plc.Writes())
	s.declare(true, plcLine(plc, fmt.Sprintf("thumbprint: %q", identity.Thumbprint())))
	require.Empty(t, s.onboard("plc-1", fleet.OnboardOptions{}).Failed, "what is stated is no guess")
}

func TestAControllerWhosePasswordIsWrongIsReachable(t *testing.T) {
	s, plc := newPLC(t)
	identity, err := plcIdentity()
	require.NoError(t, err)
	s.declare(false, plcLine(plc, fmt.Sprintf("thumbprint: %q", identity.Thumbprint())))
	require.NoError(t, os.Remove(filepath.Join(s.secrets, "plant-ops", credentials.Password)))
	found, err := s.operator().Probe(t.Context(), "plc-1")
	require.NoError(t, err)
	require.True(t, found.Reachable)
	require.Contains(t, found.Summary, "It cannot be logged in to: ")
	require.Contains(t, found.Summary, "plant-ops/password")
	plc.PowerOff()
	found, err = s.operator().Probe(t.Context(), "plc-1")
	require.NoError(t, err)
	require.False(t, found.Reachable)
}

func TestAnActionThatCallsAMethodIsDoneOnceAndConfirmed(t *testing.T) {
	s, plc := newPLC(t)
	identity, err := plcIdentity()
	require.NoError(t, err)
	// The controller's own restart is what brings the way behind it back.
	s.declare(false, plcLine(plc, fmt.Sprintf("thumbprint: %q", identity.Thumbprint())),
		fmt.Sprintf(`{id: edge-001, site: s1, region: north, profile: feeder-rtu, address: %q, network_reset: {device: plc-1, action: restart}}`, newPlant(t).feeder.Addr()))
	j := newMemory()
	report, err := s.operator().Reset(t.Context(), "edge-001", j, nil)
	require.NoError(t, err)
	require.Equal(t, []any{fleet.ResetDone, true, "plc-1 restart"}, []any{report.Outcome, report.CameBack, report.Via})
	require.Len(t, plc.Writes(), 1)
	require.EqualValues(t, 1, plc.Writes()[0].Count)
	require.Equal(t, []fleet.Outcome{fleet.Applied}, j.outcomes())
	_, err = s.operator().Reset(t.Context(), "edge-001", j, nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, plc.Writes()[0].Count, "it has its result")
}

func TestAnInverterIsBroughtToItsBaselineCurvesIncluded(t *testing.T) {
	s := newSite(t)
	cfg := sunspecsim.Inverter("PV-0001")
	cfg.Sim = sim.Config{ID: "pv-1", Init: time.Millisecond}
	inverter, err := sunspecsim.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, inverter.Close()) })
	s.write(s.dir, "edge-configs/inverters.yaml", `name: inverters
version: 4
profile: sunspec-inverter
settings: {121.WMax: 45000}
curves:
  705: {RspTms: 7, points: [[92, 40], [98, 0], [102, 0], [108, -40]]}
`)
	s.declare(false, fmt.Sprintf("{id: pv-1, site: s1, region: north, profile: sunspec-inverter, address: %q}", inverter.Addr()))
	before, err := s.operator().Drift(t.Context(), "pv-1")
	require.NoError(t, err)
	require.Len(t, before.Drifted, 3)
	j := newMemory()
	report, err := s.operator().Onboard(t.Context(), "pv-1", fleet.OnboardOptions{}, j, nil)
	require.NoError(t, err)
	require.Empty(t, report.Failed, report.Why)
	require.Equal(t, "PV-0001", report.Identity["serial"])
	require.Len(t, report.Changed, 3)
	found, err := s.operator().Drift(t.Context(), "pv-1")
	require.NoError(t, err)
	require.Empty(t, found.Drifted)
	require.Contains(t, j.captured, "710.Ena", "everything that the profile knows is kept")

	without, err := fleetdir.Load(s.dir)
	require.NoError(t, err)
	_, err = fleet.New(fleet.Options{Fleet: without, Drivers: s.drivers})
	require.ErrorContains(t, err, "pv-1 (sunspec-inverter) has the points of SunSpec models, and this program has none")
}
