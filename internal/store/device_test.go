package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDeviceState(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		_, err := s.DeviceState(bg, "edge-001")
		require.ErrorIs(t, err, ErrNotFound)

		require.NoError(t, s.SetDeviceState(bg, DeviceState{DeviceID: "edge-001", State: "unreachable", Detail: "no route"}))
		d, err := s.DeviceState(bg, "edge-001")
		require.NoError(t, err)
		require.Equal(t, DeviceState{"edge-001", "unreachable", "no route", c.Now().UTC()}, d)

		require.NoError(t, s.SetDeviceState(bg, DeviceState{DeviceID: "edge-001", State: "healthy", CheckedAt: c.Now().Add(-time.Second)}))
		d, err = s.DeviceState(bg, "edge-001")
		require.NoError(t, err)
		require.Equal(t, "unreachable", d.State, "what was seen earlier does not replace what was seen later")

		c.Advance(time.Minute)
		require.NoError(t, s.SetDeviceState(bg, DeviceState{DeviceID: "edge-001", State: "healthy"}))
		require.NoError(t, s.SetDeviceState(bg, DeviceState{DeviceID: "Edge-002", State: "drifted"}))
		require.NoError(t, s.SetDeviceState(bg, DeviceState{DeviceID: "edge_003", State: "drifted"}))
		page, err := s.DeviceStates(bg, "", 2)
		require.NoError(t, err)
		require.Equal(t, []string{"Edge-002", "edge-001"}, []string{page[0].DeviceID, page[1].DeviceID}, "the order of bytes, in both databases")
		page, err = s.DeviceStates(bg, "edge-001", 2)
		require.NoError(t, err)
		require.Len(t, page, 1)
		require.ErrorIs(t, s.SetDeviceState(bg, DeviceState{DeviceID: "edge-001"}), ErrInvalid)
	})
}

func TestCaptures(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now, CapturesKept: 6})
		capture := func(run, activity string, settings ...Setting) []CapturedSetting {
			c.Advance(time.Second)
			kept, err := s.CaptureSettings(bg, Capture{"edge-001", "wf", run, activity, settings})
			require.NoError(t, err)
			return kept
		}
		values := func(captured []CapturedSetting, err error) []string {
			require.NoError(t, err)
			out := []string{}
			for _, c := range captured {
				out = append(out, c.Name+"="+c.Value+c.Unit)
			}
			return out
		}
		first := capture("run-1", "1", Setting{"WMax", "4000", "W"}, Setting{"VRef", "229.5", "V"})
		require.Equal(t, CapturedSetting{"edge-001", Setting{"VRef", "229.5", "V"}, c.Now().UTC(), "wf", "run-1", "1"}, first[0])

		require.Equal(t, first, capture("run-1", "1", Setting{"WMax", "5000", "W"}, Setting{"VRef", "230", "V"}),
			"a retried activity may read its own writes: the first values stay")
		capture("run-1", "2", Setting{"WMax", "5000", "W"}, Setting{"PFMin", "0.8", ""})
		require.Equal(t, []string{"PFMin=0.8", "VRef=229.5V", "WMax=4000W"},
			values(s.SettingsBefore(bg, "edge-001", Owner{"wf", "run-1"})), "a rollback puts back what stood there first")
		require.Equal(t, []string{}, values(s.SettingsBefore(bg, "edge-001", Owner{"wf", "none"})))
		require.Equal(t, []string{"WMax=5000W", "WMax=4000W"}, values(s.Captures(bg, CaptureQuery{DeviceID: "edge-001", Setting: "WMax"})), "newest first")

		// The next run's own eight are more than are kept; its own stay, and the
		// other run's go.
		var many []Setting
		for i := range 8 {
			many = append(many, Setting{Name: fmt.Sprintf("P%d", i), Value: "1"})
		}
		capture("run-2", "1", many...)
		require.Len(t, values(s.Captures(bg, CaptureQuery{DeviceID: "edge-001", RunID: "run-2"})), 8)
		require.Empty(t, values(s.Captures(bg, CaptureQuery{DeviceID: "edge-001", RunID: "run-1"})))
		capture("run-3", "1", many[:2]...)
		require.Len(t, values(s.Captures(bg, CaptureQuery{DeviceID: "edge-001"})), 6)

		for want, c := range map[string]Capture{
			"the capture has 0 settings, want 1 to 500": {"d", "wf", "r", "1", nil},
			"the capture has setting A twice":           {"d", "wf", "r", "1", []Setting{{Name: "A"}, {Name: "A"}}},
			"setting is empty":                          {"d", "wf", "r", "1", []Setting{{Value: "1"}}},
			"device ID is empty":                        {"", "wf", "r", "1", []Setting{{Name: "A"}}},
		} {
			_, err := s.CaptureSettings(bg, c)
			require.ErrorIs(t, err, ErrInvalid)
			require.ErrorContains(t, err, want)
		}
	})
}
