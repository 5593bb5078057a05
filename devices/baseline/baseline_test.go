package baseline_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices"
	"edgefleet/devices/baseline"
	"edgefleet/devices/inventory"
	"edgefleet/devices/profile"
)

var update = flag.Bool("update", false, "write the messages of bad fixtures anew")

// known are two of the built-in profiles, and one with files and one with
// curves. More built-in ones would stand in the messages.
func known(t testing.TB) map[string]*profile.Profile {
	t.Helper()
	builtin, err := profile.Builtin()
	require.NoError(t, err)
	host := func(a devices.HostAddress) *devices.HostAddress { return &a }
	ten := 10.0
	return map[string]*profile.Profile{
		"feeder-rtu": builtin["feeder-rtu"], "switched-outlet": builtin["switched-outlet"],
		"test-gateway": {Name: "test-gateway", Protocol: profile.SSH, Class: "gateway", Settings: []devices.Point{
			{Name: "edge_config", Type: devices.String, Writable: true, Host: host(devices.HostAddress{Kind: devices.HostFile, Path: "/etc/edge/config.yaml", MaxSize: 200})},
			{Name: "permit_root_login", Type: devices.String, Writable: true, Host: host(devices.HostAddress{Kind: devices.HostSSHD, Key: "PermitRootLogin"})},
			{Name: "edge_config_mode", Type: devices.String, Writable: true, Host: host(devices.HostAddress{Kind: devices.HostMode, Path: "/etc/edge/config.yaml"})},
			{Name: "reload", Type: devices.String, Writable: true, Host: host(devices.HostAddress{Kind: devices.HostRun, Command: &devices.HostCommand{Args: []string{"true"}}})},
		}},
		"test-inverter": {Name: "test-inverter", Protocol: profile.ModbusTCP, Class: "gateway", SunSpec: true, Settings: []devices.Point{
			{Name: "121.WMax", Type: devices.Float64, Unit: "W", Writable: true, SunSpec: "121.WMax"},
			{Name: "705.curve.DeptRef", Type: devices.Uint16, Enum: map[string]int64{"W_MAX_PCT": 0, "VAR_MAX_PCT": 1}, Writable: true, SunSpec: "705.curve.DeptRef"},
			{Name: "705.curve.RspTms", Type: devices.Float64, Min: &ten, Writable: true, SunSpec: "705.curve.RspTms"},
			{Name: "705.curve.points", Type: devices.String, Columns: []string{"V", "Var"}, Writable: true, SunSpec: "705.curve.points"},
		}},
	}
}

// templates are those that the fixtures name.
func templates() baseline.Templates {
	out := baseline.Templates{"templates/out.tmpl": {File: "edge-configs/templates/out.tmpl", Wrong: "is a link that leads nowhere, or out of the folder", Remedy: "put the file itself there"}}
	for name, text := range map[string]string{
		"config.tmpl":  "id: {{ .device_id }}\ninterval: {{ .settings.poll_interval }}\nupstream: {{ quote .settings.upstream }}\n",
		"broken.tmpl":  "a: 1\n{{ if }}\n",
		"feeder.tmpl":  "a: 1\nfeeder: {{ .labels.feeder }}\n",
		"large.tmpl":   "{{ range 300 }}x{{ end }}",
		"endless.tmpl": "{{ range 1000000000 }}{{ end }}",
	} {
		out["templates/"+name] = baseline.TemplateFile{File: "edge-configs/templates/" + name, Text: text}
	}
	return out
}

func stock() *inventory.Inventory {
	return &inventory.Inventory{Devices: []inventory.Device{
		{ID: "edge-1", Site: "s1", Region: "east", Class: "rtu", Profile: "feeder-rtu", Labels: map[string]string{"feeder": "F1"}},
		{ID: "edge-2", Site: "s2", Region: "west", Class: "rtu", Profile: "feeder-rtu"},
		{ID: "gw-1", Site: "s1", Region: "east", Class: "gateway", Profile: "test-gateway"},
		{ID: "gw-2", Site: "s2", Region: "east", Class: "gateway", Profile: "test-gateway", Labels: map[string]string{"feeder": "F2"}},
		{ID: "gw-3", Site: "s2", Region: "east", Class: "gateway", Profile: "test-gateway"},
		{ID: "inv-1", Site: "s1", Region: "east", Class: "gateway", Profile: "test-inverter"},
		{ID: "switch-1", Site: "s1", Region: "east", Class: "gateway", Profile: "switched-outlet"},
	}}
}

