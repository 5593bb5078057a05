package window_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/internal/window"
)

func must(t testing.TB, zone, days, from, to string) window.Window {
	t.Helper()
	s := window.Spec{Zone: zone, From: from, To: to}
	for i := 0; i+3 <= len(days); i += 4 {
		s.Days = append(s.Days, days[i:i+3])
	}
	w, err := window.Parse(s)
	require.NoError(t, err)
	return w
}

func at(t testing.TB, s string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339, s)
	require.NoError(t, err)
	return out
}

func TestACalendarSaysWhenItIsOpen(t *testing.T) {
	nights := must(t, "Europe/Berlin", "mon,tue,wed,thu,fri", "22:00", "05:00")
	for _, c := range []struct {
		name              string
		calendar          window.Calendar
		now, until, opens string
	}{
		{"without windows it is always open", window.Calendar{Always: true}, "2026-11-23T12:00:00Z", "-", ""},
		{"before a window it says when that opens", window.Calendar{Windows: []window.Window{nights}}, "2026-11-23T12:00:00Z", "", "2026-11-23T22:00:00+01:00"},
		{"in a window it says when that closes", window.Calendar{Windows: []window.Window{nights}}, "2026-11-23T23:00:00Z", "2026-11-24T05:00:00+01:00", ""},
		{"a window belongs to the day on which it begins", window.Calendar{Windows: []window.Window{nights}}, "2026-11-28T01:00:00+01:00", "2026-11-28T05:00:00+01:00", ""},
		{"and the weekend is closed", window.Calendar{Windows: []window.Window{nights}}, "2026-11-28T23:00:00+01:00", "", "2026-11-30T22:00:00+01:00"},
		{"what is left has to be long enough", window.Calendar{Windows: []window.Window{nights}, Takes: time.Hour}, "2026-11-24T04:30:00+01:00", "", "2026-11-24T22:00:00+01:00"},
		{"windows that touch are one", window.Calendar{Windows: []window.Window{must(t, "UTC", "", "10:00", "12:00"), must(t, "UTC", "", "12:00", "13:00")}},
			"2026-11-24T10:30:00Z", "2026-11-24T13:00:00Z", ""},
		{"a freeze cuts a window", window.Calendar{Windows: []window.Window{nights}, Freezes: []window.Interval{{From: at(t, "2026-11-24T00:00:00Z"), To: at(t, "2026-12-01T00:00:00Z")}}},
			"2026-11-23T22:30:00Z", "2026-11-24T00:00:00Z", ""},
		{"and in a freeze it is closed until a window after it", window.Calendar{Windows: []window.Window{nights}, Freezes: []window.Interval{{From: at(t, "2026-11-24T00:00:00Z"), To: at(t, "2026-12-01T12:00:00Z")}}},
			"2026-11-24T22:30:00Z", "", "2026-12-01T22:00:00+01:00"},
		{"a window that is never long enough does not open", window.Calendar{Windows: []window.Window{nights}, Takes: 8 * time.Hour}, "2026-11-24T12:00:00Z", "", ""},
		{"the day is that of its own zone: there it is Monday still", window.Calendar{Windows: []window.Window{must(t, "Pacific/Pago_Pago", "sun", "20:00", "18:00")}},
			"2026-11-24T02:00:00Z", "2026-11-23T18:00:00-11:00", ""},
		{"a whole day", window.Calendar{Windows: []window.Window{must(t, "Europe/Berlin", "sun", "00:00", "00:00")}}, "2026-10-25T12:00:00Z", "2026-10-26T00:00:00+01:00", ""},
		{"summer time begins: the hour that does not exist", window.Calendar{Windows: []window.Window{must(t, "Europe/Berlin", "", "02:30", "04:00")}},
			"2026-03-29T00:00:00Z", "", "2026-03-29T03:00:00+02:00"},
		{"summer time ends: a window in the hour that comes twice is open in the first one", window.Calendar{Windows: []window.Window{must(t, "Europe/Berlin", "", "02:00", "02:45")}},
			"2026-10-25T00:10:00Z", "2026-10-25T02:45:00+02:00", ""},
		{"and not when the clock shows its time again", window.Calendar{Windows: []window.Window{must(t, "Europe/Berlin", "", "02:00", "02:45")}},
			"2026-10-25T01:10:00Z", "", "2026-10-26T02:00:00+01:00"},
		{"a window around that hour is longer by it", window.Calendar{Windows: []window.Window{must(t, "Europe/Berlin", "", "01:30", "03:30")}},
			"2026-10-25T00:10:00Z", "2026-10-25T03:30:00+01:00", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.calendar.At(at(t, c.now))
			switch {
			case c.opens != "":
				require.False(t, got.Open)
				require.True(t, at(t, c.opens).Equal(got.Opens), "opens %s", got.Opens)
			case c.until == "":
				require.Equal(t, window.State{}, got)
			default:
				require.True(t, got.Open)
				require.True(t, c.until == "-" && got.Until.IsZero() || c.until != "-" && at(t, c.until).Equal(got.Until), "until %s", got.Until)
			}
		})
	}
}

