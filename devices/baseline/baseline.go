package baseline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"edgefleet/devices"
	"edgefleet/devices/inventory"
	"edgefleet/devices/profile"
	"edgefleet/devices/profile/strictyaml"
)

// Baseline is one file of desired settings.
type Baseline struct {
	Name, Version string
	Profile       *profile.Profile
	File          string
	Select        Select
	// Settings, and the overrides by site and by device ID, hold canonical
	// values by the name of the setting.
	Settings        map[string]devices.Value
	Sites, ByDevice map[string]map[string]devices.Value

	// refs are the names of devices and sites that the file mentions.
	refs []reference
}

// Select says which devices of the profile a baseline is for. Fields that are
// empty match every device; a list matches any of its entries.
type Select struct {
	Labels                   map[string][]string
	Class, Site, Region, IDs []string
}

// Matches says whether the device is selected; the profile is not looked at.
func (s Select) Matches(d inventory.Device) bool {
	anyOf := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	for label, values := range s.Labels {
		if !slices.Contains(values, d.Labels[label]) {
			return false
		}
	}
	return anyOf(s.Class, d.Class) && anyOf(s.Site, d.Site) && anyOf(s.Region, d.Region) && anyOf(s.IDs, d.ID)
}

// Desired is what one device should have.
type Desired struct {
	Baseline, Version, File string
	// Settings in the order of their addresses.
	Settings []devices.Setting
}

// reference is a name that has to exist in the inventory.
type reference struct {
	site bool
	name string
	line int
}

// Set is the baselines of a fleet, resolved for its devices.
type Set struct {
	Baselines []*Baseline
	byDevice  map[string]*Baseline
}

// Resolve finds the baseline of every device. It fails with every device that
// two baselines select, and every name that the inventory does not have.
func Resolve(baselines []*Baseline, inv *inventory.Inventory) (*Set, strictyaml.Problems) {
	set := &Set{Baselines: baselines, byDevice: make(map[string]*Baseline, len(inv.Devices))}
	var problems strictyaml.Problems
	names := map[string]*Baseline{}
	for _, b := range baselines {
		if first, twice := names[b.Name]; twice {
			problems = append(problems, strictyaml.Problem{File: b.File, What: fmt.Sprintf("a second baseline is named %s; the first is %s", b.Name, first.File), Remedy: "give each its own name"})
		}
		names[b.Name] = b
		problems = append(problems, b.checkReferences(inv)...)
	}
	for _, d := range inv.Devices {
		for _, b := range baselines {
			if b.Profile.Name != d.Profile || !b.Select.Matches(d) {
				continue
			}
			if first := set.byDevice[d.ID]; first != nil {
				problems = append(problems, strictyaml.Problem{File: b.File,
					What:   fmt.Sprintf("%s is selected by %s (%s) and by %s (%s)", d.ID, first.Name, first.File, b.Name, b.File),
					Remedy: "narrow the select of one of them"})
				continue
			}
			set.byDevice[d.ID] = b
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return set, nil
}

// checkReferences finds names that match nothing: a mistyped override would
// otherwise be a wrong setting without a word.
func (b *Baseline) checkReferences(inv *inventory.Inventory) strictyaml.Problems {
	var problems strictyaml.Problems
	add := func(ref reference, what, remedy string) {
		problems = append(problems, strictyaml.Problem{File: b.File, Line: ref.line, What: what, Remedy: remedy})
	}
	for _, ref := range b.refs {
		if ref.site {
			if !slices.ContainsFunc(inv.Devices, func(d inventory.Device) bool { return d.Site == ref.name }) {
				add(ref, "no device stands at the site "+strictyaml.Quote(ref.name), "correct the name, or remove it")
			}
			continue
		}
		d, known := inv.Device(ref.name)
		switch {
		case !known:
			add(ref, "unknown device "+strictyaml.Quote(ref.name), "declare it in the fleet file, or remove it here")
		case d.Profile != b.Profile.Name:
			add(ref, fmt.Sprintf("%s has the profile %s, and the baseline is for %s", d.ID, d.Profile, b.Profile.Name), "remove it here, or correct its profile")
		case !b.Select.Matches(d):
			add(ref, fmt.Sprintf("the baseline does not select %s", d.ID), "widen its select, or remove the override")
		}
	}
	return problems
}

// For returns what the device should have, or false when no baseline selects
// it.
func (s *Set) For(d inventory.Device) (Desired, bool) {
	b := s.byDevice[d.ID]
	if b == nil {
		return Desired{}, false
	}
	values := maps.Clone(b.Settings)
	maps.Copy(values, b.Sites[d.Site])
	maps.Copy(values, b.ByDevice[d.ID])
	out := Desired{Baseline: b.Name, Version: b.Version, File: b.File, Settings: make([]devices.Setting, 0, len(values))}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		pt, _ := b.Profile.Setting(name)
		out.Settings = append(out.Settings, devices.Setting{Point: pt, Value: values[name]})
	}
	slices.SortStableFunc(out.Settings, func(x, y devices.Setting) int {
		a, b := x.Point.Modbus, y.Point.Modbus
		return cmp.Or(strings.Compare(string(a.Table), string(b.Table)), cmp.Compare(a.Address, b.Address))
	})
	return out, true
}