func TestBadBaselineIsRefusedWithItsMessage(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			b, problems := baseline.Parse(name, data, known(t), templates())
			if b != nil {
				// What refers to devices is only wrong beside the inventory.
				var set *baseline.Set
				set, problems = baseline.Resolve([]*baseline.Baseline{b}, stock())
				require.Nil(t, set)
			}
			require.Error(t, problems.Err())
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			got := problems.Err().Error() + "\n"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func TestTheFixtureOfWhichTheBadOnesAreMadeIsGood(t *testing.T) {
	data, err := os.ReadFile("testdata/good.yaml")
	require.NoError(t, err)
	b, problems := baseline.Parse("good.yaml", data, known(t), templates())
	require.NoError(t, problems.Err())
	set, problems := baseline.Resolve([]*baseline.Baseline{b}, stock())
	require.NoError(t, problems.Err())
	desired, ok := set.For(stock().Devices[0])
	require.True(t, ok)
	require.Equal(t, "reclose_delay", desired.Settings[2].Point.Name)
	require.Equal(t, int64(20), desired.Settings[2].Value)
	_, ok = set.For(stock().Devices[1])
	require.False(t, ok)
}

func TestSelect(t *testing.T) {
	d := stock().Devices[0]
	tests := map[string]struct {
		s    baseline.Select
		want bool
	}{
		"empty matches every device":           {baseline.Select{}, true},
		"a list matches any of its entries":    {baseline.Select{Site: []string{"s9", "s1"}}, true},
		"all fields have to match":             {baseline.Select{Site: []string{"s1"}, Region: []string{"west"}}, false},
		"a label matches one of its values":    {baseline.Select{Labels: map[string][]string{"feeder": {"F1"}}}, true},
		"a label that is absent never matches": {baseline.Select{Labels: map[string][]string{"bay": {"F1"}}}, false},
		"an ID":                                {baseline.Select{IDs: []string{"edge-2"}}, false},
		"a class":                              {baseline.Select{Class: []string{"rtu"}}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { require.Equal(t, tt.want, tt.s.Matches(d)) })
	}
}

func TestADeviceHasOneBaselineOrTheSetIsRefused(t *testing.T) {
	feeder := known(t)["feeder-rtu"]
	rapid.Check(t, func(t *rapid.T) {
		inv := &inventory.Inventory{}
		for _, id := range []string{"a", "b", "c", "d"} {
			inv.Devices = append(inv.Devices, inventory.Device{ID: id, Profile: "feeder-rtu", Site: rapid.SampledFrom([]string{"s1", "s2"}).Draw(t, "site")})
		}
		var list []*baseline.Baseline
		for _, name := range []string{"x", "y"} {
			list = append(list, &baseline.Baseline{Name: name, File: name, Profile: feeder, Select: baseline.Select{
				Site: rapid.SliceOfN(rapid.SampledFrom([]string{"s1", "s2"}), 0, 1).Draw(t, "sites"),
				IDs:  rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 3).Draw(t, "ids")}})
		}
		both := 0
		for _, d := range inv.Devices {
			if list[0].Select.Matches(d) && list[1].Select.Matches(d) {
				both++
			}
		}
		set, problems := baseline.Resolve(list, inv)
		require.Len(t, problems, both)
		if both > 0 {
			require.Nil(t, set)
			return
		}
		for _, d := range inv.Devices {
			desired, ok := set.For(d)
			require.Equal(t, list[0].Select.Matches(d) || list[1].Select.Matches(d), ok)
			require.Equal(t, ok && list[1].Select.Matches(d), desired.Baseline == "y")
		}
	})
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(f, err)
	for _, file := range append(files, "testdata/good.yaml", "testdata/gateways.yaml", "testdata/inverters.yaml") {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	profiles, inv := known(f), stock()
	f.Fuzz(func(t *testing.T, data []byte) {
		b, problems := baseline.Parse("f.yaml", data, profiles, templates())
		if (b == nil) == (problems.Err() == nil) {
			t.Fatalf("either a baseline or problems: %v, %v", b, problems)
		}
		if b == nil {
			return
		}
		set, problems := baseline.Resolve([]*baseline.Baseline{b}, inv)
		if (set == nil) == (problems.Err() == nil) {
			t.Fatalf("either a set or problems: %v, %v", set, problems)
		}
		if set == nil {
			return
		}
		for _, d := range inv.Devices {
			desired, _ := set.For(d)
			for _, s := range desired.Settings {
				if again, err := s.Point.Canonical(s.Value); err != nil || again != s.Value {
					t.Fatalf("%s: %v is not canonical: %v, %v", s.Point.Name, s.Value, again, err)
				}
				if !s.Point.Writable || s.Point.Volatile {
					t.Fatalf("%s cannot be set", s.Point.Name)
				}
			}
		}
	})
}

// load parses and resolves a fixture beside the stock.
func load(t *testing.T, file string, change ...string) *baseline.Set {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	b, problems := baseline.Parse(file, []byte(strings.NewReplacer(change...).Replace(string(data))), known(t), templates())
	require.NoError(t, problems.Err())
	set, problems := baseline.Resolve([]*baseline.Baseline{b}, stock())
	require.NoError(t, problems.Err())
	return set
}

// wanted are a device's desired settings, by name, and their order.
func wanted(t *testing.T, set *baseline.Set, id string) (map[string]devices.Value, []string) {
	t.Helper()
	d, ok := stock().Device(id)
	require.True(t, ok, id)
	desired, ok := set.For(d)
	require.True(t, ok, id)
	values, names := map[string]devices.Value{}, []string(nil)
	for _, s := range desired.Settings {
		values[s.Point.Name] = s.Value
		names = append(names, s.Point.Name)
	}
	return values, names
}

func TestATemplateIsRenderedForEachDeviceWithTheValuesOfItsPlace(t *testing.T) {
	set := load(t, "testdata/gateways.yaml")
	got, names := wanted(t, set, "gw-1")
	require.Equal(t, map[string]devices.Value{"edge_config": "id: gw-1\ninterval: 10\nupstream: \"10.0.0.1\"\n", "permit_root_login": "no"}, got)
	require.Equal(t, []string{"edge_config", "permit_root_login"}, names, "in the order of the profile")
	got, _ = wanted(t, set, "gw-2")
	require.Equal(t, map[string]devices.Value{"edge_config": "id: gw-2\ninterval: 30\nupstream: \"10.0.0.1\"\n", "permit_root_login": "without-password"}, got)
	got, _ = wanted(t, set, "gw-3")
	require.Equal(t, map[string]devices.Value{"edge_config": "interval: 5\n", "permit_root_login": "yes"}, got, "a device's text goes before the template")
	b, ok := set.Baseline("gw-1")
	require.True(t, ok)
	require.Equal(t, map[string]any{"poll_interval": 10, "upstream": "10.0.0.1", "peers": []any{"a", map[string]any{"b": 1}}, "deep": map[string]any{"er": true}}, b.Values)
	desired, err := b.For(inventory.Device{ID: "gw-1", Profile: "test-gateway"})
	require.NoError(t, err)
	require.Equal(t, []string{"edge_config_mode"}, desired.Ignored)
}

func TestACurveIsSugarForItsSettings(t *testing.T) {
	set := load(t, "testdata/inverters.yaml")
	got, names := wanted(t, set, "inv-1")
	require.Equal(t, map[string]devices.Value{"121.WMax": 30000.0, "705.curve.DeptRef": "VAR_MAX_PCT", "705.curve.RspTms": 10.0, "705.curve.points": "92/30 108/-30"}, got)
	require.Equal(t, []string{"121.WMax", "705.curve.DeptRef", "705.curve.RspTms", "705.curve.points"}, names)
	flat := load(t, "testdata/inverters.yaml", "curves:\n  705: {DeptRef: VAR_MAX_PCT, RspTms: 10, points: [[92, 44]", "#", "121.WMax: 42000}",
		"121.WMax: 42000, 705.curve.RspTms: 10, 705.curve.DeptRef: VAR_MAX_PCT, 705.curve.points: [[92, 44], [98, 0]]}")
	again, _ := wanted(t, flat, "inv-1")
	require.Equal(t, got, again)
}

func TestManySelectedDevicesAreNamedTogether(t *testing.T) {
	data, err := os.ReadFile("testdata/gateways.yaml")
	require.NoError(t, err)
	b, problems := baseline.Parse("gateways.yaml", []byte(strings.Replace(string(data), "config.tmpl", "feeder.tmpl", 1)), known(t), templates())
	require.NoError(t, problems.Err())
	inv := stock()
	for _, id := range []string{"gw-4", "gw-5", "gw-6", "gw-7", "gw-8"} {
		inv.Devices = append(inv.Devices, inventory.Device{ID: id, Site: "s9", Profile: "test-gateway"})
	}
	_, problems = baseline.Resolve([]*baseline.Baseline{b}, inv)
	require.EqualError(t, problems.Err(), `edge-configs/templates/feeder.tmpl:2: for gw-1, gw-4, gw-5 and 3 other devices: at <.labels.feeder>: map has no entry for key "feeder"; define it, or use default with index`)
	_, again := b.Check(inv)
	require.Equal(t, problems, again)
}

func TestABaselineIsForTheDevicesThatItSelectsOnly(t *testing.T) {
	b, ok := load(t, "testdata/gateways.yaml").Baseline("gw-1")
	require.True(t, ok)
	_, err := b.For(inventory.Device{ID: "edge-1", Profile: "feeder-rtu"})
	require.EqualError(t, err, "the baseline gateways (testdata/gateways.yaml) does not select edge-1; widen its select")
}

func TestTheHashNamesSettingsAndExactValues(t *testing.T) {
	file := devices.Point{Name: "f", Type: devices.String, Host: &devices.HostAddress{Kind: devices.HostFile, Path: "/f"}}
	desired := func(settings ...devices.Setting) string { return baseline.Desired{Settings: settings}.Hash() }
	require.Len(t, desired(), 64)
	one := desired(devices.Setting{Point: file, Value: "a"})
	require.Equal(t, one, baseline.Desired{Baseline: "x", Version: "2", Settings: []devices.Setting{{Point: file, Value: "a"}}}.Hash(), "the version does not count")
	require.NotEqual(t, one, desired(devices.Setting{Point: file, Value: "b"}))
	require.NotEqual(t, one, desired())
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -~\n]{0,12}`)
		a := []devices.Setting{{Point: file, Value: text.Draw(t, "a")}, {Point: devices.Point{Name: "g", Type: devices.String, Host: file.Host}, Value: text.Draw(t, "b")}}
		b := []devices.Setting{{Point: file, Value: text.Draw(t, "c")}, {Point: devices.Point{Name: "g", Type: devices.String, Host: file.Host}, Value: text.Draw(t, "d")}}
		require.Equal(t, a[0].Value == b[0].Value && a[1].Value == b[1].Value, desired(a...) == desired(b...))
	})
}

func TestSettingsGoInTheOrderOfTheProfileWhateverTheFileHas(t *testing.T) {
	feeder := known(t)["feeder-rtu"]
	var all []devices.Point
	for _, p := range feeder.Settings {
		if p.Min != nil {
			all = append(all, p)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		chosen := rapid.Permutation(all).Draw(t, "settings")[:rapid.IntRange(1, len(all)).Draw(t, "n")]
		text := "name: x\nversion: 1\nprofile: feeder-rtu\nsettings:\n"
		for _, p := range chosen {
			text += fmt.Sprintf("  %s: %s\n", p.Name, p.Text(must(p.Canonical(*p.Min))))
		}
		b, problems := baseline.Parse("x.yaml", []byte(text), map[string]*profile.Profile{"feeder-rtu": feeder}, nil)
		require.NoError(t, problems.Err())
		desired, err := b.For(inventory.Device{ID: "edge-1", Profile: "feeder-rtu"})
		require.NoError(t, err)
		require.Len(t, desired.Settings, len(chosen))
		last := -1
		for _, s := range desired.Settings {
			i := slices.IndexFunc(feeder.Settings, func(p devices.Point) bool { return p.Name == s.Point.Name })
			require.Greater(t, i, last)
			last = i
		}
	})
}

func must(v devices.Value, err error) devices.Value {
	if err != nil {
		panic(err)
	}
	return v
}
