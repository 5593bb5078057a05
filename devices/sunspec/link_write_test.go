package sunspec_test

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices"
	"edgefleet/devices/sim"
	"edgefleet/devices/sunspec"
	"edgefleet/devices/sunspec/sunspecsim"
)

// order lists the names of what was written, one for each run of one thing:
// a point, or a stored curve.
func (p *plant) order() []string {
	var out []string
	for _, w := range p.Log() {
		name := w.Name
		if model, rest, ok := strings.Cut(name, ".Crv"); ok {
			name = model + ".Crv" + rest[:1]
		}
		if len(out) == 0 || out[len(out)-1] != name {
			out = append(out, name)
		}
	}
	return out
}

func TestALinkWritesPlainSettingsThenCurvesThenWhatEnables(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	l := p.speaks(t)
	settings := []devices.Setting{
		want(t, "706.Ena", "ENABLED"), want(t, "705.Ena", "DISABLED"),
		want(t, "705.curve.points", "90/60 100/0 110/-60"), want(t, "707.curve.MustTrip", "45/0.16 88/10"), want(t, "705.curve.RspTms", 10),
		want(t, "711.curve.DbOf", 0.017), want(t, "703.ESDlyTms", 60), want(t, "121.WMax", 42000), want(t, "707.curve.MomCess", "50/0.08"),
	}
	require.NoError(t, l.Write(t.Context(), settings))
	require.Equal(t, []string{"121.WMax", "703.ESDlyTms", "705.Ena",
		"705.Crv2", "705.AdptCrvReq", "707.Crv2", "707.AdptCrvReq", "711.Crv2", "711.AdptCtlReq", "706.Ena"}, p.order())
	var points []devices.Point
	var wanted []devices.Value
	for _, s := range settings {
		v, err := s.Point.Canonical(s.Value)
		require.NoError(t, err)
		points, wanted = append(points, s.Point), append(wanted, v)
	}
	got, err := l.Read(t.Context(), points)
	require.NoError(t, err)
	require.Equal(t, wanted, got, "what was wanted reads back as itself")

	before := len(p.Log())
	require.NoError(t, l.Write(t.Context(), settings[2:6]))
	require.Len(t, p.Log(), before, "a curve that is in force is not written again")
}

func TestALinkPassesOnWhatHasNoModel(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	l := p.speaks(t)
	vendor := devices.Setting{Value: int64(4300), Point: devices.Point{Name: "vendor", Type: devices.Uint16, Writable: true,
		Modbus: &devices.ModbusAddress{Table: devices.Holding, Address: p.address(t, "121.WMax")}}}
	require.NoError(t, l.Write(t.Context(), []devices.Setting{vendor}))
	require.Equal(t, uint16(4300), p.peek(t, vendor.Point.Modbus.Address))
	require.NoError(t, l.Write(t.Context(), nil))
	vendor.Value = int64(4400)
	require.NoError(t, l.Write(t.Context(), []devices.Setting{want(t, "121.VRef", 400.5), vendor}))
	got, err := l.Read(t.Context(), []devices.Point{vendor.Point, given(t, "121.VRef"), given(t, "121.WMax")})
	require.NoError(t, err)
	require.Equal(t, []devices.Value{int64(4400), 400.5, 44000.0}, got)
}

