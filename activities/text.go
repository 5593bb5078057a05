package activities

import (
	"fmt"
	"strings"

	"edgefleet/devices/fleet"
	"edgefleet/workflows/contract"
)

// maxShownValue bounds a value that is shown and not restored from, in bytes: a
// line of a file, or the text of a curve.
const maxShownValue = 512

func settingDrifts(list []fleet.SettingDrift) []contract.SettingDrift {
	out := make([]contract.SettingDrift, len(list))
	for i, s := range list {
		out[i] = contract.SettingDrift{Setting: s.Setting, Want: clip(s.Want, maxShownValue), Got: clip(s.Got, maxShownValue), Unit: s.Unit, Diff: s.Diff}
	}
	return out
}

// maxDriftText bounds a value in the text that names the first drifted settings.
const maxDriftText = 100

// driftText names the first drifted settings, for the device list.
func driftText(d fleet.DriftReport) string {
	const shown = 3
	parts := make([]string, 0, shown+1)
	for i, s := range d.Drifted {
		if i == shown {
			parts = append(parts, fmt.Sprintf("and %d more", len(d.Drifted)-shown))
			break
		}
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s is %s, want %s %s", s.Setting, clip(s.Got, maxDriftText), clip(s.Want, maxDriftText), s.Unit)))
	}
	return strings.Join(parts, "; ")
}

const (
	// maxActor bounds the text of an actor, in bytes, and maxDetail that of an
	// incident's end. The store refuses what is longer, and an end that is
	// refused would leave the device leased.
	maxActor  = 200
	maxDetail = 16 << 10
)

func actorText(a contract.Actor) string { return clip(a.String(), maxActor) }

// clip cuts s to at most n bytes at a rune's border.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
