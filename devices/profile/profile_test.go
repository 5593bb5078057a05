package profile_test

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/profile"
)

var update = flag.Bool("update", false, "write the messages of bad fixtures anew")

func TestBadProfileIsRefusedWithItsMessage(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			p, problems := profile.Parse(name, data)
			require.Nil(t, p)
			require.Error(t, problems.Err())
			requireGolden(t, strings.TrimSuffix(file, ".yaml")+".txt", problems.Err().Error()+"\n")
		})
	}
}

func requireGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func TestTheFixtureOfWhichTheBadOnesAreMadeIsGood(t *testing.T) {
	data, err := os.ReadFile("testdata/good.yaml")
	require.NoError(t, err)
	p, problems := profile.Parse("good.yaml", data)
	require.NoError(t, problems.Err())
	require.Equal(t, "bay-unit", p.Name)
	require.Equal(t, profile.Settle{Wait: profile.DefaultSettleWait, UpTo: profile.DefaultSettleUpTo}, p.Settle)
	require.Equal(t, profile.DefaultBackWithin, p.BackWithin)
	require.Equal(t, profile.DefaultGap, p.Quirks.Gap)
	a, ok := p.Action("restart")
	require.True(t, ok)
	require.Equal(t, true, a.Pulse.Value)
	require.Equal(t, "trips", a.Confirm.Name)
}

// TestAGoodProfileIsReadAsItSays holds what each flavour of profile becomes.
func TestAGoodProfileIsReadAsItSays(t *testing.T) {
	for _, name := range []string{"good-opcua", "good-ssh", "good-sunspec", "good-install-ssh", "good-install-opcua", "good-install-modbus"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile("testdata/" + name + ".yaml")
			require.NoError(t, err)
			p, problems := profile.Parse(name+".yaml", data)
			require.NoError(t, problems.Err())
			text, err := json.Marshal(p)
			require.NoError(t, err)
			var fields any
			require.NoError(t, json.Unmarshal(text, &fields))
			got, err := json.MarshalIndent(stated(fields), "", " ")
			require.NoError(t, err)
			requireGolden(t, "testdata/"+name+".json", string(got)+"\n")
		})
	}
}

// stated leaves out what has its zero value.
func stated(v any) any {
	fields, ok := v.(map[string]any)
	if !ok {
		if list, is := v.([]any); is {
			for i := range list {
				list[i] = stated(list[i])
			}
		}
		return v
	}
	maps.DeleteFunc(fields, func(_ string, v any) bool { return v == nil || v == "" || v == 0.0 || v == false })
	for name, v := range fields {
		fields[name] = stated(v)
	}
	return fields
}

func TestEveryBuiltinProfileLoads(t *testing.T) {
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	names := slices.Sorted(maps.Keys(profiles))
	require.Equal(t, []string{"feeder-rtu", "linux-gateway", "opcua-plc", "register-plc", "sunspec-battery", "sunspec-inverter", "switched-outlet"}, names)
	for name, p := range profiles {
		require.Equal(t, "builtin/"+name+".yaml", p.File)
		require.Equal(t, "firmware", p.Firmware, "patching asks each model for its version: %s", name)
		require.Equal(t, p.Protocol == profile.ModbusTCP, profile.Plain(p.Protocol))
		for _, role := range []string{"model", "serial", "firmware"} {
			_, ok := p.Point(role)
			require.True(t, ok, "the registry wants the %s of a %s", role, name)
		}
	}
	feeder, outlet := profiles["feeder-rtu"], profiles["switched-outlet"]
	require.Len(t, feeder.Settings, 14)
	require.Equal(t, "state == running", feeder.Health[0].String())
	require.True(t, feeder.Interlock[0].Holds(true))
	require.False(t, feeder.Interlock[0].Holds(false))
	require.Len(t, outlet.Actions, 8)
	require.Empty(t, outlet.Health)
	counter, ok := feeder.Setting("event_counter")
	require.True(t, ok)
	require.True(t, counter.Volatile)
	_, ok = feeder.Setting("state")
	require.False(t, ok, "a measurement is not a setting")
}

func TestConditions(t *testing.T) {
	number := devices.Point{Name: "n", Type: devices.Uint16}
	holds := func(op profile.Op, got, want devices.Value) bool {
		return profile.Condition{Point: number, Op: op, Value: want}.Holds(got)
	}
	require.True(t, holds(profile.Equals, int64(3), int64(3)))
	require.True(t, holds(profile.Not, int64(3), int64(4)))
	require.True(t, holds(profile.AtLeast, int64(3), int64(3)))
	require.False(t, holds(profile.AtLeast, 2.9, 3.0))
	require.True(t, holds(profile.AtMost, uint64(3), uint64(3)))
	require.False(t, holds(profile.AtMost, int64(4), int64(3)))
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(f, err)
	for _, pattern := range []string{"testdata/good*.yaml", "builtin/*.yaml"} {
		found, err := filepath.Glob(pattern)
		require.NoError(f, err)
		files = append(files, found...)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, problems := profile.Parse("f.yaml", data)
		if (p == nil) == (problems.Err() == nil) {
			t.Fatalf("either a profile or problems: %v, %v", p, problems)
		}
		if p == nil {
			return
		}
		for _, id := range p.Identity {
			if id.Equals != nil {
				requireCanonical(t, id.Point, id.Equals)
			}
		}
		for _, a := range p.Actions {
			requireCanonical(t, a.Pulse.Point, a.Pulse.Value)
			requirePlace(t, a.Pulse.Point)
		}
		for _, pt := range slices.Concat(p.Settings, p.Measurements) {
			requirePlace(t, pt)
		}
	})
}

// requirePlace fails when a driver could not know where the point stands.
func requirePlace(t *testing.T, p devices.Point) {
	t.Helper()
	places := 0
	for _, set := range []bool{p.Modbus != nil, p.OPCUA != nil, p.Host != nil, p.Method != nil, p.SunSpec != ""} {
		if set {
			places++
		}
	}
	if places != 1 || p.Name == "" || p.Type == "" {
		t.Fatalf("%q, a %s, stands at %d places", p.Name, p.Type, places)
	}
	if p.Host != nil {
		if err := p.Host.Check(); err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
	}
}

// requireCanonical fails when a value of a loaded profile is not one that the
// device could give back.
func requireCanonical(t *testing.T, p devices.Point, v devices.Value) {
	t.Helper()
	again, err := p.Canonical(v)
	if err != nil || again != v {
		t.Fatalf("%s: %v is not canonical: %v, %v", p.Name, v, again, err)
	}
}