func TestALinkRefusesBeforeItWritesAnything(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	l := p.speaks(t)
	narrow := want(t, "121.WMax", 60001)
	narrow.Point.Max = bound(60000)
	renamed := want(t, "703.ESHzHi", 50.0005)
	renamed.Point.Name = "frequency"
	coarse := want(t, "121.WMax", 42000)
	coarse.Point.Type, coarse.Point.Scale = devices.Uint16, 100
	untyped := want(t, "705.curve.points", "92/44")
	untyped.Point.Columns, untyped.Point.Type, untyped.Value = nil, devices.Uint16, 5
	again := want(t, "121.WMax", 43000)
	again.Point.Name, again.Point.SunSpec = "power", "121#1.WMax"
	for name, c := range map[string]struct {
		settings []devices.Setting
		kind     devices.Kind
		words    string
	}{
		"a control":                             {[]devices.Setting{want(t, "704.WMaxLimPct", 50)}, devices.Unsupported, "704.WMaxLimPct is a control, a command of the moment; these are never written"},
		"a control among settings":              {[]devices.Setting{want(t, "703.ES", "DISABLED")}, devices.Unsupported, "703.ES is a control"},
		"the request to adopt":                  {[]devices.Setting{want(t, "705.AdptCrvReq", 2)}, devices.Unsupported, "705.AdptCrvReq is a control"},
		"a measurement":                         {[]devices.Setting{want(t, "103.W", 1)}, devices.Unsupported, "103.W can only be read"},
		"outside the given range":               {[]devices.Setting{narrow}, devices.Rejected, "121.WMax: 60001 is outside -inf to 60000 W"},
		"between two steps":                     {[]devices.Setting{want(t, "121.WMax", 42005)}, devices.Rejected, "121.WMax: 42005 is not a multiple of 10"},
		"between two steps, by another name":    {[]devices.Setting{renamed}, devices.Rejected, "frequency: 50.0005 is not a multiple of 0.001"},
		"a hair off a step":                     {[]devices.Setting{want(t, "121.WMax", 42000.000001)}, devices.Rejected, "121.WMax: 42000.000001 would be 42000 on the device, which has steps of 10"},
		"more than the device can hold":         {[]devices.Setting{want(t, "121.WMax", 655350)}, devices.Rejected, "121.WMax: 655350 is outside 0 to 655340 W"},
		"a name that is none":                   {[]devices.Setting{want(t, "121.VArAct", "HOLD")}, devices.Rejected, "not one of SWITCH, MAINTAIN"},
		"one point twice":                       {[]devices.Setting{want(t, "121.WMax", 42000), again}, devices.Rejected, "121.WMax and power are the same point 121.WMax"},
		"a point of a curve between two steps":  {[]devices.Setting{want(t, "705.curve.points", "92/44 98.05/0")}, devices.Rejected, "point 2: V: 98.05 is not a multiple of 0.1"},
		"a setting of a curve between steps":    {[]devices.Setting{want(t, "705.curve.RspTms", 5.04)}, devices.Rejected, "RspTms: 5.04 is not a multiple of 0.1"},
		"a curve without points":                {[]devices.Setting{want(t, "705.curve.points", "")}, devices.Rejected, "705.curve.points: a curve without points is none; disable the function instead"},
		"more points than there is room for":    {[]devices.Setting{want(t, "706.curve.points", "1/1 2/2 3/3")}, devices.Unsupported, "3 points are wanted, and a curve of the device has room for 2"},
		"rows that are none":                    {[]devices.Setting{want(t, "705.curve.points", "92/44/1")}, devices.Rejected, "a row has 3 numbers, want 2: V/Var"},
		"a table that is no text":               {[]devices.Setting{untyped}, devices.Rejected, "705.curve.points: 5 is not the text of a table"},
		"a model that the device does not have": {[]devices.Setting{want(t, "802.SoCRsvMin", 10)}, devices.Unsupported, "the device has no model 802"},
		"a point that no model has":             {[]devices.Setting{{Point: devices.Point{Name: "x", SunSpec: "121.X"}, Value: 1}}, devices.Unsupported, `no point "X"`},
	} {
		t.Run(name, func(t *testing.T) {
			good := []devices.Setting{want(t, "703.ESDlyTms", 60), want(t, "705.curve.VRef", 99)}
			err := l.Write(t.Context(), append(good, c.settings...))
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
			require.Empty(t, p.Writes())
		})
	}
	require.NoError(t, l.Write(t.Context(), []devices.Setting{coarse}), "a scale of the profile's own is its own affair")
}

