package fleet

import (
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"edgefleet/devices"
)

// Bounds of the diffs of a report: what a person reads, and what an answer has
// room for beside everything else.
const (
	maxDiffLines = 200
	maxDiffLine  = 500
	maxDiffBytes = 8 << 10
	maxDiffs     = 64 << 10
)

// addDiffs shows how files differ, as far as there is room for it.
func addDiffs(report *DriftReport, settings []devices.Setting, got []devices.Value) {
	at := make(map[string]int, len(settings))
	for i, s := range settings {
		at[s.Point.Name] = i
	}
	room := maxDiffs
	for i := range report.Drifted {
		d := &report.Drifted[i]
		s := settings[at[d.Setting]]
		if s.Point.Secret || s.Point.Host == nil || s.Point.Host.Kind != devices.HostFile {
			continue
		}
		d.Diff = FileDiff(s.Point.Host.Path, s.Value, got[at[d.Setting]])
		if room -= len(d.Diff); room < 0 {
			d.Diff = "(not shown: the files before it leave no room)\n"
		}
	}
}

// FileDiff is the unified diff of a file from what is wanted to what is there,
// at most 8 KiB and 200 lines; it says when there is more. That one of the two
// has no content is said in words.
func FileDiff(path string, want, got devices.Value) string {
	from, to := fileText(want), fileText(got)
	switch {
	case from == devices.HostAbsent:
		return fmt.Sprintf("(the baseline wants no %s)\n", path)
	case to == devices.HostAbsent:
		return fmt.Sprintf("(the device has no %s)\n", path)
	case strings.HasPrefix(to, devices.HostNotText), strings.HasPrefix(to, devices.HostTooLong):
		return fmt.Sprintf("(%s is %s\n", path, strings.TrimPrefix(to, "("))
	}
	diff, err := udiff.ToUnified("baseline "+path, "device "+path, from, udiff.Lines(from, to), udiff.DefaultContextLines)
	if err != nil {
		// The edits are of this very text, so they always fit it.
		return fmt.Sprintf("(no diff: %v)\n", err)
	}
	return cutDiff(diff)
}

func fileText(v devices.Value) string {
	s, _ := v.(string)
	return s
}

// cutDiff keeps a diff within the bounds, in whole lines but for those that are
// too long to read.
func cutDiff(diff string) string {
	lines := strings.SplitAfter(strings.TrimSuffix(diff, "\n"), "\n")
	var b strings.Builder
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\n")
		if len(line) > maxDiffLine {
			line = strings.ToValidUTF8(line[:maxDiffLine], "") + "…"
		}
		full := i == maxDiffLines-1 && len(lines) > maxDiffLines
		if full || b.Len()+len(line) > maxDiffBytes-64 {
			fmt.Fprintf(&b, "(and %s more)\n", count(len(lines)-i, "line"))
			break
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
