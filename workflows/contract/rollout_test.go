package contract

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestASelectorSelectsByWhatIsDeclared(t *testing.T) {
	d := Device{ID: "edge-001", Site: "substation-7", Region: "us-east-1", Class: "plc", Profile: "feeder-rtu", Labels: map[string]string{"ring": "canary"}}
	for text, want := range map[string]bool{
		"": true, "class=plc": true, "class=rtu|plc": true, "class!=plc": false, "class=plc,region=us-east-1,site!=substation-7": false,
		"ring=canary": true, "ring!=canary": false, "bay!=7": true, "bay=7": false, " id = edge-001": false, "id=edge-001 , profile=feeder-rtu": true,
	} {
		sel, err := ParseSelector(text)
		if strings.Contains(text, " = ") {
			require.Error(t, err)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, want, sel.Matches(d), text)
		again, err := ParseSelector(sel.String())
		require.NoError(t, err)
		require.Equal(t, sel, again)
	}
	for _, text := range []string{"class", "=plc", "class=", "class==plc", "class=a b", "a=b,,c=d", "class=plc|", strings.Repeat("a=b,", 2000)} {
		_, err := ParseSelector(text)
		require.Error(t, err, text)
		require.Less(t, len(err.Error()), 500)
	}
}

func FuzzParseSelector(f *testing.F) {
	for _, text := range []string{"", "class=plc,region=us-east-1|us-west-2,site!=substation-7", "a!=b", "a=b|c"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sel, err := ParseSelector(text)
		if err != nil {
			return
		}
		again, err := ParseSelector(sel.String())
		require.NoError(t, err)
		require.Equal(t, sel, again)
	})
}

func TestWavesReachEveryDeviceInTurn(t *testing.T) {
	for _, c := range []struct {
		waves string
		total int
		want  []int
	}{
		{"5%,25%,100%", 100, []int{5, 25, 100}}, {"5%,25%,100%", 3, []int{1, 1, 3}}, {"10,50", 100, []int{10, 50, 100}},
		{"10,25%", 20, []int{10, 10, 20}}, {"100%", 7, []int{7}}, {"50", 7, []int{7}},
	} {
		got, err := RolloutStrategy{Waves: strings.Split(c.waves, ",")}.WaveTargets(c.total)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%s of %d", c.waves, c.total)
	}
	for _, waves := range []string{"25%,5%", "0", "0%", "101%", "half", "", "5%,", "-1"} {
		_, err := RolloutStrategy{Waves: strings.Split(waves, ",")}.WaveTargets(100)
		require.Error(t, err, waves)
	}
	rapid.Check(t, func(t *rapid.T) {
		waves := rapid.SliceOfN(rapid.StringMatching(`[1-9][0-9]?%?`), 1, 6).Draw(t, "waves")
		total := rapid.IntRange(1, 500).Draw(t, "total")
		targets, err := RolloutStrategy{Waves: waves}.WaveTargets(total)
		if err != nil {
			return
		}
		last := 0
		for _, n := range targets {
			require.GreaterOrEqual(t, n, last)
			last = n
		}
		require.Equal(t, total, last, "every device has its turn")
	})
}

func TestALimitIsPassedByWhatIsAnythingButHealthy(t *testing.T) {
	none, two, percent := 0, 2, 2.0
	for _, c := range []struct {
		limit      RolloutLimit
		bad, total int
		passed     bool
	}{
		{RolloutLimit{}, 100, 100, false}, {RolloutLimit{Count: &none}, 0, 1, false}, {RolloutLimit{Count: &none}, 1, 1000, true},
		{RolloutLimit{Count: &two}, 2, 2, false}, {RolloutLimit{Count: &two}, 3, 1000, true},
		{RolloutLimit{Percent: &percent}, 2, 100, false}, {RolloutLimit{Percent: &percent}, 3, 100, true}, {RolloutLimit{Percent: &percent}, 1, 1, true},
		{RolloutLimit{Count: &two, Percent: &percent}, 2, 10, true},
	} {
		require.Equal(t, c.passed, c.limit.Breach(c.bad, c.total) != "", "%+v", c)
	}
	c := RolloutCounts{}
	for _, state := range []string{DeviceHealthy, DeviceAlready, DeviceChanged, DeviceFailed, DeviceUnknown, DeviceNotBegun, DeviceSkipped, "a state of a newer program"} {
		c.Count(state, state == DeviceFailed)
	}
	require.Equal(t, []int{8, 5, 1}, []int{c.Ended(), c.Bad(), c.Unsafe}, "could not find out, and never started, count as bad")
}

func TestTheDefaultStrategyIsTheCarefulOne(t *testing.T) {
	s := RolloutStrategy{}.WithDefaults()
	require.NoError(t, s.Check())
	require.Equal(t, s, s.WithDefaults())
	require.Equal(t, 1, s.Canary.Count)
	require.Equal(t, []string{"5%", "25%", "100%"}, s.Waves)
	require.Equal(t, BreachPause, s.OnBreach)
	require.False(t, s.AllowUnsafe)
	require.Equal(t, 4, s.Bounds.PerSite)
	require.InDelta(t, 2, *s.TotalLimit.Percent, 0)
}

func TestAStrategyThatCannotBeIsRefused(t *testing.T) {
	minus, many := -1, 200.0
	for says, change := range map[string]func(*RolloutStrategy){
		"sites":                        func(s *RolloutStrategy) { s.Sites = "random" },
		"on breach":                    func(s *RolloutStrategy) { s.OnBreach = "panic" },
		"approval before":              func(s *RolloutStrategy) { s.Approval.Before = "lunch" },
		"the limit of a wave: -1":      func(s *RolloutStrategy) { s.WaveLimit.Count = &minus },
		"the total limit: 200 %":       func(s *RolloutStrategy) { s.TotalLimit.Percent = &many },
		"growth of the rate 0.5":       func(s *RolloutStrategy) { s.RateGrowth = 0.5 },
		"rate -1":                      func(s *RolloutStrategy) { s.Rate = -1 },
		"deadline of a device 1s":      func(s *RolloutStrategy) { s.DeviceDeadline = time.Second },
		"passes 1000":                  func(s *RolloutStrategy) { s.Checks.Passes = 1000 },
		"canary label: want one label": func(s *RolloutStrategy) { s.Canary.Label = "" },
		"want key=value":               func(s *RolloutStrategy) { s.Windows = []RolloutWindow{{Select: "x"}} },
	} {
		s := RolloutStrategy{}.WithDefaults()
		change(&s)
		if says == "canary label: want one label" {
			s.Canary.Label = "a=b,c=d"
			says = `canary label "a=b,c=d": want one label`
		}
		require.ErrorContains(t, s.Check(), says)
	}
}

func TestIDsOfRollouts(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	require.Equal(t, "0123456789ab", RolloutOf(hash))
	require.Empty(t, RolloutOf("0123"))
	id, err := ParseRolloutWorkflowID(RolloutWorkflowID("0123456789ab"))
	require.NoError(t, err)
	require.Equal(t, "0123456789ab", id)
	for _, bad := range []string{"", "rollout/", "rollout/xyz", "remediate/0123456789ab", "rollout/0123456789ab/wave-1/1"} {
		_, err := ParseRolloutWorkflowID(bad)
		require.Error(t, err, bad)
	}
	require.Equal(t, "rollout/0123456789ab/wave-2/3", RolloutWaveID("0123456789ab", 2, 3))
	require.Error(t, RolloutCommand{}.Check())
	require.NoError(t, RolloutCommand{By: "kim", Devices: []string{"edge-001"}}.Check())
}
