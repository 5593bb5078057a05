package simfleet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Mix says of what kinds a fleet is, in percent that sum up to 100. The zero
// Mix is a fleet of feeders alone, all of them as their baseline wants them.
type Mix struct {
	// Modbus is feeders, and controllers whose registers are their interface.
	Modbus int
	// SunSpec is inverters and batteries, OPCUA controllers, SSH gateways.
	SunSpec, OPCUA, SSH int
}

// DefaultMix is that of a plant: mostly Modbus.
func DefaultMix() Mix { return Mix{Modbus: 70, SunSpec: 10, OPCUA: 10, SSH: 10} }

// kind is one kind's share of a mix.
type kind struct {
	name  string
	share *int
}

// kinds of a mix, in the order in which they are written.
func (m *Mix) kinds() []kind {
	return []kind{{"modbus", &m.Modbus}, {"sunspec", &m.SunSpec}, {"opcua", &m.OPCUA}, {"ssh", &m.SSH}}
}

// ParseMix reads "modbus=70,sunspec=10,opcua=10,ssh=10"; what is not named is
// 0, and nothing at all is the zero Mix.
func ParseMix(text string) (Mix, error) {
	var m Mix
	if text == "" {
		return m, nil
	}
	const remedy = "want percentages that sum up to 100, such as modbus=70,sunspec=10,opcua=10,ssh=10"
	sum := 0
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		name, number, _ := strings.Cut(strings.TrimSpace(part), "=")
		share, err := strconv.Atoi(number)
		i := slices.IndexFunc(m.kinds(), func(k kind) bool { return k.name == name })
		if i < 0 || err != nil || share < 0 || share > 100 || seen[name] {
			return Mix{}, fmt.Errorf("%q in the mix: %s", part, remedy)
		}
		seen[name] = true
		*m.kinds()[i].share = share
		sum += share
	}
	if sum != 100 {
		return Mix{}, fmt.Errorf("the mix %q sums up to %d: %s", text, sum, remedy)
	}
	return m, nil
}

// String is the inverse of ParseMix.
func (m Mix) String() string {
	if m == (Mix{}) {
		return ""
	}
	var parts []string
	for _, k := range m.kinds() {
		parts = append(parts, fmt.Sprintf("%s=%d", k.name, *k.share))
	}
	return strings.Join(parts, ",")
}

// profiles returns the profiles of the first n devices. A larger fleet of the
// same mix begins with those of the smaller one.
func (m Mix) profiles(n int) []string {
	if m == (Mix{}) {
		return slices.Repeat([]string{feederProfile}, n)
	}
	// What each kind has, one profile after another: one Modbus device in
	// seven is a controller.
	models := map[string][]string{
		"modbus":  {feederProfile, feederProfile, feederProfile, plcProfile, feederProfile, feederProfile, feederProfile},
		"sunspec": {inverterProfile, batteryProfile}, "opcua": {opcuaProfile}, "ssh": {gatewayProfile},
	}
	given := map[string]int{}
	out := make([]string, n)
	for i := range out {
		// The next device is of the kind that lags furthest behind its share.
		best, lag := "", 0
		for _, k := range m.kinds() {
			if behind := *k.share*(i+1) - 100*given[k.name]; *k.share > 0 && (best == "" || behind > lag) {
				best, lag = k.name, behind
			}
		}
		out[i] = models[best][given[best]%len(models[best])]
		given[best]++
	}
	return out
}
