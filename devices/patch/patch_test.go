package patch_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices/baseline"
	"edgefleet/devices/inventory"
	"edgefleet/devices/patch"
	"edgefleet/devices/profile"
)

var update = flag.Bool("update", false, "write the messages of bad fixtures anew")

// known are two built-in profiles, of which one says how it is patched.
func known(t testing.TB) map[string]*profile.Profile {
	t.Helper()
	all, err := profile.Builtin()
	require.NoError(t, err)
	return map[string]*profile.Profile{"linux-gateway": all["linux-gateway"], "feeder-rtu": all["feeder-rtu"]}
}

func TestBadPatchIsRefusedWithItsMessage(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			p, problems := patch.Parse(name, data, known(t))
			require.Nil(t, p)
			require.Error(t, problems.Err())
			golden, got := strings.TrimSuffix(file, ".yaml")+".txt", problems.Err().Error()+"\n"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func good(t testing.TB) *patch.Patch {
	t.Helper()
	data, err := os.ReadFile("testdata/good.yaml")
	require.NoError(t, err)
	p, problems := patch.Parse("patches/good.yaml", data, known(t))
	require.NoError(t, problems.Err())
	require.Equal(t, string(data), p.Text)
	p.Text = ""
	return p
}

func TestAGoodPatchIsReadAsItSays(t *testing.T) {
	p := good(t)
	require.Equal(t, "edge-agent-3.3.0", p.Name)
	require.Equal(t, "linux-gateway", p.Profile)
	require.Equal(t, "3.3.0", p.Version)
	require.Equal(t, "edge-agent-3.3.0.pkg", p.File)
	require.EqualValues(t, 4, p.Size)
	require.Equal(t, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), p.Released)
	require.Equal(t, baseline.Select{Site: []string{"s1", "s2"}, Labels: map[string][]string{"ring": {"inner"}}}, p.Select)
	require.Equal(t, "Closes CVE-2026-0001", p.Notes)
	e, ok := p.Exception("gw-7", time.Date(2027, 1, 30, 23, 0, 0, 0, time.UTC))
	require.True(t, ok)
	require.Equal(t, "J. Doe", e.By)
	_, ok = p.Exception("gw-7", time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC))
	require.False(t, ok, "an exception ends")
	_, ok = p.Exception("gw-8", time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
	require.False(t, ok)
}

func TestAPatchIsForTheDevicesOfItsProfileThatItSelects(t *testing.T) {
	p := good(t)
	d := inventory.Device{ID: "gw-1", Site: "s1", Profile: "linux-gateway", Labels: map[string]string{"ring": "inner"}}
	require.True(t, p.Selects(d))
	d.Labels = nil
	require.False(t, p.Selects(d))
	d.Labels, d.Profile = map[string]string{"ring": "inner"}, "feeder-rtu"
	require.False(t, p.Selects(d))
}

func TestTheNewestPatchOfADeviceComesFirst(t *testing.T) {
	patches := []*patch.Patch{
		{Name: "a", Profile: "p", Version: "3.9"}, {Name: "b", Profile: "p", Version: "3.10"},
		{Name: "c", Profile: "p", Version: "3.10-rc.1"}, {Name: "d", Profile: "other", Version: "9"},
	}
	set, problems := patch.Resolve(patches, &inventory.Inventory{})
	require.NoError(t, problems.Err())
	var names []string
	for _, p := range set.For(inventory.Device{Profile: "p"}) {
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"b", "c", "a"}, names)
	var none *patch.Set
	require.Empty(t, none.For(inventory.Device{Profile: "p"}))
}

