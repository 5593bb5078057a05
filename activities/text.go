package activities

import (
	"fmt"
	"strings"

	"edgefleet/devices/fleet"
	"edgefleet/workflows/contract"
)

func settingDrifts(list []fleet.SettingDrift) []contract.SettingDrift {
	out := make([]contract.SettingDrift, len(list))
	for i, s := range list {
		out[i] = contract.SettingDrift{Setting: s.Setting, Want: s.Want, Got: s.Got, Unit: s.Unit}
	}
	return out
}

// driftText names the first drifted settings, for the device list.
func driftText(d fleet.DriftReport) string {
	const shown = 3
	parts := make([]string, 0, shown+1)
	for i, s := range d.Drifted {
		if i == shown {
			parts = append(parts, fmt.Sprintf("and %d more", len(d.Drifted)-shown))
			break
		}
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s is %s, want %s %s", s.Setting, s.Got, s.Want, s.Unit)))
	}
	return strings.Join(parts, "; ")
}
