package baseline

import (
	"fmt"
	"slices"

	"edgefleet/devices"
	"edgefleet/devices/inventory"
	"edgefleet/devices/profile"
	"edgefleet/devices/profile/strictyaml"
	"edgefleet/devices/template"
)

// Baseline is one file of desired settings.
type Baseline struct {
	Name, Version string
	Profile       *profile.Profile
	File          string
	Select        Select
	// Part is what holds for every device, unless an override of its site or
	// of itself says otherwise.
	Part
	// Sites and ByDevice are the overrides, by site and by device ID.
	Sites, ByDevice map[string]Part
	// refs are the names of devices and sites that the file mentions.
	refs []reference
	// templates are those that the file names, by their paths.
	templates map[string]*template.Template
}

// Part is the settings at one place of a baseline.
type Part struct {
	// Values are what templates name as .settings: YAML scalars, lists ([]any)
	// and mappings (map[string]any) of these.
	Values map[string]any
	// Settings are by the name of the setting. Curves are among them.
	Settings map[string]Setting
	// Ignore names settings that are changed by others there: they are neither
	// compared nor written, unless a part that goes before this one sets them.
	Ignore []string
}

// Setting is what one setting shall be.
type Setting struct {
	// Value is canonical, and nil where Template has the path of the template
	// that it is rendered from, below edge-configs.
	Value    devices.Value
	Template string
	// Line is where it stands in the file.
	Line int
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

// Selects says whether the baseline is for the device: it has the profile and
// is selected.
func (b *Baseline) Selects(d inventory.Device) bool {
	return b.Profile.Name == d.Profile && b.Select.Matches(d)
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
	byDevice  map[string]selected
}

// selected is a device with its baseline, which is known to resolve for it.
type selected struct {
	device   inventory.Device
	baseline *Baseline
}

// Resolve finds the baseline of every device, and renders what it renders from
// templates. It fails with every device that two baselines select, every name
// that the inventory does not have, and everything that cannot be rendered.
func Resolve(baselines []*Baseline, inv *inventory.Inventory) (*Set, strictyaml.Problems) {
	set := &Set{Baselines: baselines, byDevice: make(map[string]selected, len(inv.Devices))}
	var problems strictyaml.Problems
	names := map[string]*Baseline{}
	sites := sitesOf(inv)
	for _, b := range baselines {
		if first, twice := names[b.Name]; twice {
			problems = append(problems, strictyaml.Problem{File: b.File, What: fmt.Sprintf("a second baseline is named %s; the first is %s", b.Name, first.File), Remedy: "give each its own name"})
		}
		names[b.Name] = b
		problems = append(problems, b.checkReferences(inv, sites)...)
	}
	var wrong rendered
	for _, d := range inv.Devices {
		for _, b := range baselines {
			if !b.Selects(d) {
				continue
			}
			if first := set.byDevice[d.ID].baseline; first != nil {
				problems = append(problems, strictyaml.Problem{File: b.File,
					What:   fmt.Sprintf("%s is selected by %s (%s) and by %s (%s)", d.ID, first.Name, first.File, b.Name, b.File),
					Remedy: "narrow the select of one of them"})
				continue
			}
			set.byDevice[d.ID] = selected{d, b}
			wrong.check(b, d)
		}
	}
	problems = append(problems, wrong.problems()...)
	if len(problems) > 0 {
		return nil, problems
	}
	return set, nil
}

// Check resolves one baseline for the devices of the inventory, whatever other
// baselines they have. It returns the devices that it selects, or everything
// that is wrong.
func (b *Baseline) Check(inv *inventory.Inventory) ([]inventory.Device, strictyaml.Problems) {
	problems := b.checkReferences(inv, sitesOf(inv))
	var selected []inventory.Device
	var wrong rendered
	for _, d := range inv.Devices {
		if b.Selects(d) {
			selected = append(selected, d)
			wrong.check(b, d)
		}
	}
	if problems = append(problems, wrong.problems()...); len(problems) > 0 {
		return nil, problems
	}
	return selected, nil
}

// Ignored says which settings of the device are neither compared nor written,
// whatever it was given before. It renders nothing.
func (s *Set) Ignored(d inventory.Device) map[string]bool {
	found := s.byDevice[d.ID]
	if found.baseline == nil {
		return nil
	}
	return found.baseline.ignored(found.device)
}

func sitesOf(inv *inventory.Inventory) map[string]bool {
	sites := map[string]bool{}
	for _, d := range inv.Devices {
		sites[d.Site] = true
	}
	return sites
}

// checkReferences finds names that match nothing: a mistyped override would
// otherwise be a wrong setting without a word.
func (b *Baseline) checkReferences(inv *inventory.Inventory, sites map[string]bool) strictyaml.Problems {
	var problems strictyaml.Problems
	add := func(ref reference, what, remedy string) {
		problems = append(problems, strictyaml.Problem{File: b.File, Line: ref.line, What: what, Remedy: remedy})
	}
	for _, ref := range b.refs {
		if ref.site {
			if !sites[ref.name] {
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

// Baseline returns the baseline that selects the device, if there is one. It
// renders nothing.
func (s *Set) Baseline(deviceID string) (*Baseline, bool) {
	found := s.byDevice[deviceID].baseline
	return found, found != nil
}

// For returns what the device should have, or false when no baseline selects
// it.
func (s *Set) For(d inventory.Device) (Desired, bool) {
	found := s.byDevice[d.ID]
	if found.baseline == nil {
		return Desired{}, false
	}
	desired, err := found.baseline.For(found.device)
	if err != nil {
		// Resolve has rendered the same for this very device.
		panic(err)
	}
	return desired, true
}