func TestPatchesOfOneNameAndOfUnknownDevicesAreRefused(t *testing.T) {
	inv := &inventory.Inventory{Devices: []inventory.Device{{ID: "edge-1", Profile: "feeder-rtu"}}}
	one := &patch.Patch{Name: "a", Profile: "p", Source: "patches/1.yaml"}
	two := &patch.Patch{Name: "a", Profile: "p", Source: "patches/2.yaml", Select: baseline.Select{IDs: []string{"edge-1", "edge-2"}}}
	_, problems := patch.Resolve([]*patch.Patch{one, two}, inv)
	require.ErrorContains(t, problems.Err(), "a second patch is named a; the first is patches/1.yaml")
	require.ErrorContains(t, problems.Err(), "select names edge-1, which has the profile feeder-rtu")
	require.ErrorContains(t, problems.Err(), `select names the unknown device "edge-2"`)
}

func TestTheVersionIsFoundInWhatADeviceSays(t *testing.T) {
	for says, want := range map[string]string{
		"edge-agent 3.2.1":               "3.2.1",
		"v3.2.1":                         "3.2.1",
		"Agent V2 (build 7)":             "2",
		"agent 1.2.3-rc.1+7, of Tuesday": "1.2.3-rc.1+7",
		"  R12B ":                        "R12B",
		"":                               "",
	} {
		require.Equal(t, want, patch.VersionOf(says), "%q", says)
	}
	require.True(t, patch.Runs("edge-agent v3.2.1", "3.2.1"))
	require.False(t, patch.Runs("edge-agent 3.2.10", "3.2.1"))
}

func TestVersionsAreOrderedWhereThatCanBeSaid(t *testing.T) {
	for _, c := range []struct {
		older, newer string
	}{{"3.2.1", "3.2.2"}, {"3.9", "3.10"}, {"3.2.0-rc.1", "3.2.0"}, {"3.2.0-rc.2", "3.2.0-rc.10"}, {"3", "3.0.1"}, {"1.0-1", "1.0-a"}} {
		order, ok := patch.Compare(c.older, c.newer)
		require.True(t, ok && order < 0, "%s is older than %s", c.older, c.newer)
		order, ok = patch.Compare(c.newer, c.older)
		require.True(t, ok && order > 0, "%s is newer than %s", c.newer, c.older)
	}
	for _, c := range [][2]string{{"R12B", "3.2.1"}, {"3.2.1", ""}, {"1.2.3+4", "1.2.3+5"}, {"1.+2", "1.2"}, {"3.x", "3.2"}} {
		_, ok := patch.Compare(c[0], c[1])
		require.False(t, ok, "%s and %s cannot be compared", c[0], c[1])
	}
	order, ok := patch.Compare("3.2", "3.2.0")
	require.True(t, ok && order == 0)
}

func TestTheOrderOfVersionsIsOne(t *testing.T) {
	text := rapid.StringMatching(`[0-9]{1,2}(\.[0-9]{1,2}){0,2}(-[a-z0-9]{1,2}(\.[0-9])?)?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := text.Draw(t, "a"), text.Draw(t, "b"), text.Draw(t, "c")
		ab, ok1 := patch.Compare(a, b)
		ba, ok2 := patch.Compare(b, a)
		if !ok1 || !ok2 || ab != -ba {
			t.Fatalf("%s to %s is %d %t, and back %d %t", a, b, ab, ok1, ba, ok2)
		}
		bc, _ := patch.Compare(b, c)
		if ac, _ := patch.Compare(a, c); ab < 0 && bc < 0 && ac >= 0 {
			t.Fatalf("%s < %s < %s, and not %s < %s", a, b, c, a, c)
		}
	})
}

func FuzzParse(f *testing.F) {
	data, err := os.ReadFile("testdata/good.yaml")
	require.NoError(f, err)
	f.Add(data)
	profiles := known(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, problems := patch.Parse("fuzz.yaml", data, profiles)
		if (p == nil) != (len(problems) > 0) {
			t.Fatal("a patch is there when nothing is wrong, and only then")
		}
		if p != nil && (!filepath.IsAbs(p.File) && !filepath.IsLocal(p.File) || p.Size < 1 || len(p.SHA256) != 64) {
			t.Fatalf("%+v should have been refused", p)
		}
	})
}
