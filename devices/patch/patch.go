package patch

import (
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"edgefleet/devices"
	"edgefleet/devices/baseline"
	"edgefleet/devices/inventory"
	"edgefleet/devices/profile"
	"edgefleet/devices/profile/strictyaml"
)

// Dir is the folder of patches in a fleet directory.
const Dir = "patches"

const (
	nameText    = `^[a-z0-9][a-z0-9._-]{0,62}$`
	digestText  = `^[0-9a-f]{64}$`
	versionText = `^[^\s]{1,100}$`
)

var (
	namePattern    = regexp.MustCompile(nameText)
	versionPattern = regexp.MustCompile(versionText)
)

// Patch is one declared patch. It is not changed after it was read.
type Patch struct {
	Name, Profile, Version string
	// File is where the artifact stands: an absolute path, or one below Dir or
	// the worker's folder of artifacts.
	File string
	// SHA256 is its hash in hexadecimal digits, Size its bytes.
	SHA256 string
	Size   int64
	// Released is the day, in UTC, since when the patch is owed.
	Released time.Time
	Notes    string
	Select   baseline.Select
	// Exceptions are devices that somebody has excepted from the patch.
	Exceptions []Exception
	// Source is the file that declares it, and Text what stands there.
	Source, Text string

	idsLine int
}

// Exception is devices to which a patch is not to come before a day: somebody has
// decided that, and said why. It changes reports, and no plan.
type Exception struct {
	IDs        []string
	By, Reason string
	// Until is the first day, in UTC, on which it does not hold any more.
	Until time.Time
}

// Exception returns the exception that holds for a device at a time, if one
// does.
func (p *Patch) Exception(id string, now time.Time) (Exception, bool) {
	i := slices.IndexFunc(p.Exceptions, func(e Exception) bool { return slices.Contains(e.IDs, id) && now.Before(e.Until) })
	if i < 0 {
		return Exception{}, false
	}
	return p.Exceptions[i], true
}

// Selects says whether the patch is for the device: it has the profile and is
// selected.
func (p *Patch) Selects(d inventory.Device) bool {
	return p.Profile == d.Profile && p.Select.Matches(d)
}

// Shape says what may stand in the file of a patch. The reader and the JSON
// Schema are made of it.
func Shape() strictyaml.Shape {
	return strictyaml.MappingOf("Software that devices of a profile are to run",
		strictyaml.Need("name", strictyaml.Matching("Names the patch: lower-case letters, digits, dots, dashes and underscores", nameText)),
		strictyaml.Need("profile", strictyaml.TextOf("The profile of the devices that it is for; it says how patches are installed")),
		strictyaml.Need("version", strictyaml.TextOf("What the device says of itself once it runs it")),
		strictyaml.Need("file", strictyaml.TextOf("The artifact: a path below patches, below the worker's folder of artifacts, or absolute. Its signature stands beside it, as .minisig")),
		strictyaml.Need("sha256", strictyaml.Matching("The artifact's SHA-256, 64 hexadecimal digits", digestText)),
		strictyaml.Need("size", strictyaml.WholeOf("The artifact's bytes", 1, devices.MaxArtifact)),
		strictyaml.Need("released", strictyaml.TextOf("The day since when it is owed: 2026-11-01")),
		strictyaml.May("select", baseline.SelectShape("Which devices of the profile it is for: all of these have to match, a list is any of; every device, when it is left out")),
		strictyaml.May("exceptions", strictyaml.ListOf("Devices to which it is not to come for now; reports say so, and plans do not look at it",
			strictyaml.MappingOf("An exception",
				strictyaml.Need("ids", someIDs()),
				strictyaml.Need("by", strictyaml.TextOf("Who has decided it")),
				strictyaml.Need("reason", strictyaml.TextOf("Why, and what protects the devices meanwhile")),
				strictyaml.Need("until", strictyaml.TextOf("The day on which it ends: 2027-01-31"))))),
		strictyaml.May("notes", strictyaml.TextOf("What it is for, for people")))
}

