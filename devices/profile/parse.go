package profile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
	"edgefleet/devices/sunspec"
)

var namePattern = regexp.MustCompile(nameText)

// Parse reads a profile. The profile is nil when there is any problem; then
// all problems of the file are returned.
func Parse(file string, data []byte) (*Profile, strictyaml.Problems) {
	f := strictyaml.Parse(file, data)
	root, ok := f.Root()
	if !ok {
		return nil, f.Problems()
	}
	r := &reader{f: f, p: &Profile{
		File: file, Settle: Settle{Wait: DefaultSettleWait, UpTo: DefaultSettleUpTo},
		BackWithin: DefaultBackWithin, Quirks: Quirks{Gap: DefaultGap},
	}, names: map[string]int{}, places: map[string]string{}}
	// Which fields there are depends on the protocol: without a known one,
	// every other field would be reported as unknown.
	flavour, ok := r.flavour(root)
	if !ok {
		return nil, f.Problems()
	}
	root = root.As(flavour.File)
	r.head(root)
	r.timing(root)
	r.protocol = flavour.protocol(r, root)
	r.points(root)
	r.conditions(root)
	r.actions(root)
	r.roles(root)
	r.install(root)
	r.overlaps()
	if len(f.Problems()) > 0 {
		return nil, f.Problems()
	}
	slices.SortStableFunc(r.p.Settings, byAddress)
	slices.SortStableFunc(r.p.Measurements, byAddress)
	return r.p, nil
}

// protocol reads what the flavours have each in their own way.
type protocol interface {
	// place reads where a point stands, and its type. What is wrong is a
	// problem.
	place(m strictyaml.Map, pt *devices.Point, s section)
	// more reads settings that stand elsewhere than under settings.
	more(root strictyaml.Map)
	// action reads what an action does.
	action(m strictyaml.Map, a *Action)
	// install reads how software is installed.
	install(m strictyaml.Map, i *devices.Installation)
}

// reader carries what the parts of a profile have to know of each other.
type reader struct {
	f        *strictyaml.File
	p        *Profile
	protocol protocol
	// names has the line of every point's name.
	names map[string]int
	// places has the name of the setting at every place that is no register.
	places map[string]string
	spans  []span
}

// flavour finds out what sort of profile it is.
func (r *reader) flavour(root strictyaml.Map) (Flavour, bool) {
	p := r.p
	p.Protocol = root.NeedText("protocol", "name the protocol: "+strings.Join(Protocols(), ", "))
	if p.Protocol != "" && !slices.Contains(Protocols(), p.Protocol) {
		r.f.Add(root.KeyLine("protocol"), "unknown protocol "+strictyaml.Quote(p.Protocol), "use one of "+strings.Join(Protocols(), ", "))
	}
	if n, ok := root.Get("sunspec"); ok && p.Protocol == ModbusTCP {
		p.SunSpec, _ = n.Bool()
	}
	all := Flavours()
	i := slices.IndexFunc(all, func(f Flavour) bool { return f.Protocol == p.Protocol && f.SunSpec == p.SunSpec })
	if i < 0 {
		return Flavour{}, false
	}
	return all[i], true
}

func (r *reader) head(root strictyaml.Map) {
	p := r.p
	p.Name = root.NeedText("name", "name the profile, for example name: feeder-rtu")
	if p.Name != "" && !namePattern.MatchString(p.Name) {
		r.f.Add(root.KeyLine("name"), fmt.Sprintf("name %s is not a profile's name", strictyaml.Quote(p.Name)),
			"use lower-case letters, digits and dashes, at most 63")
	}
	p.Description = root.Text("description")
	p.Class = root.NeedText("class", "give one of "+strings.Join(Classes(), ", "))
	if p.Class != "" && !slices.Contains(Classes(), p.Class) {
		r.f.Add(root.KeyLine("class"), "unknown class "+strictyaml.Quote(p.Class), "use one of "+strings.Join(Classes(), ", "))
	}
}

func (r *reader) timing(root strictyaml.Map) {
	if m, ok := root.Mapping("quirks"); ok {
		if n, ok := m.Get("only_write_multiple"); ok {
			r.p.Quirks.OnlyWriteMultiple, _ = n.Bool()
		}
		duration(m, "gap", 0, 10*time.Second, &r.p.Quirks.Gap)
	}
	if m, ok := root.Mapping("settle"); ok {
		duration(m, "wait", 0, time.Minute, &r.p.Settle.Wait)
		duration(m, "up_to", 0, time.Minute, &r.p.Settle.UpTo)
		if r.p.Settle.Wait > r.p.Settle.UpTo {
			r.f.Add(m.Line, "settle: wait is longer than up_to", "make up_to the longer one")
		}
	}
	if m, ok := root.Mapping("restart"); ok {
		duration(m, "back_within", time.Second, 2*time.Minute, &r.p.BackWithin)
	}
}

func duration(m strictyaml.Map, key string, lo, hi time.Duration, into *time.Duration) {
	if n, ok := m.Get(key); ok {
		if d, ok := n.Duration(lo, hi); ok {
			*into = d
		}
	}
}

// roles reads which action restarts the device and which point is its
// firmware's version, after the actions and points themselves.
func (r *reader) roles(root strictyaml.Map) {
	if m, ok := root.Mapping("restart"); ok {
		r.p.RestartAction = m.Text("action")
		if _, known := r.p.Action(r.p.RestartAction); r.p.RestartAction != "" && !known {
			r.f.Add(m.KeyLine("action"), "unknown action "+strictyaml.Quote(r.p.RestartAction), "name an action of this profile, or remove it")
		}
	}
	identity := func(name string) bool {
		return slices.ContainsFunc(r.p.Identity, func(id Identity) bool { return id.Point.Name == name })
	}
	if identity(defaultFirmware) {
		r.p.Firmware = defaultFirmware
	}
	name := root.Text("firmware")
	if name == "" {
		return
	}
	r.p.Firmware = name
	if _, broken := r.names[name]; !identity(name) && !broken {
		r.f.Add(root.KeyLine("firmware"), "unknown identity point "+strictyaml.Quote(name), "name an identity point of this profile, or remove it")
	} else if _, point := r.p.Point(name); point && !identity(name) {
		r.f.Add(root.KeyLine("firmware"), name+" is not an identity point", "move it to identity, or name another")
	}
}

// catalog reads the SunSpec models, for the profiles that need them.
func (r *reader) catalog() *sunspec.Catalog {
	c, err := sunspec.NewCatalog()
	if err != nil {
		r.f.Add(0, fmt.Sprintf("the SunSpec models cannot be read: %v", err), "report it; edgefleet itself is broken")
		return &sunspec.Catalog{}
	}
	return c
}
