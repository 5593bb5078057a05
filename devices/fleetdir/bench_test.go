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
