package baseline

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"

	"edgefleet/devices"
	"edgefleet/devices/inventory"
	"edgefleet/devices/profile/strictyaml"
	"edgefleet/devices/template"
)

// Desired is what one device should have.
type Desired struct {
	Baseline, Version, File string
	// Settings in the order of the profile's settings: on Modbus, that of
	// their addresses.
	Settings []devices.Setting
	// Ignored names settings that are neither compared nor written, in the
	// order of the profile.
	Ignored []string
}

// Hash names the settings and their exact values: 64 hexadecimal digits, equal
// for equal settings, whichever baseline and version they are from.
func (d Desired) Hash() string {
	h := sha256.New()
	for _, s := range d.Settings {
		exact := s.Point.Exact(s.Value)
		// Lengths go first, so that no two lists hash the same text.
		fmt.Fprintf(h, "%d %s %d %s\n", len(s.Point.Name), s.Point.Name, len(exact), exact)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// For returns what the device should have by this baseline, whichever others
// there are. It fails when the baseline is not for the device, or when a
// template cannot be rendered for it; the error has file and line then. Equal
// devices have equal settings.
func (b *Baseline) For(d inventory.Device) (Desired, error) {
	if !b.Selects(d) {
		return Desired{}, fmt.Errorf("the baseline %s (%s) does not select %s; widen its select", b.Name, b.File, d.ID)
	}
	values, settings := b.Values, b.Settings
	for _, over := range b.parts(d)[1:] {
		values, settings = merged(values, over.Values), merged(settings, over.Settings)
	}
	ignored := b.ignored(d)
	out := Desired{Baseline: b.Name, Version: b.Version, File: b.File, Settings: make([]devices.Setting, 0, len(settings))}
	data := template.Data{DeviceID: d.ID, Site: d.Site, Region: d.Region, Class: d.Class, Labels: d.Labels, Settings: values}
	for _, pt := range b.Profile.Settings {
		if ignored[pt.Name] {
			out.Ignored = append(out.Ignored, pt.Name)
			continue
		}
		s, set := settings[pt.Name]
		if !set {
			continue
		}
		value := s.Value
		if s.Template != "" {
			var err error
			if value, err = b.render(pt, s, data); err != nil {
				return Desired{}, err
			}
		}
		out.Settings = append(out.Settings, devices.Setting{Point: pt, Value: value})
	}
	return out, nil
}

// parts are what holds for the device, each going before those in front of it.
func (b *Baseline) parts(d inventory.Device) []Part {
	return []Part{b.Part, b.Sites[d.Site], b.ByDevice[d.ID]}
}

// ignored are the settings that the last part which mentions them ignores.
func (b *Baseline) ignored(d inventory.Device) map[string]bool {
	out := map[string]bool{}
	for _, p := range b.parts(d) {
		for name := range p.Settings {
			delete(out, name)
		}
		for _, name := range p.Ignore {
			out[name] = true
		}
	}
	return out
}

// merged is one mapping over another, and copies only where it has to.
func merged[V any](under, over map[string]V) map[string]V {
	if len(over) == 0 {
		return under
	}
	out := make(map[string]V, len(under)+len(over))
	maps.Copy(out, under)
	maps.Copy(out, over)
	return out
}

// render returns the canonical value of a rendered template. Its error wraps a
// *template.Error, or a *strictyaml.Problem for what the point does not take.
func (b *Baseline) render(pt devices.Point, s Setting, data template.Data) (devices.Value, error) {
	text, err := b.templates[s.Template].Render(data)
	if err != nil {
		return nil, fmt.Errorf("render %s for %s: %w", pt.Name, data.DeviceID, err)
	}
	value, err := pt.Canonical(text)
	if err != nil {
		return nil, fmt.Errorf("render %s for %s: %w", pt.Name, data.DeviceID,
			&problem{strictyaml.Problem{File: b.File, Line: s.Line, What: err.Error(), Remedy: "correct the template " + s.Template}})
	}
	return value, nil
}

// problem is a strictyaml.Problem as an error.
type problem struct{ strictyaml.Problem }

func (p *problem) Error() string { return p.String() }

// rendered collects what is wrong with rendered settings, and names the devices
// of each mistake together: the same template is rendered for thousands.
type rendered struct {
	found []strictyaml.Problem
	// devices has the IDs for the problem at the same index.
	devices [][]string
	index   map[strictyaml.Problem]int
}

// maxNamed bounds how many devices a problem names.
const maxNamed = 3

func (r *rendered) check(b *Baseline, d inventory.Device) {
	if len(b.templates) == 0 {
		return
	}
	_, err := b.For(d)
	if err == nil {
		return
	}
	p := strictyaml.Problem{File: b.File, What: err.Error(), Remedy: "correct the baseline"}
	var inTemplate *template.Error
	var inValue *problem
	switch {
	case errors.As(err, &inTemplate):
		p = strictyaml.Problem{File: inTemplate.File, Line: inTemplate.Line, What: inTemplate.What, Remedy: inTemplate.Remedy}
	case errors.As(err, &inValue):
		p = inValue.Problem
	}
	if r.index == nil {
		r.index = map[strictyaml.Problem]int{}
	}
	i, again := r.index[p]
	if !again {
		i = len(r.found)
		r.index[p] = i
		r.found, r.devices = append(r.found, p), append(r.devices, nil)
	}
	r.devices[i] = append(r.devices[i], d.ID)
}

func (r *rendered) problems() strictyaml.Problems {
	var out strictyaml.Problems
	for i, p := range r.found {
		who := r.devices[i]
		text := strings.Join(who, ", ")
		if len(who) > maxNamed+1 {
			text = fmt.Sprintf("%s and %d other devices", strings.Join(who[:maxNamed], ", "), len(who)-maxNamed)
		}
		p.What = fmt.Sprintf("for %s: %s", text, p.What)
		out = append(out, p)
	}
	return out
}
