package sunspec_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/sunspec"
	"edgefleet/devices/sunspec/sunspecsim"
)

// quick bounds an adoption of a simulated device; its outcome never depends on
// the poll.
func quick(within time.Duration) sunspec.AdoptOptions {
	return sunspec.AdoptOptions{Within: within, Poll: 5 * time.Millisecond}
}

// TestAdoption puts a curve in force on every model with curves, and holds the
// promises of the sequence: what is in force is never written by us, and the
// writes are those of one slot and of one request.
func TestAdoption(t *testing.T) {
	for _, c := range []struct {
		kind    sunspecsim.Kind
		model   string
		request string
		want    sunspec.Wanted
		changes int
		id      uint16
		fixed   int // registers before the first curve
	}{
		{sunspecsim.KindInverter, "705", "705.AdptCrvReq", sunspec.Wanted{Settings: map[string]any{"RspTms": 10}, Tables: points([]float64{90, 60}, []float64{100, 0}, []float64{110, -60})}, 8, 705, 13},
		{sunspecsim.KindInverter, "706", "706.AdptCrvReq", sunspec.Wanted{Settings: map[string]any{"DeptRef": "W_AVAL_PCT"}}, 1, 706, 13},
		{sunspecsim.KindInverter, "707", "707.AdptCrvReq", sunspec.Wanted{Tables: map[string][][]float64{"MustTrip": {{45, 0.16}, {88, 10}}, "MomCess": {{50, 0.08}}}}, 4, 707, 7},
		{sunspecsim.KindInverter, "708", "708.AdptCrvReq", sunspec.Wanted{Tables: map[string][][]float64{"MustTrip": {{120, 0.16}}}}, 4, 708, 7},
		{sunspecsim.KindInverter, "709", "709.AdptCrvReq", sunspec.Wanted{Tables: map[string][][]float64{"MustTrip": {{47, 0.16}, {48.5, 300}}}}, 3, 709, 7},
		{sunspecsim.KindInverter, "710", "710.AdptCrvReq", sunspec.Wanted{Tables: map[string][][]float64{"MayTrip": {{51, 1}}}}, 2, 710, 7},
		{sunspecsim.KindInverter, "711", "711.AdptCtlReq", sunspec.Wanted{Settings: map[string]any{"DbOf": 0.017, "KUf": 0.04}}, 2, 711, 12},
		{sunspecsim.KindInverter, "712", "712.AdptCrvReq", sunspec.Wanted{Settings: map[string]any{"Pri": "ACTIVE"}, Tables: points([]float64{0, 0}, []float64{0, 0}, []float64{0, 0}, []float64{20, 0}, []float64{50, 0}, []float64{100, -60})}, 6, 712, 12},
		{sunspecsim.KindLegacyInverter, "126", "126.ActCrv", sunspec.Wanted{Settings: map[string]any{"RmpIncTmm": 20}, Tables: points([]float64{91, 30}, []float64{109, -30})}, 9, 126, 10},
	} {
		t.Run(c.model, func(t *testing.T) {
			p := start(t, sunspecsim.Config{Kind: c.kind, AdoptDelay: 20 * time.Millisecond})
			plan, err := p.chain.PlanCurve(t.Context(), p.link, c.model, c.want)
			require.NoError(t, err)
			require.False(t, plan.Empty())
			require.Equal(t, 2, plan.Slot)
			require.Equal(t, 1, plan.Before.Index)
			require.Len(t, plan.Changes, c.changes, "%v", plan.Changes)
			require.Empty(t, p.Writes(), "a plan writes nothing")

			var steps []string
			o := quick(10 * time.Second)
			o.Progress = func(s string) { steps = append(steps, s) }
			require.NoError(t, plan.Apply(t.Context(), p.link, o))
			require.Equal(t, "write curve 2, which is not in force", steps[0])
			require.Equal(t, "ask the device to adopt curve 2", steps[1])
			require.Equal(t, "curve 2 is in force", steps[len(steps)-1])
			after, err := p.chain.Curves(t.Context(), p.link, c.model)
			require.NoError(t, err)
			diff, err := after.Diff(c.want)
			require.NoError(t, err)
			require.Empty(t, diff)
			now, _ := after.InForce()
			require.Equal(t, plan.After.Tables, now.Tables)
			require.Equal(t, plan.After.Settings, now.Settings, "what was not wanted is as it was")

			at, ok := p.chain.Find(c.id, 1)
			require.True(t, ok)
			slot := (int(at.Length) - c.fixed) / len(after.Curves)
			first := int(at.Address) + c.fixed + slot
			request := p.address(t, c.request)
			for address := range p.written() {
				inSlot := int(address) >= first && int(address) < first+slot
				require.True(t, inSlot || address == request, "register %d", address)
			}

			// Once more there is nothing to do, and nothing is done.
			before := len(p.Log())
			plan, err = p.chain.PlanCurve(t.Context(), p.link, c.model, c.want)
			require.NoError(t, err)
			require.True(t, plan.Empty())
			require.NoError(t, plan.Apply(t.Context(), p.link, quick(time.Second)))
			require.Len(t, p.Log(), before)
		})
	}
}

