package profile

import (
	"regexp"
	"slices"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
	"edgefleet/devices/sunspec"
)

var sunSpecPattern = regexp.MustCompile(sunSpecText)

func sunSpecFile() strictyaml.Shape {
	point := strictyaml.MappingOf("A point of a SunSpec model",
		strictyaml.Need("name", strictyaml.ChoiceOf("Names the point: lower-case letters, digits and underscores, or the name that it has in SunSpec",
			strictyaml.Matching("", pointText), strictyaml.Matching("", sunSpecText))),
		strictyaml.May("description", strictyaml.TextOf("What the point is, for people")),
		strictyaml.May("sunspec", strictyaml.Matching("Model and point, as in 121.WMax, or 802#2.SoC for the second model 802; the name unless stated", sunSpecText)))
	curves := strictyaml.ListOf("Models whose curve in force a baseline may set, each part of it as a setting: 705.curve.DeptRef, 705.curve.points",
		strictyaml.ChoiceOf("", strictyaml.WholeOf("", 1, 65535), strictyaml.Matching("", sunSpecModelText)))
	curves.Unique = true
	return file(modbusQuirks(), sections{
		identity:    point.With(equalsField()),
		setting:     point.With(boundFields()...).With(volatileField()),
		measurement: point,
		action:      modbusAction(),
	}, sunSpecFlag(), strictyaml.May("curves", curves))
}

// models reads the points of SunSpec devices.
type models struct {
	*reader
	catalog *sunspec.Catalog
}

func readModels(r *reader, _ strictyaml.Map) protocol { return models{r, r.catalog()} }

// action is that of a plain device: what restarts a device is no part of
// SunSpec, and stands in registers of the maker's.
func (s models) action(m strictyaml.Map, a *Action) { registers{s.reader}.action(m, a) }

func (s models) place(m strictyaml.Map, pt *devices.Point, in section) {
	key, name := "sunspec", m.Text("sunspec")
	if _, stated := m.Get("sunspec"); !stated {
		key, name = "name", pt.Name
		if pt.Name == "" {
			return
		}
		if pointPattern.MatchString(pt.Name) {
			m.Missing("sunspec", "name the point of a SunSpec model, for example sunspec: 121.WMax")
			return
		}
	}
	info, err := s.catalog.Lookup(name)
	switch {
	case err != nil && (key == "sunspec" || sunSpecPattern.MatchString(name)):
		s.f.Add(m.KeyLine(key), err.Error(), "name a point of a SunSpec model that edgefleet knows")
	case err != nil: // reported as no name of a point
	case in == settingSection && info.Use == sunspec.ControlUse:
		s.f.Add(m.KeyLine(key), name+" is a control: a command of the moment, which is no drift and is never written", "make it a measurement")
	case in == settingSection && info.Use != sunspec.SettingUse:
		s.f.Add(m.KeyLine(key), name+" is no setting of its SunSpec model; it is only read", "make it a measurement")
	default:
		describe(pt, info)
	}
}

// more adds the parts of curves to the settings.
func (s models) more(root strictyaml.Map) {
	n, ok := root.Get("curves")
	if !ok {
		return
	}
	entries, _ := n.List()
	seen := map[string]bool{}
	for _, e := range entries {
		model, ok := e.Text()
		if !ok {
			continue
		}
		if seen[model] {
			e.Add("the curve of model "+strictyaml.Quote(model)+" stands here twice", "keep one of them")
			continue
		}
		seen[model] = true
		names, err := s.catalog.CurveNames(model)
		if err != nil {
			e.Add(err.Error(), "name a SunSpec model with curves, such as 705")
			continue
		}
		for _, name := range names {
			info, err := s.catalog.Lookup(name)
			if err != nil {
				e.Add(err.Error(), "name a SunSpec model with curves, such as 705")
				continue
			}
			pt := devices.Point{Name: name}
			describe(&pt, info)
			s.named(name, e.Line())
			s.setting(pt, e.Line())
		}
	}
}

// describe fills in what the model says of a point. Where it stands and its
// scale are found out on the device.
func describe(pt *devices.Point, info sunspec.Info) {
	pt.SunSpec, pt.Unit, pt.Type, pt.Columns = info.Name, info.Unit, sunSpecType(info), slices.Clone(info.Columns)
	if (info.Type == sunspec.Enum16 || info.Type == sunspec.Enum32) && len(info.Numbers) > 0 {
		pt.Enum = info.Numbers
	}
}

// sunSpecType is the type that values are written in: with a scale factor, of
// which nobody knows the value before the device is asked, any number can be.
func sunSpecType(info sunspec.Info) devices.Type {
	if info.ScaleFactor {
		return devices.Float64
	}
	switch info.Type {
	case sunspec.Int16, sunspec.SunSSF:
		return devices.Int16
	case sunspec.Int32:
		return devices.Int32
	case sunspec.Int64:
		return devices.Int64
	case sunspec.Uint16, sunspec.Acc16, sunspec.Enum16, sunspec.Bitfield16:
		return devices.Uint16
	case sunspec.Uint32, sunspec.Acc32, sunspec.Enum32, sunspec.Bitfield32:
		return devices.Uint32
	case sunspec.Uint64, sunspec.Acc64:
		return devices.Uint64
	case sunspec.Float32:
		return devices.Float32
	case sunspec.Float64:
		return devices.Float64
	}
	return devices.String
}