func someIDs() strictyaml.Shape {
	ids := strictyaml.ListOf("IDs of devices", strictyaml.TextOf(""))
	ids.Some = true
	return ids
}

// Parse reads one patch in the terms of the profiles. It is nil when there is
// any problem; then all of the file's problems are returned. The artifact itself
// is not looked at.
func Parse(file string, data []byte, profiles map[string]*profile.Profile) (*Patch, strictyaml.Problems) {
	f := strictyaml.Parse(file, data)
	root, ok := f.RootOf(Shape())
	if !ok {
		return nil, f.Problems()
	}
	r := reader{f, &Patch{Source: file, Text: string(data)}}
	r.head(root, profiles)
	r.artifact(root)
	r.p.Released = r.day(root, "released", "give the day since when it is owed, for example released: 2026-11-01")
	r.exceptions(root)
	if m, ok := root.Mapping("select"); ok {
		r.p.Select = baseline.ReadSelect(m)
		r.p.idsLine = m.KeyLine("ids")
	}
	r.p.Notes = root.Text("notes")
	if problems := f.Problems(); len(problems) > 0 {
		return nil, problems
	}
	return r.p, nil
}

type reader struct {
	f *strictyaml.File
	p *Patch
}

func (r reader) head(root strictyaml.Map, profiles map[string]*profile.Profile) {
	r.p.Name = root.NeedText("name", "name the patch, for example name: edge-agent-3.3.0")
	if r.p.Name != "" && !namePattern.MatchString(r.p.Name) {
		r.f.Add(root.KeyLine("name"), fmt.Sprintf("name %s is not a patch's name", strictyaml.Quote(r.p.Name)), "use lower-case letters, digits, dots, dashes and underscores, at most 63")
	}
	known := strings.Join(slices.Sorted(maps.Keys(profiles)), ", ")
	r.p.Profile = root.NeedText("profile", "name the profile: "+known)
	switch p := profiles[r.p.Profile]; {
	case r.p.Profile == "":
	case p == nil:
		r.f.Add(root.KeyLine("profile"), "unknown profile "+strictyaml.Quote(r.p.Profile), "use one of "+known)
	case p.Install == nil:
		r.f.Add(root.KeyLine("profile"), fmt.Sprintf("the profile %s does not say how patches are installed", p.Name), "add install to "+p.File+", or to a copy of it in profiles")
	}
	r.p.Version = root.NeedText("version", "give what the device says once it runs it, for example version: 3.3.0")
	if v := r.p.Version; v != "" && (!versionPattern.MatchString(v) || strings.ContainsFunc(v, unicode.IsControl)) {
		r.f.Add(root.KeyLine("version"), strictyaml.Quote(v)+" is not a version", "give one word of at most 100 bytes, such as 3.3.0")
	}
}

func (r reader) artifact(root strictyaml.Map) {
	r.p.File = root.NeedText("file", "name the artifact, for example file: edge-agent-3.3.0.pkg")
	if name := filepath.FromSlash(r.p.File); name != "" && !filepath.IsAbs(name) && !filepath.IsLocal(name) {
		r.f.Add(root.KeyLine("file"), fmt.Sprintf("file %s leads out of its folder", strictyaml.Quote(r.p.File)), "give a path below it, or an absolute one")
	}
	r.p.SHA256 = root.NeedText("sha256", "give what sha256sum prints for the artifact")
	if raw, err := hex.DecodeString(r.p.SHA256); r.p.SHA256 != "" && (err != nil || len(raw) != 32 || strings.ToLower(r.p.SHA256) != r.p.SHA256) {
		r.f.Add(root.KeyLine("sha256"), strictyaml.Quote(r.p.SHA256)+" is not a SHA-256", "give the 64 lower-case hexadecimal digits that sha256sum prints")
	}
	n, ok := root.Get("size")
	if !ok {
		root.Missing("size", "give the artifact's bytes, as stat -c %s prints them")
		return
	}
	r.p.Size, _ = n.Int(1, devices.MaxArtifact)
}