func TestAWriteThatGoesWrongHalfwaySaysSo(t *testing.T) {
	three := func(t *testing.T) []devices.Setting {
		return []devices.Setting{want(t, "121.WMax", 42000), want(t, "705.curve.RspTms", 10), want(t, "706.curve.RspTms", 20), want(t, "706.Ena", "ENABLED")}
	}
	t.Run("an adoption that the device refuses", func(t *testing.T) {
		p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
		p.FailAdoption(true)
		err := p.speaks(t).Write(t.Context(), three(t))
		require.Equal(t, devices.Rejected, devices.KindOf(err))
		require.EqualError(t, err, "inv-07: adopt curve 2 of SunSpec model 705: rejected: the device says that it could not adopt the curve (before it, written: 121.WMax)")
		require.Equal(t, []string{"121.WMax", "705.Crv2", "705.AdptCrvReq"}, p.order(), "nothing is enabled after that")
	})
	t.Run("what was as wanted is not said to have been written", func(t *testing.T) {
		p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
		p.FailAdoption(true)
		err := p.speaks(t).Write(t.Context(), []devices.Setting{want(t, "705.curve.RspTms", 5), want(t, "706.curve.RspTms", 20)})
		require.EqualError(t, err, "inv-07: adopt curve 2 of SunSpec model 706: rejected: the device says that it could not adopt the curve")
	})
	t.Run("an adoption that does not end", func(t *testing.T) {
		p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter, AdoptDelay: time.Hour})
		l := p.over(t, p.link, 30*time.Millisecond)
		err := l.Write(t.Context(), three(t))
		require.Equal(t, devices.Indeterminate, devices.KindOf(err))
		err = l.Write(t.Context(), three(t))
		require.Equal(t, devices.Busy, devices.KindOf(err))
		require.ErrorContains(t, err, "the device is adopting curve 2")
	})
	t.Run("a line that is cut after the first of two curves", func(t *testing.T) {
		p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter, AdoptDelay: time.Millisecond})
		var l devices.Link
		cut := &cutLink{Link: p.link, cut: func(settings []devices.Setting) bool {
			return strings.Contains(settings[0].Point.Name, "of curve") && len(p.order()) > 2
		}}
		l = p.over(t, cut, 10*time.Second)
		err := l.Write(t.Context(), three(t))
		require.Equal(t, devices.Indeterminate, devices.KindOf(err), "nothing of this request was sent, but much before it")
		require.ErrorContains(t, err, "before it, written: 121.WMax, the curve of model 705")
	})
	for kind, want := range map[devices.Kind]devices.Kind{devices.Unreachable: devices.Indeterminate, devices.Auth: devices.Indeterminate,
		devices.OwnPath: devices.Indeterminate, devices.Busy: devices.Busy, devices.Rejected: devices.Rejected} {
		t.Run("a function that cannot be enabled in the end: "+string(kind), func(t *testing.T) {
			p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter, AdoptDelay: time.Millisecond})
			cut := &cutLink{Link: p.link, kind: kind, cut: func(settings []devices.Setting) bool { return settings[0].Point.Name == "706.Ena" }}
			err := p.over(t, cut, 10*time.Second).Write(t.Context(), three(t))
			require.Equal(t, want, devices.KindOf(err))
			require.ErrorContains(t, err, "before it, written: 121.WMax, the curve of model 705, the curve of model 706")
		})
	}
	t.Run("a line that is cut before anything is written", func(t *testing.T) {
		p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
		l := p.over(t, &cutLink{Link: p.link, cut: func([]devices.Setting) bool { return true }}, time.Second)
		err := l.Write(t.Context(), three(t))
		require.Equal(t, devices.Unreachable, devices.KindOf(err))
		err = l.Write(t.Context(), three(t)[1:2])
		require.Equal(t, devices.Indeterminate, devices.KindOf(err), "whether the stored curve was written is not known for sure")
	})
	t.Run("a caller who gives up during an adoption", func(t *testing.T) {
		p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter, AdoptDelay: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		catalog, err := sunspec.NewCatalog()
		require.NoError(t, err)
		o := quick(time.Hour)
		o.Progress = func(s string) {
			if strings.HasPrefix(s, "wait") {
				cancel()
			}
		}
		err = catalog.LinkWith(p.link, "inv-07", o).Write(ctx, three(t))
		require.Equal(t, devices.Indeterminate, devices.KindOf(err))
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("settings that drifted are put right", func(t *testing.T) {
		p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
		require.NoError(t, p.Break(sim.FaultDrift, false))
		l := p.speaks(t)
		got, err := l.Read(t.Context(), givens(t, "121.WMax", "703.ESHzHi"))
		require.NoError(t, err)
		require.Equal(t, []devices.Value{42000.0, 70.0}, got)
		require.NoError(t, l.Write(t.Context(), []devices.Setting{want(t, "121.WMax", 50000), want(t, "703.ESHzHi", 50.1)}))
		got, err = l.Read(t.Context(), givens(t, "121.WMax", "703.ESHzHi"))
		require.NoError(t, err)
		require.Equal(t, []devices.Value{50000.0, 50.1}, got)
	})
}

// cutLink fails a write before it is sent.
type cutLink struct {
	devices.Link
	kind devices.Kind // "": Unreachable
	cut  func([]devices.Setting) bool
}

func (l *cutLink) Write(ctx context.Context, settings []devices.Setting) error {
	if l.cut(settings) {
		return &devices.Error{Kind: cmp.Or(l.kind, devices.Unreachable), Device: "inv-07", Op: "write", Err: errors.New("the line is cut")}
	}
	return l.Link.Write(ctx, settings)
}

// TestWhatIsWrittenReadsBackAsItself: any value that the device can hold, as a
// baseline writes it in decimals, is equal to its reading.
func TestWhatIsWrittenReadsBackAsItself(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter, AdoptDelay: time.Millisecond})
	l := p.speaks(t)
	rapid.Check(t, func(t2 *rapid.T) {
		rows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []float64 {
			return []float64{float64(rapid.IntRange(0, 2000).Draw(t, "v")) / 10, float64(rapid.IntRange(-1000, 1000).Draw(t, "var")) / 10}
		}), 1, 6).Draw(t2, "rows")
		settings := []devices.Setting{
			want(t, "705.curve.points", devices.FormatRows(rows)),
			want(t, "705.curve.RspTms", float64(rapid.IntRange(0, 10000).Draw(t2, "tms"))/10),
			want(t, "703.ESHzLo", float64(rapid.IntRange(40000, 60000).Draw(t2, "hz"))/1000),
			want(t, "121.PFMinQ4", float64(rapid.IntRange(-100, 0).Draw(t2, "pf"))/100),
		}
		require.NoError(t2, l.Write(t.Context(), settings))
		var points []devices.Point
		for _, s := range settings {
			points = append(points, s.Point)
		}
		got, err := l.Read(t.Context(), points)
		require.NoError(t2, err)
		for i, s := range settings {
			require.Equal(t2, s.Value, got[i], s.Point.Name)
		}
	})
}

func TestWriteWithinCountsTheCurves(t *testing.T) {
	require.Zero(t, sunspec.WriteWithin([]devices.Setting{want(t, "121.WMax", 1), {Point: devices.Point{Name: "vendor"}}}))
	one := sunspec.WriteWithin([]devices.Setting{want(t, "705.curve.RspTms", 1), want(t, "705.curve.points", "1/1")})
	require.Greater(t, one, sunspec.DefaultAdoptWithin)
	require.Greater(t, sunspec.WriteWithin([]devices.Setting{want(t, "705.curve.RspTms", 1), want(t, "705#2.curve.RspTms", 1)}), one+sunspec.DefaultAdoptWithin)
}
