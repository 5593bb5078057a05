package service

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/credentials"
	"edgefleet/internal/temporalx"
)

// mixedFleet declares a gateway and a controller beside the feeders, whose
// credentials are named and not there.
func mixedFleet(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(dir, "fleet.yaml")
	text := strings.Replace(read(t, file), "allowed_networks:", "rotation_period: 72h, trust_first_use: true, allowed_networks:", 1)
	text += `  - {id: gw-1, site: s1, region: north, profile: linux-gateway, address: "127.0.0.1:4", credentials: gateways}
  - {id: gw-2, site: s1, region: south, profile: linux-gateway, address: "127.0.0.1:5", credentials: gateways}
  - {id: plc-1, site: s1, region: north, profile: opcua-plc, address: "127.0.0.1:6", credentials: plant-ops}
`
	write(t, file, text, 0o600)
	return dir
}

func (w *watched) metric(name string) []float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	require.NoError(w.t, err)
	var out []float64
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				out = append(out, m.GetGauge().GetValue())
			}
		}
	}
	return out
}

func TestDevicesThatCannotBeLoggedInToAreToldAndCountedAndKeepNobodyFromServing(t *testing.T) {
	secrets := t.TempDir()
	w := watch(t, func(o *Options) {
		mixedFleet(t, o.FleetDir)
		o.CredentialsDir, o.Regions = secrets, []string{"north"}
	})
	told := w.logs.FilterMessage("devices cannot be logged in to").All()
	require.Len(t, told, 2, "each reason once, and only of the worker's own regions")
	require.Equal(t, "gateways", told[0].ContextMap()["credentials"])
	require.Equal(t, []any{"gw-1"}, told[0].ContextMap()["first"])
	require.Contains(t, told[0].ContextMap()["why"], filepath.Join(secrets, "gateways"))
	require.Equal(t, "plant-ops", told[1].ContextMap()["credentials"])
	require.Equal(t, []float64{2}, w.metric("edgefleet_credentials_missing"))
	require.Empty(t, w.metric("edgefleet_credentials_age_seconds"))
}

func TestCredentialsThatAreDueForRotationAreToldAtEveryReload(t *testing.T) {
	secrets := t.TempDir()
	require.NoError(t, credentials.NewOPCUA(secrets, "plant-ops", "urn:plant:edgefleet"))
	old := time.Now().Add(-100 * time.Hour)
	require.NoError(t, os.Chtimes(filepath.Join(secrets, "plant-ops", "tls.key"), old, old))
	w := watch(t, func(o *Options) {
		mixedFleet(t, o.FleetDir)
		o.CredentialsDir = secrets
	})
	due := func() int { return w.logs.FilterMessage("credentials are due for rotation").Len() }
	require.Equal(t, 1, due())
	require.Len(t, w.metric("edgefleet_credentials_age_seconds"), 1)
	require.InDelta(t, 100*3600, w.metric("edgefleet_credentials_age_seconds")[0], 60)
	require.Equal(t, []float64{2}, w.metric("edgefleet_credentials_missing"), "two gateways without a key; the controller has its certificate")

	require.Equal(t, []float64{1}, w.metric("edgefleet_credentials_due"))
	w.edit("rotation_period: 72h", "rotation_period: 73h")
	w.look(2)
	require.Equal(t, 2, due())
	w.edit("rotation_period: 73h", "rotation_period: 200h")
	w.look(2)
	require.Equal(t, 2, due())
	require.Equal(t, []float64{0}, w.metric("edgefleet_credentials_due"))
}

func TestAFolderOfCredentialsThatIsNotThereIsRefused(t *testing.T) {
	o := options(t, temporalx.Options{})
	o.CredentialsDir = filepath.Join(t.TempDir(), "absent")
	_, err := New(o)
	require.ErrorContains(t, err, "--credentials: the credentials folder")
}

func TestAWorkerWithoutCredentialsServesTheDevicesThatNeedNone(t *testing.T) {
	w := watch(t, func(o *Options) { mixedFleet(t, o.FleetDir) })
	require.Equal(t, []float64{3}, w.metric("edgefleet_credentials_missing"))
	require.Empty(t, w.metric("edgefleet_credentials_age_seconds"))
}
