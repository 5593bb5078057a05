package monitor

import (
	_ "embed"
	"os"
	"path/filepath"
)

//go:embed page/index.html
var prometheusPage []byte

// writePage puts a page where a Prometheus without pages of its own looks for
// them: its Go module carries none, and a build without them reads
// web/ui/static below a working directory that is named prometheus. A
// Prometheus with pages never looks there.
func writePage(dir string) error {
	file := filepath.Join(dir, "web", "ui", "static", "mantine-ui", "index.html")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, prometheusPage, 0o600)
}
