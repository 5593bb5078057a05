package inventory

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"edgefleet/devices"
	"edgefleet/devices/profile"
	"edgefleet/devices/profile/strictyaml"
)

// Source is one file of the fleet: its name for messages, and its text.
type Source struct {
	Name string
	Data []byte
}

// Parse reads the fleet file and the additional device files, in the terms of
// the profiles. The inventory is nil when there is any problem; then all of
// them are returned.
func Parse(fleet Source, more []Source, profiles map[string]*profile.Profile) (*Inventory, strictyaml.Problems) {
	r := &reader{inv: &Inventory{Regions: map[string]Region{}, Tags: map[string]string{}}, profiles: profiles,
		profileNames: names(profiles), seen: map[string]Device{}, places: map[string]neighbours{}, groups: map[string][]member{}}
	f := strictyaml.Parse(fleet.Name, fleet.Data)
	files := []*strictyaml.File{f}
	if root, ok := f.RootOf(Shape()); ok {
		r.f = f
		if _, ok := root.Get("fleet"); !ok {
			root.Missing("fleet", "begin with fleet: and its name, regions and security")
		} else if m, ok := root.Mapping("fleet"); ok {
			r.fleet(m)
		}
		r.regionNames = names(r.inv.Regions)
		r.devices(root)
	}
	moreDevices := DevicesShape()
	for _, s := range more {
		f := strictyaml.Parse(s.Name, s.Data)
		files = append(files, f)
		if root, ok := f.RootOf(moreDevices); ok {
			r.f = f
			r.devices(root)
		}
	}
	r.resets()
	r.redundancy()
	var problems strictyaml.Problems
	for _, f := range files {
		problems = append(problems, f.Problems()...)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	slices.SortFunc(r.inv.Devices, func(a, b Device) int { return strings.Compare(a.ID, b.ID) })
	return r.inv, nil
}

// reader carries what one declaration has to know of the others.
type reader struct {
	f        *strictyaml.File
	inv      *Inventory
	profiles map[string]*profile.Profile
	// regionNames and profileNames are what the remedies of all devices list.
	regionNames, profileNames string
	seen                      map[string]Device
	// places has the devices at each address, in the form of place.
	places  map[string]neighbours
	pending []pendingReset
	// groups has the devices of each redundancy group.
	groups map[string][]member
}

// pendingReset is checked when all devices are known.
type pendingReset struct {
	f      *strictyaml.File
	line   int
	device Device
}

func (r *reader) fleet(m strictyaml.Map) {
	r.inv.Name = m.NeedText("name", "name the fleet, for example name: edge-fleet")
	if n, ok := m.Get("monitoring"); ok {
		r.inv.Monitoring, _ = n.Bool()
	}
	r.inv.Tags = m.Texts("tags")
	if _, ok := m.Get("security"); !ok {
		m.Missing("security", "state at least security: {allowed_networks: [...]}")
	} else if s, ok := m.Mapping("security"); ok {
		r.security(s)
	}
	if n, ok := m.Get("regions"); ok {
		r.regions(n)
	} else {
		m.Missing("regions", "declare at least one, for example regions: {us-east-1: {}}")
	}
}

func (r *reader) security(m strictyaml.Map) {
	s := &r.inv.Security
	if n, ok := m.Get("enable_encryption"); ok {
		s.EnableEncryption, _ = n.Bool()
	}
	if n, ok := m.Get("rotation_period"); ok {
		s.RotationPeriod, _ = n.Duration(minRotation, maxRotation)
	}
	if n, ok := m.Get("trust_first_use"); ok {
		s.TrustFirstUse, _ = n.Bool()
	}
	r.patchKeys(m)
	list, ok := m.Get("allowed_networks")
	if !ok {
		m.Missing("allowed_networks", `list the networks of the devices, for example ["10.0.0.0/8"]`)
		return
	}
	entries, _ := list.List()
	for _, e := range entries {
		text, ok := e.Text()
		if !ok {
			continue
		}
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			e.Add(strictyaml.Quote(text)+" is not a network", "write it as 10.0.0.0/8; one address is 10.1.2.3/32")
		case p.Addr().Is4In6():
			e.Add(text+" is an IPv4 network written as IPv6", "write it as IPv4")
		case p != p.Masked():
			e.Add(fmt.Sprintf("%s has bits behind its prefix", text), fmt.Sprintf("write %s, or %s for the one address", p.Masked(), netip.PrefixFrom(p.Addr(), p.Addr().BitLen())))
		default:
			s.AllowedNetworks = append(s.AllowedNetworks, p)
		}
	}
	if len(entries) == 0 {
		list.Add("allowed_networks is empty, so no device could be dialled", `list the networks of the devices, for example ["10.0.0.0/8"]`)
	}
}

func (r *reader) regions(n strictyaml.Node) {
	m, ok := n.Map()
	if !ok {
		return
	}
	if len(m.Keys) == 0 {
		n.Add("there is no region", "declare at least one, for example regions: {us-east-1: {}}")
	}
	shape := regionShape()
	for _, name := range m.Keys {
		rn, _ := m.Get(name)
		if err := devices.ValidID(name); err != nil {
			rn.Add("region "+err.Error(), "rename the region")
		}
		region := Region{Name: name}
		if rm, ok := rn.MapOf(shape); ok {
			if an, ok := rm.Get("reference"); ok {
				region.Reference = r.address(an)
			}
		}
		r.inv.Regions[name] = region
	}
}

// address reads a host:port; a literal has to be in the allowed networks. A
// name is checked by the dialer, each time after it was resolved.
func (r *reader) address(n strictyaml.Node) string {
	text, ok := n.Text()
	if !ok {
		return ""
	}
	host, _, err := devices.SplitAddress(text)
	if err != nil {
		n.Add("address "+strictyaml.Quote(text)+" is not host:port", "write it as 10.1.2.3:502 or plc-7.example:502")
		return ""
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && len(r.inv.Security.AllowedNetworks) > 0 && !devices.Allowed(ip, r.inv.Security.AllowedNetworks):
		n.Add(fmt.Sprintf("address %s is outside allowed_networks", text), "correct the address, or allow its network in fleet.security")
	case err == nil && (ip.IsUnspecified() || ip.IsMulticast()):
		n.Add(fmt.Sprintf("address %s is not that of one device", text), "give the device's own address")
	case err != nil && !validHost(host):
		n.Add("host "+strictyaml.Quote(host)+" is neither an IP address nor a name", "write it as 10.1.2.3 or plc-7.example")
	}
	return text
}

// validHost is the rule for host names (RFC 1123), and refuses what looks
// like a mistyped IPv4 address: a name does not end in a number.
func validHost(host string) bool {
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 {
		return false
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-") || strings.Trim(strings.ToLower(l), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

func names[V any](m map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
