package service

import (
	"context"
	"io"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"edgefleet/workflows/contract"
)

func TestTheReferenceHasEveryFlagWithItsVariable(t *testing.T) {
	readme := read(t, "../README.md")
	for _, f := range app(io.Discard, io.Discard).Flags {
		name := f.Names()[0]
		require.Contains(t, readme, "| `--"+name+"` |")
		if d, ok := f.(cli.DocGenerationFlag); ok && name != "help" {
			require.NotEmpty(t, d.GetEnvVars(), name)
			for _, env := range d.GetEnvVars() {
				require.Contains(t, readme, "`"+env+"`")
			}
		}
	}
	for _, name := range contract.SearchAttributes() {
		require.Contains(t, readme, name)
	}
}

// TestTheReferenceHasEveryMetric registers what a worker registers, and asks
// the registry's own descriptions for the names.
func TestTheReferenceHasEveryMetric(t *testing.T) {
	_, temporal := newFrontend(t)
	names := newNames()
	o := options(t, temporal)
	o.Registerer, o.Gatherer = names, names
	w := started(t, o)
	require.NoError(t, w.Stop(context.Background()))
	require.Len(t, names.seen, 25)
	readme := read(t, "../README.md")
	for name := range names.seen {
		require.Contains(t, readme, "| `"+name+"` |")
	}
	for _, series := range regexp.MustCompile(`"(edge_\w+)"`).FindAllStringSubmatch(read(t, "prober.go"), -1) {
		require.Contains(t, readme, "| `"+series[1]+"` |")
	}
}
