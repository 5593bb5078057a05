package activities

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/store"
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
			tomorrow := from.Add(24 * time.Hour)
			want := contract.Opening{Calendar: name, Open: c.opens.IsZero(), Until: &to, Next: &tomorrow}
			if !c.opens.IsZero() {
				want.Until, want.Next, want.Opens = nil, nil, &c.opens
			}
			require.Equal(t, []contract.Opening{want}, out.Openings)
		})
	}
}

// On 28 March 2027 Berlin's clocks jump from 02:00 to 03:00, at 01:00 UTC: of the
// two hours of that night's window there is one.
func TestAnOpeningSaysWhenItClosesAndWhenItOpensAgain(t *testing.T) {
	c, err := calendarOf(contract.RolloutStrategy{Windows: []contract.RolloutWindow{{Zone: "Europe/Berlin", Days: []string{"sun"}, From: "01:30", To: "03:30"}}}, "w0f", 25*time.Minute)
	require.NoError(t, err)
	moment := func(text string) *time.Time {
		at, err := time.Parse("2006-01-02T15:04Z", text)
		require.NoError(t, err)
		return &at
	}
	for now, want := range map[string]contract.Opening{
		"2027-03-27T12:00Z": {Calendar: "w0f", Opens: moment("2027-03-28T00:30Z")},
		"2027-03-28T00:30Z": {Calendar: "w0f", Open: true, Until: moment("2027-03-28T01:30Z"), Next: moment("2027-04-03T23:30Z")},
		"2027-03-28T01:20Z": {Calendar: "w0f", Opens: moment("2027-04-03T23:30Z")},
	} {
		require.Equal(t, want, opening("w0f", c, *moment(now)), now)
	}
}

// Each rollout has its own plan, which is read once; that it could not be read is
// not remembered.
func TestThePlanOfARolloutIsReadOnceAndNoOther(t *testing.T) {
	var k plans
	reads := 0
	read := func(id string, err error) func() (store.Plan, error) {
		return func() (store.Plan, error) { reads++; return store.Plan{PlanID: id}, err }
	}
	_, err := k.of("a", read("a", errors.New("the store is away")))
	require.Error(t, err)
	for range 2 {
		for i := range maxPlansKept {
			id := fmt.Sprint(i)
			p, err := k.of(id, read(id, nil))
			require.NoError(t, err)
			require.Equal(t, id, p.PlanID)
		}
	}
	require.Equal(t, 1+maxPlansKept, reads)
	_, err = k.of("one more", read("one more", nil))
	require.NoError(t, err)
	require.LessOrEqual(t, len(k.kept), maxPlansKept)
}
