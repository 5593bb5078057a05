package activities

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/workflows/contract"
)

func TestACalendarOfARolloutIsThatOfItsStrategy(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Minute)
	from, to := now.Add(-time.Hour), now.Add(30*time.Minute)
	window := contract.RolloutWindow{Zone: "UTC", From: from.Format("15:04"), To: to.Format("15:04")}
	freeze := contract.RolloutFreeze{Name: "storm", Zone: "UTC", From: from.Format(time.RFC3339), To: now.Add(48 * time.Hour).Format(time.RFC3339)}
	elsewhere := freeze
	elsewhere.Select = "site=elsewhere"
	for _, c := range []struct {
		name   string
		change func(*contract.RolloutStrategy)
		opens  time.Time // or zero, when it is open until to
	}{
		{"in its window it is open", func(*contract.RolloutStrategy) {}, time.Time{}},
		{"when what is left is too short, the next window counts", func(s *contract.RolloutStrategy) { s.Takes = time.Hour }, from.Add(24 * time.Hour)},
		{"a freeze goes before it", func(s *contract.RolloutStrategy) { s.Freezes = []contract.RolloutFreeze{freeze} }, now.Add(48 * time.Hour)},
		{"a freeze of others does not", func(s *contract.RolloutStrategy) { s.Freezes = []contract.RolloutFreeze{elsewhere} }, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlant(t)
			p.inService()
			in := planInput(rolled())
			in.Strategy.Windows = []contract.RolloutWindow{window}
			c.change(&in.Strategy)
			r := p.startPlan(p.plan(in))
			left, err := do[contract.RolloutLeft](p, contract.ActivityRolloutLeft, contract.RolloutLeftInput{RolloutID: r.RolloutID, UpTo: 1, Limit: 10})
			require.NoError(t, err)
			require.Len(t, left.Devices, 1)
			name := left.Devices[0].Calendar
			out, err := do[contract.CalendarResult](p, contract.ActivityRolloutCalendar, contract.CalendarInput{RolloutID: r.RolloutID, Calendars: []string{name}})
			require.NoError(t, err)
			want := contract.Opening{Calendar: name, Open: c.opens.IsZero(), Until: &to}
			if !c.opens.IsZero() {
				want.Until, want.Opens = nil, &c.opens
			}
			require.Equal(t, []contract.Opening{want}, out.Openings)
		})
	}
}
