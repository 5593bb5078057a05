package baseline_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices/baseline"
	"edgefleet/devices/inventory"
	"edgefleet/devices/profile"
)

var update = flag.Bool("update", false, "write the messages of bad fixtures anew")

func builtin(t testing.TB) map[string]*profile.Profile {
	t.Helper()
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	return profiles
}

func stock() *inventory.Inventory {
	return &inventory.Inventory{Devices: []inventory.Device{
		{ID: "edge-1", Site: "s1", Region: "east", Class: "rtu", Profile: "feeder-rtu", Labels: map[string]string{"feeder": "F1"}},
		{ID: "edge-2", Site: "s2", Region: "west", Class: "rtu", Profile: "feeder-rtu"},
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
			b, problems := baseline.Parse(name, data, builtin(t))
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
	b, problems := baseline.Parse("good.yaml", data, builtin(t))
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
	feeder := builtin(t)["feeder-rtu"]
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
	for _, file := range append(files, "testdata/good.yaml") {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	profiles, inv := builtin(f), stock()
	f.Fuzz(func(t *testing.T, data []byte) {
		b, problems := baseline.Parse("f.yaml", data, profiles)
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
