package inventory

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"edgefleet/devices"
	"edgefleet/devices/profile"
	"edgefleet/devices/profile/strictyaml"
)

// directUnit is the unit ID of a device at its own address.
const directUnit = 255

var labelPattern = regexp.MustCompile(labelText)

func (r *reader) devices(root strictyaml.Map) {
	if _, ok := root.Get("devices"); !ok {
		root.Missing("devices", "list the devices; devices: [] for none")
		return
	}
	for _, m := range root.Mappings("devices") {
		r.device(m)
	}
}

func (r *reader) device(m strictyaml.Map) {
	d := Device{File: r.f.Name(), Line: m.Line}
	d.ID = r.identifier(m, "id", "give the device an ID, for example id: edge-001")
	d.Site = r.identifier(m, "site", "name the site where the device stands")
	d.Region = m.NeedText("region", "name one of the fleet's regions: "+r.regionNames)
	// Without any region, that is what is reported, and not each device.
	if _, known := r.inv.Regions[d.Region]; d.Region != "" && !known && len(r.inv.Regions) > 0 {
		r.f.Add(m.KeyLine("region"), "unknown region "+strictyaml.Quote(d.Region), "use one of "+r.regionNames+", or declare it under fleet.regions")
	}
	p := r.profile(m, &d)
	if n, ok := m.Get("address"); ok {
		d.Address = r.address(n)
	} else {
		m.Missing("address", "give it as host:port, for example 10.1.2.3:502")
	}
	if n, ok := m.Get("labels"); ok {
		r.labels(n, &d)
	}
	if n, ok := m.Get("plaintext_exception"); ok {
		d.PlaintextException, _ = n.Text()
		if v, _ := n.Value(); v == true || v == false || strings.TrimSpace(d.PlaintextException) == "" {
			n.Add("plaintext_exception gives no reason", "say in words why unencrypted traffic is accepted here")
		}
	}
	if p != nil {
		r.protocol(m, p, &d)
	}
	if s, ok := m.Mapping("network_reset"); ok {
		r.networkReset(s, &d)
	}
	if _, ok := m.Get("redundancy"); ok {
		d.Redundancy = r.identifier(m, "redundancy", "name the group, for example redundancy: pair-7")
	}
	if d.Redundancy != "" && devices.ValidID(d.Redundancy) == nil {
		r.groups[d.Redundancy] = append(r.groups[d.Redundancy], member{r.f, m.KeyLine("redundancy"), d})
	}
	r.unique(m, p, d)
	r.inv.Devices = append(r.inv.Devices, d)
}

func (r *reader) identifier(m strictyaml.Map, key, remedy string) string {
	id := m.NeedText(key, remedy)
	if id == "" {
		return ""
	}
	if err := devices.ValidID(id); err != nil {
		r.f.Add(m.KeyLine(key), key+" "+err.Error(), "rename it")
	}
	return id
}

func (r *reader) profile(m strictyaml.Map, d *Device) *profile.Profile {
	d.Profile = m.NeedText("profile", "name the device's model: "+r.profileNames)
	p := r.profiles[d.Profile]
	if d.Profile != "" && p == nil {
		r.f.Add(m.KeyLine("profile"), "unknown profile "+strictyaml.Quote(d.Profile), "use one of "+r.profileNames+", or add profiles/"+d.Profile+".yaml")
	}
	if n, ok := m.Get("class"); ok {
		d.Class, _ = n.Text()
		if d.Class != "" && !slices.Contains(profile.Classes(), d.Class) {
			n.Add("unknown class "+strictyaml.Quote(d.Class), "use one of "+strings.Join(profile.Classes(), ", "))
		}
	} else if p != nil {
		d.Class = p.Class
	}
	return p
}

func (r *reader) unit(n strictyaml.Node, d *Device) {
	u, ok := n.Int(0, 255)
	switch {
	case !ok:
	case u == 0:
		n.Add("unit 0 addresses every device behind the gateway at once", "give the device's own unit, 1 to 247, or leave it out")
	case u > 247 && u != directUnit:
		n.Add(fmt.Sprintf("unit %d is reserved", u), "use 1 to 247 behind a gateway, or leave it out for a device at its own address")
	default:
		d.Unit = uint8(u)
	}
}

func (r *reader) labels(n strictyaml.Node, d *Device) {
	m, ok := n.Map()
	if !ok {
		return
	}
	d.Labels = make(map[string]string, len(m.Keys))
	for _, k := range m.Keys {
		if !labelPattern.MatchString(k) {
			r.f.Add(m.KeyLine(k), fmt.Sprintf("label %s is not a label's name", strictyaml.Quote(k)), "use letters, digits and underscores, beginning with a letter, as in Prometheus")
			continue
		}
		d.Labels[k] = m.Text(k)
	}
}

func (r *reader) networkReset(m strictyaml.Map, d *Device) {
	reset := NetworkReset{
		Device: m.NeedText("device", "name the device that can reset the path"),
		Action: m.NeedText("action", "name the action of that device's profile"),
	}
	if reset.Device == "" || reset.Action == "" {
		return
	}
	d.NetworkReset = &reset
	r.pending = append(r.pending, pendingReset{f: r.f, line: m.Line, device: *d})
}

func (r *reader) knows(region string) bool {
	_, ok := r.inv.Regions[region]
	return ok
}

// resets checks the network resets once all devices are known.
func (r *reader) resets() {
	for _, p := range r.pending {
		reset := p.device.NetworkReset
		target, known := r.seen[reset.Device]
		if !known {
			p.f.Add(p.line, "network_reset names the unknown device "+strictyaml.Quote(reset.Device), "declare it, or correct the name")
			continue
		}
		switch model := r.profiles[target.Profile]; {
		case target.ID == p.device.ID:
			p.f.Add(p.line, p.device.ID+" would reset itself, and could not be reached for it", "name the switch or outlet in front of it")
		case target.Region != p.device.Region && r.knows(target.Region) && r.knows(p.device.Region):
			p.f.Add(p.line, fmt.Sprintf("network_reset names %s of region %s, and %s is in %s", target.ID, target.Region, p.device.ID, p.device.Region),
				"name a device of the same region, whose worker can reach both")
		case model == nil: // reported where the target is declared
		case len(model.Actions) == 0:
			p.f.Add(p.line, fmt.Sprintf("%s (%s) has no actions", target.ID, target.Profile), "name a switch or outlet")
		default:
			if _, ok := model.Action(reset.Action); !ok {
				p.f.Add(p.line, fmt.Sprintf("%s (%s) has no action %s", target.ID, target.Profile, strictyaml.Quote(reset.Action)), "use one of "+strings.Join(model.ActionNames(), ", "))
			}
		}
	}
}
