package sunspec_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/sunspec"
	"edgefleet/devices/sunspec/sunspecsim"
)

// given is a point as a profile derives it from what Lookup says.
func given(t testing.TB, name string) devices.Point {
	t.Helper()
	catalog, err := sunspec.NewCatalog()
	require.NoError(t, err)
	info, err := catalog.Lookup(name)
	require.NoError(t, err)
	p := devices.Point{Name: name, SunSpec: name, Unit: info.Unit, Writable: info.Use == sunspec.SettingUse, Columns: info.Columns}
	switch info.Type {
	case sunspec.Enum16, sunspec.Enum32:
		p.Type, p.Enum = devices.Uint16, info.Numbers
	case sunspec.String:
		p.Type = devices.String
	case sunspec.Uint16, sunspec.Bitfield16:
		p.Type = devices.Uint16
	default:
		p.Type = devices.Uint32
	}
	if info.ScaleFactor {
		p.Type = devices.Float64
	}
	return p
}

func givens(t testing.TB, names ...string) []devices.Point {
	out := make([]devices.Point, len(names))
	for i, n := range names {
		out[i] = given(t, n)
	}
	return out
}

func want(t testing.TB, name string, v any) devices.Setting {
	return devices.Setting{Point: given(t, name), Value: v}
}

func bound(f float64) *float64 { return &f }

// over puts the link under test over the plant's Modbus link, or over another.
func (p *plant) over(t testing.TB, inner devices.Link, within time.Duration) devices.Link {
	t.Helper()
	catalog, err := sunspec.NewCatalog()
	require.NoError(t, err)
	return catalog.LinkWith(inner, "inv-07", quick(within))
}

func (p *plant) speaks(t testing.TB) devices.Link { return p.over(t, p.link, 10*time.Second) }

func TestALinkReadsPointsOfModelsInTheFormOfTheGivenPoint(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	l := p.speaks(t)
	points := givens(t, "705.curve.points", "121.WMax", "1.SN", "103.St", "121.WGra", "703.ESDlyTms", "702.IntIslandCat", "705.curve.DeptRef",
		"705.curve.RspTms", "705.curve.VRefAutoTms", "705.Ena", "707.curve.MustTrip", "707.curve.MomCess", "711.curve.DbOf", "712.curve.points")
	vendor := devices.Point{Name: "vendor", Type: devices.Uint16, Modbus: &devices.ModbusAddress{Table: devices.Holding, Address: 40000}}
	points = append(points, vendor)
	// The device's value is outside what the profile allows: that is drift, and
	// not an error.
	points[1].Max = bound(40000)
	wanted := []devices.Value{"92/44 98/0 102/0 108/-44", 50000.0, "NL-inv-07", "MPPT", 100.0, int64(300), int64(5), "VAR_MAX_PCT",
		5.0, int64(300), "ENABLED", "50/0.16 88/2", "", 0.036, "-100/44 -50/0 -20/0 20/0 50/0 100/-44", int64(0x5375)}
	at, _ := p.chain.Find(702, 1)
	require.NoError(t, p.Poke(devices.Holding, at.Address+42, 5)) // IntIslandCat
	got, err := l.Read(t.Context(), points)
	require.NoError(t, err)
	require.Equal(t, wanted, got)
	for i, point := range points {
		point.Min, point.Max = nil, nil
		same, err := point.Canonical(got[i])
		require.NoError(t, err)
		require.Equal(t, got[i], same, "the value is canonical for the point")
	}
	none, err := l.Read(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, none)
	require.NoError(t, l.Ping(t.Context()))
}