// TestASlotThatHasTheCurveIsNotWrittenAgain spares the device's flash.
func TestASlotThatHasTheCurveIsNotWrittenAgain(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	first := sunspec.Wanted{Settings: map[string]any{"RspTms": 10}}
	original := sunspec.Wanted{Settings: map[string]any{"RspTms": 5}}
	plan, err := p.chain.PlanCurve(t.Context(), p.link, "705", first)
	require.NoError(t, err)
	require.NoError(t, plan.Apply(t.Context(), p.link, quick(10*time.Second)))
	plan, err = p.chain.PlanCurve(t.Context(), p.link, "705", original)
	require.NoError(t, err)
	require.Equal(t, 3, plan.Slot, "which still has what was in force at first")
	before := len(p.Log())
	require.NoError(t, plan.Apply(t.Context(), p.link, quick(10*time.Second)))
	require.Len(t, p.Log(), before+1, "the request alone")
}

func TestAnAdoptionThatGoesWrong(t *testing.T) {
	want := sunspec.Wanted{Settings: map[string]any{"RspTms": 10}}
	inForce := func(t *testing.T, p *plant) sunspec.Value {
		cs, err := p.chain.Curves(t.Context(), p.link, "705")
		require.NoError(t, err)
		now, _ := cs.InForce()
		return now.Settings["RspTms"]
	}
	planned := func(t *testing.T, cfg sunspecsim.Config) (*plant, *sunspec.CurvePlan) {
		cfg.Kind = sunspecsim.KindInverter
		p := start(t, cfg)
		plan, err := p.chain.PlanCurve(t.Context(), p.link, "705", want)
		require.NoError(t, err)
		return p, plan
	}
	t.Run("refused by the device", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{})
		p.FailAdoption(true)
		err := plan.Apply(t.Context(), p.link, quick(10*time.Second))
		require.Equal(t, devices.Rejected, devices.KindOf(err))
		require.ErrorContains(t, err, "inv-07: adopt curve 2 of SunSpec model 705: rejected: the device says that it could not adopt the curve")
		require.Equal(t, 5.0, inForce(t, p))

		// The result of that stands until the next adoption begins, and is not
		// taken for its result.
		p.FailAdoption(false)
		again, err := p.chain.PlanCurve(t.Context(), p.link, "705", want)
		require.NoError(t, err)
		require.NoError(t, again.Apply(t.Context(), p.link, quick(10*time.Second)))
		require.Equal(t, 10.0, inForce(t, p))
	})
	t.Run("refused twice, with the result of the first time still standing", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{})
		p.FailAdoption(true)
		require.NoError(t, p.Poke(devices.Holding, p.address(t, "705.AdptCrvRslt"), 2))
		require.Equal(t, devices.Rejected, devices.KindOf(plan.Apply(t.Context(), p.link, quick(300*time.Millisecond))))
	})
	t.Run("the result of an earlier failure stands for a while", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{AdoptDelay: 500 * time.Millisecond})
		result := p.address(t, "705.AdptCrvRslt")
		require.NoError(t, p.Poke(devices.Holding, result, 2))
		link := &interruptedLink{Link: p.link, before: func(read int) {
			switch read {
			case 5:
				require.NoError(t, p.Poke(devices.Holding, result, 2))
			case 9:
				if p.peek(t, result) == 2 {
					require.NoError(t, p.Poke(devices.Holding, result, 0))
				}
			}
		}}
		require.NoError(t, plan.Apply(t.Context(), link, quick(10*time.Second)))
		require.Equal(t, 10.0, inForce(t, p))
	})
	t.Run("in force before the device says so", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{AdoptDelay: time.Hour})
		at, _ := p.chain.Find(705, 1)
		link := &interruptedLink{Link: p.link, before: func(read int) {
			if read > 4 {
				require.NoError(t, p.Poke(devices.Holding, at.Address+13+8, 100)) // RspTms of curve 1
			}
		}}
		err := plan.Apply(t.Context(), link, quick(50*time.Millisecond))
		require.Equal(t, devices.Indeterminate, devices.KindOf(err))
		require.ErrorContains(t, err, "still adopting")
	})
	t.Run("not ended within the bound", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{AdoptDelay: time.Hour})
		err := plan.Apply(t.Context(), p.link, quick(50*time.Millisecond))
		require.Equal(t, devices.Indeterminate, devices.KindOf(err))
		require.ErrorContains(t, err, "within 50ms: the device is still adopting the curve")
		_, err = p.chain.PlanCurve(t.Context(), p.link, "705", want)
		require.Equal(t, devices.Busy, devices.KindOf(err))
		require.ErrorContains(t, err, "the device is adopting curve 2")
	})
	t.Run("the caller gives up while the device is at it", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{AdoptDelay: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		o := quick(time.Hour)
		o.Progress = func(s string) {
			if s == "wait: the device is still adopting the curve" {
				cancel()
			}
		}
		err := plan.Apply(ctx, p.link, o)
		require.Equal(t, devices.Indeterminate, devices.KindOf(err))
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("says that it did, and did not", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{AdoptDelay: time.Hour})
		link := &interruptedLink{Link: p.link, before: func(read int) {
			if read > 4 {
				require.NoError(t, p.Poke(devices.Holding, p.address(t, "705.AdptCrvRslt"), 1))
			}
		}}
		err := plan.Apply(t.Context(), link, quick(50*time.Millisecond))
		require.Equal(t, devices.Indeterminate, devices.KindOf(err))
		require.ErrorContains(t, err, "another curve than the wanted one is in force")
	})
	t.Run("does not say how it went, and the curve is in force", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{})
		result := p.address(t, "705.AdptCrvRslt")
		link := &interruptedLink{Link: p.link, before: func(read int) {
			if read > 4 {
				require.NoError(t, p.Poke(devices.Holding, result, 0xFFFF))
			}
		}}
		require.NoError(t, plan.Apply(t.Context(), link, quick(10*time.Second)))
		require.Equal(t, 10.0, inForce(t, p))
	})
	t.Run("the answer to the request is lost, and the request was not", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{})
		link := &deafLink{Link: p.link, deaf: 2}
		require.NoError(t, plan.Apply(t.Context(), link, quick(10*time.Second)))
		require.Equal(t, 10.0, inForce(t, p))
	})
	t.Run("the answer to the writing of the slot is lost", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{})
		link := &deafLink{Link: p.link, deaf: 1}
		require.Equal(t, devices.Indeterminate, devices.KindOf(plan.Apply(t.Context(), link, quick(10*time.Second))))
		require.Equal(t, 5.0, inForce(t, p))
	})
	t.Run("a device that is deaf for a moment is asked again", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{})
		link := &faultyLink{Link: p.link, fails: map[int]error{5: &devices.Error{Kind: devices.Unreachable, Err: errors.New("no answer")}}}
		require.NoError(t, plan.Apply(t.Context(), link, quick(10*time.Second)))
	})
	t.Run("a device that cannot be understood afterwards leaves it open", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{})
		link := &faultyLink{Link: p.link, fails: map[int]error{5: &devices.Error{Kind: devices.Rejected, Err: errors.New("illegal data address")}}}
		err := plan.Apply(t.Context(), link, quick(10*time.Second))
		require.Equal(t, devices.Indeterminate, devices.KindOf(err))
		require.ErrorContains(t, err, "asking how it went")
	})
	t.Run("the slot does not keep what was written", func(t *testing.T) {
		p, plan := planned(t, sunspecsim.Config{})
		link := &interruptedLink{Link: p.link, before: func(read int) {
			if read == 3 {
				at, _ := p.chain.Find(705, 1)
				require.NoError(t, p.Poke(devices.Holding, at.Address+13+22+2, 0)) // Pri of curve 2
			}
		}}
		err := plan.Apply(t.Context(), link, quick(10*time.Second))
		require.Equal(t, devices.Rejected, devices.KindOf(err))
		require.ErrorContains(t, err, "the device did not store the curve: Pri is ACTIVE and should be REACTIVE; it was not adopted")
		require.Equal(t, 5.0, inForce(t, p))
	})
}

