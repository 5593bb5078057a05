package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// seen is a span of one state throughout, in seconds after the clock's start.
func seen(c *clock, device, state string, from, to int) UptimeSpan {
	at := func(s int) time.Time { return c.Now().Add(time.Duration(s) * time.Second) }
	u := UptimeSpan{DeviceID: device, From: at(from), To: at(to), State: state}
	switch state {
	case UptimeUp:
		u.Up = u.To.Sub(u.From)
	case UptimeDown:
		u.Down = u.To.Sub(u.From)
	}
	return u
}

func TestUptimeIsAddedUpAndOutlivesARestart(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s, err := Open(bg, p.url, Options{Clock: c.Now})
		require.NoError(t, err)
		got, err := s.AddUptime(bg, []UptimeSpan{seen(c, "edge-001", UptimeUp, 0, 30), seen(c, "edge-002", UptimeDown, 0, 10)})
		require.NoError(t, err)
		require.Equal(t, []Uptime{
			{DeviceID: "edge-001", Up: 30 * time.Second, State: UptimeUp, ObservedAt: c.Now().Add(30 * time.Second).UTC()},
			{DeviceID: "edge-002", Down: 10 * time.Second, State: UptimeDown, ObservedAt: c.Now().Add(10 * time.Second).UTC()},
		}, got)
		require.NoError(t, s.Close())

		s = p.open(t, Options{Clock: c.Now})
		got, err = s.AddUptime(bg, []UptimeSpan{seen(c, "edge-001", UptimeDown, 30, 40)})
		require.NoError(t, err)
		require.Equal(t, 30*time.Second, got[0].Up)
		require.Equal(t, 10*time.Second, got[0].Down)
		list, err := s.Uptimes(bg, "", 1)
		require.NoError(t, err)
		require.Equal(t, got, list)
		list, err = s.Uptimes(bg, "edge-001", 0)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, "edge-002", list[0].DeviceID)
	})
}

func TestWhatTwoWorkersSawTogetherCountsOnce(t *testing.T) {
	c := newClock()
	s := sqlitePlace(t).open(t, Options{Clock: c.Now})
	for _, u := range []UptimeSpan{
		seen(c, "edge-001", UptimeUp, 0, 60),
		seen(c, "edge-001", UptimeUp, 30, 90),   // half of it is told
		seen(c, "edge-001", UptimeDown, 10, 80), // all of it is told
	} {
		_, err := s.AddUptime(bg, []UptimeSpan{u})
		require.NoError(t, err)
	}
	list, err := s.Uptimes(bg, "", 0)
	require.NoError(t, err)
	require.Equal(t, []Uptime{{DeviceID: "edge-001", Up: 90 * time.Second, State: UptimeUp, ObservedAt: c.Now().Add(90 * time.Second).UTC()}}, list)
}

// TestNoSecondOfUptimeIsCountedTwice plays overlapping spans in any order: up
// and down together never exceed the time between the first look and the last.
func TestNoSecondOfUptimeIsCountedTwice(t *testing.T) {
	c := newClock()
	s := sqlitePlace(t).open(t, Options{Clock: c.Now})
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		device := fmt.Sprintf("run-%d", runs)
		first, last := 1<<30, 0
		var before Uptime
		for range rapid.IntRange(1, 12).Draw(rt, "spans") {
			from := rapid.IntRange(0, 500).Draw(rt, "from")
			to := from + rapid.IntRange(0, 200).Draw(rt, "length")
			state := rapid.SampledFrom([]string{UptimeUp, UptimeDown, UptimeUnknown}).Draw(rt, "state")
			got, err := s.AddUptime(bg, []UptimeSpan{seen(c, device, state, from, to)})
			require.NoError(rt, err)
			require.GreaterOrEqual(rt, got[0].Up, before.Up, "a counter never falls")
			require.GreaterOrEqual(rt, got[0].Down, before.Down)
			first, last, before = min(first, from), max(last, to), got[0]
			require.LessOrEqual(rt, before.Up+before.Down, time.Duration(last-first)*time.Second)
			require.Equal(rt, c.Now().Add(time.Duration(last)*time.Second).UTC(), before.ObservedAt)
		}
	})
}

func TestUptimeThatCannotBeIsRefused(t *testing.T) {
	c := newClock()
	s := sqlitePlace(t).open(t, Options{Clock: c.Now})
	for name, change := range map[string]func(*UptimeSpan){
		"more time than there was":  func(u *UptimeSpan) { u.Down = time.Second },
		"less than none":            func(u *UptimeSpan) { u.Up = -1 },
		"an end before its begin":   func(u *UptimeSpan) { u.To, u.Up = u.From.Add(-1), 0 },
		"a state that there is not": func(u *UptimeSpan) { u.State = "asleep" },
		"no device":                 func(u *UptimeSpan) { u.DeviceID = "" },
	} {
		t.Run(name, func(t *testing.T) {
			u := seen(c, "edge-001", UptimeUp, 0, 30)
			change(&u)
			_, err := s.AddUptime(bg, []UptimeSpan{u})
			require.ErrorIs(t, err, ErrInvalid)
		})
	}
	_, err := s.AddUptime(bg, nil)
	require.ErrorIs(t, err, ErrInvalid)
}

// TestAStoreOfVersion2LearnsUptime opens a store that was made before there was
// any uptime.
func TestAStoreOfVersion2LearnsUptime(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		old, err := Open(bg, p.url, Options{schema: 2})
		require.NoError(t, err)
		_, err = old.Uptimes(bg, "", 0)
		require.Error(t, err)
		require.NoError(t, old.Close())
		list, err := p.open(t, Options{}).Uptimes(bg, "", 0)
		require.NoError(t, err)
		require.Empty(t, list)
	})
}