func TestALinkAsksForEachModelOnce(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	counted := &interruptedLink{Link: p.link, before: func(int) {}}
	l := p.over(t, counted, time.Second)
	read := func(names ...string) int {
		counted.reads = 0
		_, err := l.Read(t.Context(), givens(t, names...))
		require.NoError(t, err)
		return counted.reads
	}
	const discovery = 17 + 2
	require.Equal(t, discovery+2, read("121.WMax", "103.W", "121.VRef", "121.WMax_SF", "103.St"))
	require.Equal(t, 2, read("121.WMax", "103.W", "121.VRef", "103.St"), "the models are remembered")
	require.Equal(t, 2, read("705.curve.points", "705.curve.RspTms", "705.Ena"), "the points of a model with curves come with the curves")
	require.Equal(t, 2, read("701.W"), "a long model is one call and its factors")
	_, err := l.Read(t.Context(), givens(t, "121.VMin"))
	require.Error(t, err)
	require.Equal(t, discovery+1, read("121.WMax"), "after any error they are looked for anew")
}

func TestALinkUsesTheScaleFactorOfTheMoment(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	l := p.speaks(t)
	wmax, sf := p.address(t, "121.WMax"), p.address(t, "121.WMax_SF")
	read := func() devices.Value {
		got, err := l.Read(t.Context(), givens(t, "121.WMax"))
		require.NoError(t, err)
		return got[0]
	}
	require.Equal(t, 50000.0, read())
	require.NoError(t, p.Poke(devices.Holding, sf, 2))
	require.NoError(t, p.Poke(devices.Holding, wmax, 500))
	require.Equal(t, 50000.0, read())
	require.NoError(t, l.Write(t.Context(), []devices.Setting{want(t, "121.WMax", 42000)}))
	require.Equal(t, uint16(420), p.peek(t, wmax), "never a number at another scale than the device's")
	require.Equal(t, 42000.0, read())
	// Without a scale the value is a whole number there, and a float64 here.
	require.NoError(t, p.Poke(devices.Holding, sf, 0))
	require.Equal(t, 420.0, read())
}

func TestALinkFindsAnExchangedDeviceOut(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	l := p.speaks(t)
	points := givens(t, "121.WMax")
	_, err := l.Read(t.Context(), points)
	require.NoError(t, err)
	at, _ := p.chain.Find(121, 1)
	for name, broken := range map[string]uint16{"another ID": at.Address - 2, "another length": at.Address - 1} {
		was := p.peek(t, broken)
		require.NoError(t, p.Poke(devices.Holding, broken, was+1))
		for _, call := range []func() error{
			func() error { _, err := l.Read(t.Context(), points); return err },
			func() error { return l.Write(t.Context(), []devices.Setting{want(t, "121.WMax", 42000)}) },
		} {
			err := call()
			require.Equal(t, devices.Rejected, devices.KindOf(err), name)
			require.ErrorContains(t, err, "the device was exchanged, or has other models since it started anew")
			require.Empty(t, p.Writes())
			require.NoError(t, p.Poke(devices.Holding, broken, was))
			_, err = l.Read(t.Context(), points)
			require.NoError(t, err, "the models are looked for anew")
			require.NoError(t, p.Poke(devices.Holding, broken, was+1))
		}
		require.NoError(t, p.Poke(devices.Holding, broken, was))
		_, _ = l.Read(t.Context(), points)
	}
}

func TestWhatADeviceDoesNotImplementIsNamed(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	l := p.speaks(t)
	points := givens(t, "711.curve.PMin", "121.WMax", "802.SoC", "121.VMin", "103.DCA", "705#2.curve.points")
	points[4].Name = "dc_current"
	_, err := l.Read(t.Context(), points)
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
	require.EqualError(t, err, "inv-07: read: unsupported: the device does not implement 711.curve.PMin, 802.SoC, 121.VMin, dc_current (103.DCA), 705#2.curve.points: "+
		"it has no model 802, 705#2; it has 1, 103, 120, 121, 123, 701, 702, 703, 704, 705, 706, 707, 708, 709, 710, 711, 712")
	var missing *sunspec.Missing
	require.True(t, errors.As(err, &missing))
	require.Len(t, missing.Names, 5)
	require.Equal(t, []string{"802", "705#2"}, missing.Models)
	err = l.Write(t.Context(), []devices.Setting{want(t, "121.WMax", 42000), want(t, "121.VMin", 300)})
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
	require.True(t, errors.As(err, &missing))
	require.Equal(t, []string{"121.VMin"}, missing.Names)
	err = l.Write(t.Context(), []devices.Setting{want(t, "121.WMax", 42000), want(t, "711.curve.PMin", 10)})
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
	require.ErrorContains(t, err, "does not implement PMin")
	require.Empty(t, p.Writes())
}

