package fleetdir_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgefleet/devices/fleetdir"
)

// BenchmarkLoad reads a fleet of 10,000 devices.
func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/good")); err != nil {
		b.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("devices:\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "  - {id: rtu-%d, site: substation-%d, region: us-east-1, profile: feeder-rtu, address: \"10.8.%d.%d:502\", labels: {feeder: F%d}, plaintext_exception: own VLAN}\n", i, i/100, i/250, i%250, i%90)
	}
	if err := os.WriteFile(filepath.Join(dir, "devices", "many.yaml"), []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := fleetdir.Load(dir); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoadWithTemplates reads a fleet of 10,000 hosts, each of which has a
// file rendered.
func BenchmarkLoadWithTemplates(b *testing.B) {
	dir := b.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/good")); err != nil {
		b.Fatal(err)
	}
	var hosts strings.Builder
	hosts.WriteString("devices:\n")
	for i := range 10_000 {
		fmt.Fprintf(&hosts, "  - {id: gw-%d, site: substation-%d, region: us-east-1, profile: linux-gateway, address: \"10.8.%d.%d:22\", credentials: gateways, ssh: {host_keys: [\"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"]}}\n", i, i/100, i/250, i%250)
	}
	for name, text := range map[string]string{
		"devices/many.yaml":                  hosts.String(),
		"edge-configs/gateways.yaml":         "name: gateways\nversion: 1\nprofile: linux-gateway\nvalues: {interval: 10}\nsettings: {edge_config: {template: templates/config.tmpl}}\n",
		"edge-configs/templates/config.tmpl": "id: {{ .device_id }}\nsite: {{ .site }}\ninterval: {{ .settings.interval }}\n",
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := fleetdir.Load(dir); err != nil {
			b.Fatal(err)
		}
	}
}
