package declare

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices/profile/strictyaml"
)

// Whatever a person may type as a text comes back as it is, for the provider
// and for the workers' own reader.
func TestTextsSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("aZ09 -:#'\"{}[],&*!|>%@`?\\~ß€\t\n")))
		want := Device{ID: "edge-001", Site: "s1", Region: "east", Profile: "feeder-rtu", Address: "10.0.0.2:502",
			PlaintextException: Text(text.Draw(t, "exception")), Labels: map[string]Text{"l": Text(text.Draw(t, "label"))}}
		data, err := render(DefaultOwner, want)
		require.NoError(t, err)
		require.Equal(t, DefaultOwner, ownerOf(data))
		var got deviceFile
		require.NoError(t, parse(want.File(), data, &got), "%s", data)
		require.Equal(t, []Device{want}, got.Devices)
		require.Empty(t, strictyaml.Parse(want.File(), data).Problems())
	})
}

// A scalar of a baseline keeps its type: 50 is a number there, and on is a word
// that the profile knows.
func TestValuesStayPlain(t *testing.T) {
	data, err := render(DefaultOwner, Baseline{Name: "b", Version: "v", Profile: "p", Settings: Settings{"a": "50", "b": "on", "c": "85.5", "d": "a: b", "e": "true"}})
	require.NoError(t, err)
	require.Contains(t, string(data), "settings:\n  a: 50\n  b: on\n  c: 85.5\n  d: 'a: b'\n  e: true\n")
}

func FuzzParse(f *testing.F) {
	data, err := render(DefaultOwner, Device{ID: "edge-001"})
	require.NoError(f, err)
	f.Add(data)
	f.Add([]byte("devices: [{id: &a x, site: *a}]"))
	f.Add([]byte("---\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got deviceFile
		if parse("f", data, &got) != nil || len(got.Devices) != 1 {
			return
		}
		again, err := render(DefaultOwner, got.Devices[0])
		if err != nil {
			return
		}
		var back deviceFile
		require.NoError(t, parse("f", again, &back), "%q became\n%s", data, again)
	})
}