func TestALinkSaysWhatItCannotRead(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindLegacyInverter})
	l := p.speaks(t)
	wrong := given(t, "101.St")
	wrong.Enum = nil
	unknown := given(t, "121.WMax")
	unknown.SunSpec = "121.Power"
	nameless := given(t, "121.WMax")
	nameless.SunSpec = "Power"
	require.NoError(t, p.Poke(devices.Holding, p.address(t, "121.VArAct"), 9))
	for name, c := range map[string]struct {
		point devices.Point
		kind  devices.Kind
		words string
	}{
		"a model that the device lacks":      {given(t, "705.curve.points"), devices.Unsupported, "the device does not implement 705.curve.points: it has no model 705; it has 1, 101, 120, 121, 123, 126"},
		"a point that no model has":          {unknown, devices.Unsupported, `121.WMax: 121.Power: model 121 (Basic settings) has no point "Power"`},
		"what is no point":                   {nameless, devices.Unsupported, `"Power" is not a SunSpec point`},
		"a number for a name":                {wrong, devices.Rejected, "read 101.St: rejected: 101.St: MPPT is not a number"},
		"a value that the model has no name": {given(t, "121.VArAct"), devices.Rejected, "VArAct: the device has 9, which the profile does not name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := l.Read(t.Context(), []devices.Point{c.point})
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
		})
	}
	require.NoError(t, p.Poke(devices.Holding, p.address(t, "126.ActCrv"), 0))
	_, err := l.Read(t.Context(), givens(t, "126.curve.DeptRef"))
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "no curve is in force")
	_, err = l.Read(t.Context(), []devices.Point{{Name: "bare", Type: devices.Uint16}})
	require.Equal(t, devices.Unsupported, devices.KindOf(err), "what has neither a model nor a register is the Modbus link's to refuse")
	none := p.over(t, failingLink{p.link, &devices.Error{Kind: devices.Unreachable, Device: "inv-07", Op: "read", Err: errors.New("gone")}}, time.Second)
	_, err = none.Read(t.Context(), givens(t, "121.WMax"))
	require.Equal(t, devices.Unreachable, devices.KindOf(err))
}

// failingLink fails every call.
type failingLink struct {
	devices.Link
	err error
}

func (l failingLink) Read(context.Context, []devices.Point) ([]devices.Value, error) {
	return nil, l.err
}

func TestALinkIsSafeForConcurrentUse(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter, AdoptDelay: time.Millisecond})
	l := p.speaks(t)
	var all sync.WaitGroup
	errs := make(chan error, 16)
	for i := range 4 {
		all.Go(func() {
			_, err := l.Read(t.Context(), givens(t, "121.WMax", "705.curve.points"))
			errs <- err
		})
		all.Go(func() {
			errs <- l.Write(t.Context(), []devices.Setting{want(t, "121.WMax", 40000+1000*i), want(t, "705.curve.RspTms", 10+i)})
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	got, err := l.Read(t.Context(), givens(t, "121.WMax", "705.curve.RspTms"))
	require.NoError(t, err)
	require.Equal(t, 40000+1000*(got[1].(float64)-10), got[0], "each write was one")

	// One that waits gives up with its context, and learns nothing of the device.
	holding, let := make(chan struct{}), make(chan struct{})
	slow := &interruptedLink{Link: p.link, before: func(read int) {
		if read == 1 {
			close(holding)
			<-let
		}
	}}
	l = p.over(t, slow, time.Second)
	all.Go(func() { _, _ = l.Read(t.Context(), givens(t, "121.WMax")) })
	<-holding
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.Read(ctx, givens(t, "121.WMax"))
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, devices.KindOf(err))
	close(let)
	all.Wait()
}