// deafLink loses the answer to the nth write.
type deafLink struct {
	devices.Link
	deaf, writes int
}

func (l *deafLink) Write(ctx context.Context, settings []devices.Setting) error {
	err := l.Link.Write(ctx, settings)
	if l.writes++; l.writes == l.deaf {
		return &devices.Error{Kind: devices.Indeterminate, Err: errors.New("no answer")}
	}
	return err
}

// faultyLink fails the nth reads.
type faultyLink struct {
	devices.Link
	fails map[int]error
	reads int
}

func (l *faultyLink) Read(ctx context.Context, points []devices.Point) ([]devices.Value, error) {
	l.reads++
	if err := l.fails[l.reads]; err != nil {
		return nil, err
	}
	return l.Link.Read(ctx, points)
}

// TestAPlanHoldsOnlyForTheDeviceThatItSaw changes the device between plan and
// Apply, which then writes nothing.
func TestAPlanHoldsOnlyForTheDeviceThatItSaw(t *testing.T) {
	const first, length = 13, 22 // of model 705, with six points a curve
	for _, c := range []struct {
		name  string
		poke  uint16 // from the start of the model
		word  uint16
		words string
	}{
		{"another curve is in force", first + 10, 910, "the curve in force has changed"},
		{"the slot has become read-only", first + length + 9, 1, "curve 2 has become read-only"},
		{"a scale factor has changed", 9 + 1, 0xFFFE, "has changed"},
		{"an adoption has begun", 1, 3, "the device has begun to adopt curve 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
			plan, err := p.chain.PlanCurve(t.Context(), p.link, "705", sunspec.Wanted{Settings: map[string]any{"RspTms": 10}})
			require.NoError(t, err)
			at, _ := p.chain.Find(705, 1)
			require.NoError(t, p.Poke(devices.Holding, at.Address+c.poke, c.word))
			err = plan.Apply(t.Context(), p.link, quick(time.Second))
			require.Equal(t, devices.Rejected, devices.KindOf(err))
			require.ErrorContains(t, err, c.words)
			require.ErrorContains(t, err, "plan it again")
			require.Empty(t, p.Writes())
		})
	}
}