func (r reader) day(m strictyaml.Map, key, remedy string) time.Time {
	text := m.NeedText(key, remedy)
	if text == "" {
		return time.Time{}
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		r.f.Add(m.KeyLine(key), key+": "+strictyaml.Quote(text)+" is not a day", "write it as 2026-11-01")
	}
	return day
}

func (r reader) exceptions(root strictyaml.Map) {
	for _, m := range root.Mappings("exceptions") {
		e := Exception{By: m.NeedText("by", "say who has decided it"), Reason: m.NeedText("reason", "say why, and what protects the devices meanwhile"),
			Until: r.day(m, "until", "give the day on which it ends, for example until: 2027-01-31")}
		n, ok := m.Get("ids")
		if !ok {
			m.Missing("ids", "name the devices")
			continue
		}
		if e.IDs, ok = n.Texts(); ok && len(e.IDs) == 0 {
			n.Add("ids is empty", "name at least one device, or remove the exception")
		}
		r.p.Exceptions = append(r.p.Exceptions, e)
	}
}

// Set is the patches of a fleet.
type Set struct {
	// Patches in the order of their names.
	Patches []*Patch
}

// Resolve puts patches together. It fails with names that stand there twice and
// devices that the inventory does not have.
func Resolve(patches []*Patch, inv *inventory.Inventory) (*Set, strictyaml.Problems) {
	var problems strictyaml.Problems
	names := map[string]*Patch{}
	for _, p := range patches {
		if first, twice := names[p.Name]; twice {
			problems = append(problems, strictyaml.Problem{File: p.Source, Line: 1, What: fmt.Sprintf("a second patch is named %s; the first is %s", p.Name, first.Source), Remedy: "give each its own name"})
		}
		names[p.Name] = p
		problems = append(problems, p.references("select", p.Select.IDs, inv)...)
		for _, e := range p.Exceptions {
			problems = append(problems, p.references("an exception", e.IDs, inv)...)
		}
	}
	set := &Set{Patches: slices.Clone(patches)}
	slices.SortFunc(set.Patches, func(a, b *Patch) int { return strings.Compare(a.Name, b.Name) })
	return set, problems
}

// references checks the devices that the file names.
func (p *Patch) references(where string, ids []string, inv *inventory.Inventory) (problems strictyaml.Problems) {
	for _, id := range ids {
		d, known := inv.Device(id)
		switch {
		case !known:
			problems = append(problems, strictyaml.Problem{File: p.Source, Line: p.idsLine, What: where + " names the unknown device " + strictyaml.Quote(id), Remedy: "declare it, or correct the name"})
		case d.Profile != p.Profile:
			problems = append(problems, strictyaml.Problem{File: p.Source, Line: p.idsLine, What: fmt.Sprintf("%s names %s, which has the profile %s", where, id, d.Profile), Remedy: "leave it out, or correct the profile"})
		}
	}
	return problems
}

// Patch returns the patch of that name.
func (s *Set) Patch(name string) (*Patch, bool) {
	if s == nil {
		return nil, false
	}
	i := slices.IndexFunc(s.Patches, func(p *Patch) bool { return p.Name == name })
	if i < 0 {
		return nil, false
	}
	return s.Patches[i], true
}

// Names returns the names of all patches, in order.
func (s *Set) Names() []string {
	var out []string
	if s != nil {
		for _, p := range s.Patches {
			out = append(out, p.Name)
		}
	}
	return out
}

// For returns the patches that are for the device, the newest first: by version
// where that can be compared, else by the day of their release.
func (s *Set) For(d inventory.Device) []*Patch {
	if s == nil {
		return nil
	}
	var out []*Patch
	for _, p := range s.Patches {
		if p.Selects(d) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b *Patch) int {
		if c, ok := Compare(VersionOf(b.Version), VersionOf(a.Version)); ok && c != 0 {
			return c
		}
		return b.Released.Compare(a.Released)
	})
	return out
}