func TestWhatIsNoWindowIsRefused(t *testing.T) {
	for _, c := range []struct {
		spec window.Spec
		says string
	}{
		{window.Spec{Zone: "Mars/Olympus", From: "22:00", To: "05:00"}, `zone "Mars/Olympus": name a zone of the IANA database`},
		{window.Spec{Zone: "Local", From: "22:00", To: "05:00"}, "name a zone"},
		{window.Spec{From: "22:00", To: "05:00"}, "name a zone"},
		{window.Spec{Zone: "UTC", Days: []string{"monday"}, From: "22:00", To: "05:00"}, `day "monday": want one of mon`},
		{window.Spec{Zone: "UTC", From: "25:00", To: "05:00"}, `time "25:00": want a time of day as 22:00`},
		{window.Spec{Zone: "UTC", From: "22:00", To: "5:00"}, `time "5:00"`},
	} {
		_, err := window.Parse(c.spec)
		require.ErrorContains(t, err, c.says)
	}
	for _, c := range []struct {
		spec window.FreezeSpec
		says string
	}{
		{window.FreezeSpec{Name: "x", Zone: "UTC", From: "tomorrow", To: "2026-12-20"}, `freeze "x": from: "tomorrow": want a date`},
		{window.FreezeSpec{Name: "x", From: "2026-12-20", To: "2026-12-21"}, "name a zone"},
		{window.FreezeSpec{Name: "x", Zone: "UTC", From: "2026-12-21", To: "2026-12-20"}, "before it begins"},
	} {
		_, err := window.ParseFreeze(c.spec)
		require.ErrorContains(t, err, c.says)
	}
	f, err := window.ParseFreeze(window.FreezeSpec{Zone: "America/New_York", From: "2026-12-20", To: "2026-12-20"})
	require.NoError(t, err)
	require.Equal(t, 24*time.Hour, f.To.Sub(f.From), "the last day is a part of it")
}

// naive says what the clock on the wall of a zone shows, and asks nothing else.
func naive(now time.Time, l *time.Location, from, to int) bool {
	local := now.In(l)
	m := local.Hour()*60 + local.Minute()
	if from < to {
		return m >= from && m < to
	}
	return m >= from || m < to
}

func TestACalendarAgreesWithTheClockOnTheWall(t *testing.T) {
	zones := []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo", "UTC", "Africa/Casablanca", "Pacific/Apia"}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(zones).Draw(t, "zone")
		l, err := time.LoadLocation(name)
		require.NoError(t, err)
		from := rapid.IntRange(0, 24*4-1).Draw(t, "from") * 15
		to := rapid.IntRange(0, 24*4-1).Draw(t, "to") * 15
		text := func(m int) string { return fmt.Sprintf("%02d:%02d", m/60, m%60) }
		w, err := window.Parse(window.Spec{Zone: name, From: text(from), To: text(to)})
		require.NoError(t, err)
		c := window.Calendar{Windows: []window.Window{w}}
		now := time.Unix(rapid.Int64Range(1_600_000_000, 1_900_000_000).Draw(t, "now")/60*60, 0)
		got := c.At(now)
		if naive(now, l, from, to) && !got.Open {
			t.Fatalf("%s is in %s-%s of %s, and closed until %s", now.In(l), text(from), text(to), name, got.Opens)
		}
		if !got.Open {
			if got.Opens.IsZero() || !got.Opens.After(now) || got.Opens.Sub(now) > 25*time.Hour {
				t.Fatalf("at %s it opens at %s", now.In(l), got.Opens.In(l))
			}
			if again := c.At(got.Opens); !again.Open {
				t.Fatalf("it does not open when it said, at %s", got.Opens.In(l))
			}
			if before := c.At(got.Opens.Add(-time.Second)); before.Open {
				t.Fatalf("it was open a second before it opened, at %s", got.Opens.In(l))
			}
			return
		}
		if got.Until.IsZero() {
			return
		}
		if !got.Until.After(now) || c.At(got.Until.Add(-time.Second)).Until != got.Until || c.At(got.Until).Open {
			t.Fatalf("open at %s until %s, which is not its end", now.In(l), got.Until.In(l))
		}
	})
}
