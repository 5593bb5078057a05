package sunspec_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/sunspec"
	"edgefleet/devices/sunspec/sunspecsim"
)

func TestWhatCannotBePlanned(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	at, _ := p.chain.Find(705, 1)
	want := sunspec.Wanted{Settings: map[string]any{"RspTms": 10}}
	t.Run("a device that does not say what it was asked is adopting nothing", func(t *testing.T) {
		require.NoError(t, p.Poke(devices.Holding, at.Address+1, 0xFFFF)) // AdptCrvReq
		plan, err := p.chain.PlanCurve(t.Context(), p.link, "705", want)
		require.NoError(t, err)
		require.Equal(t, 2, plan.Slot)
		require.NoError(t, p.Poke(devices.Holding, at.Address+1, 0))
	})
	t.Run("no curve may be written", func(t *testing.T) {
		for _, slot := range []uint16{1, 2} {
			require.NoError(t, p.Poke(devices.Holding, at.Address+13+slot*22+9, 1))
		}
		_, err := p.chain.PlanCurve(t.Context(), p.link, "705", want)
		require.Equal(t, devices.Unsupported, devices.KindOf(err))
		require.ErrorContains(t, err, "none of the device's 3 curves can be written without touching the one in force")
		plan, err := p.chain.PlanCurve(t.Context(), p.link, "705", sunspec.Wanted{})
		require.NoError(t, err)
		require.True(t, plan.Empty(), "which is no matter when nothing has to be")
	})
	t.Run("a setting that the device does not have", func(t *testing.T) {
		require.NoError(t, p.Poke(devices.Holding, at.Address+13+3, 0xFFFF)) // VRef of the curve in force
		_, err := p.chain.PlanCurve(t.Context(), p.link, "705", sunspec.Wanted{Settings: map[string]any{"VRef": 100}})
		require.Equal(t, devices.Unsupported, devices.KindOf(err))
		require.ErrorContains(t, err, "the device does not implement VRef")
	})
	t.Run("a model without curves, and none at all", func(t *testing.T) {
		for model, words := range map[string]string{"121": "model 121 (Basic settings) has no curves", "126": "the device has no model 126", "x": "want a model's number"} {
			_, err := p.chain.Curves(t.Context(), p.link, model)
			require.Equal(t, devices.Unsupported, devices.KindOf(err))
			require.ErrorContains(t, err, words)
		}
	})
	t.Run("a device whose numbers do not add up", func(t *testing.T) {
		require.NoError(t, p.Poke(devices.Holding, at.Address+4, 4)) // NCrv
		_, err := p.chain.Curves(t.Context(), p.link, "705")
		require.Equal(t, devices.Unsupported, devices.KindOf(err))
		require.ErrorContains(t, err, "4 curves of 6 points would not take as many")
		require.NoError(t, p.Poke(devices.Holding, at.Address+4, 3))
		require.NoError(t, p.Poke(devices.Holding, at.Address+13, 7)) // ActPt
		_, err = p.chain.Curves(t.Context(), p.link, "705")
		require.Equal(t, devices.Rejected, devices.KindOf(err))
		require.ErrorContains(t, err, "curve 1: it says that it has 7 points, and there is room for 6")
	})
	t.Run("an active point that is not implemented", func(t *testing.T) {
		require.NoError(t, p.Poke(devices.Holding, at.Address+13, 4))
		require.NoError(t, p.Poke(devices.Holding, at.Address+13+10, 0xFFFF))
		_, err := p.chain.Curves(t.Context(), p.link, "705")
		require.Equal(t, devices.Rejected, devices.KindOf(err))
		require.ErrorContains(t, err, "V of point 1 is not implemented")
	})
}

func TestTheOlderModelWithoutACurveInForce(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindLegacyInverter})
	active := p.address(t, "126.ActCrv")
	require.NoError(t, p.Poke(devices.Holding, active, 0))
	want := sunspec.Wanted{Tables: points([]float64{92, 44}, []float64{98, 0}, []float64{102, 0}, []float64{108, -44})}
	plan, err := p.chain.PlanCurve(t.Context(), p.link, "126", want)
	require.NoError(t, err)
	require.False(t, plan.Empty())
	require.Equal(t, 1, plan.Slot, "which holds the wanted curve")
	require.NoError(t, plan.Apply(t.Context(), p.link, quick(10*time.Second)))
	require.Equal(t, map[uint16]bool{active: true}, p.written())
	require.Equal(t, uint16(1), p.peek(t, active))
	require.NoError(t, p.Poke(devices.Holding, active, 9))
	_, err = p.chain.Curves(t.Context(), p.link, "126")
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "the curve in force is number 9 of 2")
}
