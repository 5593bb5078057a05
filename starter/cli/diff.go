package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"edgefleet/workflows/contract"
)

// Colourful says whether what is written to out may be coloured: it is a
// terminal that can, and NO_COLOR (see no-color.org) does not forbid it.
func Colourful(out *os.File, getenv func(string) string) bool {
	if getenv("NO_COLOR") != "" || getenv("TERM") == "dumb" {
		return false
	}
	info, err := out.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

const (
	red   = "\x1b[31m"
	green = "\x1b[32m"
	plain = "\x1b[0m"
)

// driftDiff shows a device against its baseline as a diff: what is wanted and
// not there as "-", what is there instead as "+".
func (a *App) driftDiff(w io.Writer, d *contract.DriftReport) {
	switch {
	case d.Baseline == "":
		fmt.Fprintf(w, "%s: no baseline selects this device, so there is nothing to compare\n", oneLine(d.DeviceID))
		return
	case len(d.Drifted) == 0:
		fmt.Fprintf(w, "%s: in sync with %s (%d settings read%s)\n", oneLine(d.DeviceID), baselineName(d), d.Checked, ignoredText(d))
		return
	}
	fmt.Fprintf(w, "%s: %d of %d settings differ%s\n\n", oneLine(d.DeviceID), len(d.Drifted), d.Checked, ignoredText(d))
	a.colour(w, red, "--- want: "+baselineName(d))
	a.colour(w, green, "+++ got:  "+oneLine(d.DeviceID))
	for i, line := range diffLines(d.Drifted) {
		a.colour(w, []string{red, green}[i%2], line)
	}
	for _, s := range d.Drifted {
		a.fileDiff(w, s)
	}
}

// ignoredText names the settings that were left to others, after what was said
// of those that were compared.
func ignoredText(d *contract.DriftReport) string {
	if len(d.Ignored) == 0 {
		return ""
	}
	return "; ignored: " + oneLine(strings.Join(d.Ignored, ", "))
}

// fileDiff shows how a file differs, below the digests by which it is known to.
func (a *App) fileDiff(w io.Writer, s contract.SettingDrift) {
	if s.Diff == "" {
		return
	}
	fmt.Fprintf(w, "\n%s\n", oneLine(s.Setting))
	for _, line := range strings.Split(strings.TrimSuffix(s.Diff, "\n"), "\n") {
		code := ""
		switch {
		case strings.HasPrefix(line, "-"):
			code = red
		case strings.HasPrefix(line, "+"):
			code = green
		}
		a.colour(w, code, oneLine(line))
	}
}

func baselineName(d *contract.DriftReport) string {
	return strings.TrimSpace(oneLine(d.Baseline + " " + d.Version))
}

// diffLines returns two aligned lines for each setting, "-" before "+".
func diffLines(drifted []contract.SettingDrift) []string {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range drifted {
		for _, side := range []struct{ sign, value string }{{"-", s.Want}, {"+", s.Got}} {
			fmt.Fprintf(tw, "%s %s\t%s\n", side.sign, oneLine(s.Setting), strings.TrimSpace(oneLine(side.value+" "+s.Unit)))
		}
	}
	_ = tw.Flush()
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func (a *App) colour(w io.Writer, code, line string) {
	if a.opts.Colour && code != "" {
		line = code + line + plain
	}
	fmt.Fprintln(w, line)
}
