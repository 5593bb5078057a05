package modbus

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

func at(table devices.ModbusTable, address uint16, typ devices.Type, length ...uint16) devices.Point {
	p := devices.Point{Name: string(typ), Type: typ, Modbus: &devices.ModbusAddress{Table: table, Address: address}}
	if len(length) > 0 {
		p.Modbus.Length = length[0]
	}
	return p
}

func texts(spans []span) string {
	var all []string
	for _, s := range spans {
		all = append(all, s.String())
	}
	return strings.Join(all, ", ")
}

func TestPlanReads(t *testing.T) {
	run := func(table devices.ModbusTable, typ devices.Type, from, n, step uint16) []devices.Point {
		var all []devices.Point
		for i := range n {
			all = append(all, at(table, from+i*step, typ))
		}
		return all
	}
	for _, c := range []struct {
		name   string
		points []devices.Point
		want   string
	}{
		{"nothing asks for nothing", nil, ""},
		{"neighbours go together, in any order", []devices.Point{at(devices.Holding, 102, devices.Float32), at(devices.Holding, 100, devices.Uint16), at(devices.Holding, 101, devices.Uint16)}, "holding 100+4"},
		{"a hole is never read", []devices.Point{at(devices.Holding, 100, devices.Uint16), at(devices.Holding, 102, devices.Uint16)}, "holding 100+1, holding 102+1"},
		{"tables are apart", []devices.Point{at(devices.Input, 100, devices.Uint16), at(devices.Holding, 101, devices.Uint16)}, "holding 101+1, input 100+1"},
		{"the same point twice is read once", []devices.Point{at(devices.Holding, 1, devices.Uint32), at(devices.Holding, 1, devices.Uint32)}, "holding 1+2"},
		{"points may overlap", []devices.Point{at(devices.Holding, 1, devices.Uint64), at(devices.Holding, 2, devices.Uint16)}, "holding 1+4"},
		{"a hundred registers are one request", run(devices.Holding, devices.Uint16, 0, 100, 1), "holding 0+100"},
		{"a hundred and one are two", run(devices.Holding, devices.Uint16, 0, 101, 1), "holding 0+100, holding 100+1"},
		{"no point is torn", run(devices.Holding, devices.Uint64, 2, 26, 4), "holding 2+100, holding 102+4"},
		{"nor one that crosses the limit", append(run(devices.Holding, devices.Uint16, 0, 99, 1), at(devices.Holding, 99, devices.Uint32)), "holding 0+99, holding 99+2"},
		{"two thousand bits are one request", run(devices.Discrete, devices.Bool, 0, 2001, 1), "discrete 0+2000, discrete 2000+1"},
		{"the last register", []devices.Point{at(devices.Holding, 65535, devices.Uint16)}, "holding 65535+1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spans, err := planReads(c.points)
			require.NoError(t, err)
			require.Equal(t, c.want, texts(spans))
		})
	}
}

func TestPlanWrites(t *testing.T) {
	coil := func(address uint16) devices.Setting {
		return devices.Setting{Point: at(devices.Coil, address, devices.Bool), Value: true}
	}
	for _, c := range []struct {
		name     string
		settings []devices.Setting
		want     string
	}{
		{"neighbours go together, in ascending order", []devices.Setting{set("b", 101, 2), set("a", 100, 1), set("c", 103, 3)}, "holding 100+2, holding 103+1"},
		{"registers before coils", []devices.Setting{coil(1), set("a", 100, 1), coil(2)}, "holding 100+1, coil 1+2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spans, refused := planWrites(c.settings)
			require.Nil(t, refused)
			require.Equal(t, c.want, texts(spans))
		})
	}
}

// TestWhatIsRefusedBeforeAnythingIsSent has a good setting in each list, which
// must not be written.
func TestWhatIsRefusedBeforeAnythingIsSent(t *testing.T) {
	good := set("good", 1, 1)
	wide := at(devices.Holding, 10, devices.String, 101)
	for _, c := range []struct {
		name  string
		bad   devices.Setting
		kind  devices.Kind
		words string
	}{
		{"an input register", devices.Setting{Point: at(devices.Input, 5, devices.Uint16), Value: int64(1)}, devices.Unsupported, "uint16 is in table input, which Modbus cannot write"},
		{"a discrete input", devices.Setting{Point: at(devices.Discrete, 5, devices.Bool), Value: true}, devices.Unsupported, "which Modbus cannot write"},
		{"a table that there is none", devices.Setting{Point: at("flash", 5, devices.Bool), Value: true}, devices.Unsupported, `table "flash", which is not one of`},
		{"no address", devices.Setting{Point: devices.Point{Name: "x", Type: devices.Bool}, Value: true}, devices.Unsupported, "x has no Modbus address"},
		{"a number in a coil", devices.Setting{Point: at(devices.Coil, 5, devices.Uint16), Value: int64(1)}, devices.Unsupported, "table coil holds only bool"},
		{"a text without a length", devices.Setting{Point: at(devices.Holding, 5, devices.String), Value: "a"}, devices.Unsupported, "states no length"},
		{"a text over the limit", devices.Setting{Point: wide, Value: "a"}, devices.Unsupported, "takes 101 registers, and one request holds 100"},
		{"a type that there is none", devices.Setting{Point: at(devices.Holding, 5, "int128"), Value: int64(1)}, devices.Unsupported, `has type "int128"`},
		{"behind the last register", devices.Setting{Point: at(devices.Holding, 65535, devices.Uint32), Value: int64(1)}, devices.Unsupported, "ends behind address 65535"},
		{"a value that does not fit", set("big", 5, 70000), devices.Rejected, "big: 70000 does not fit uint16"},
		{"an enum's integer that does not fit", devices.Setting{Point: devices.Point{Name: "mode", Type: devices.Uint16,
			Enum: map[string]int64{"on": 65537}, Modbus: &devices.ModbusAddress{Table: devices.Holding, Address: 5}}, Value: "on"}, devices.Rejected, "mode: on does not fit uint16"},
		{"two settings in one register", set("twin", 1, 1), devices.Rejected, "good and twin overlap at holding 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, nil)
			_, l := open(t, Options{}, p.endpoint())
			err := l.Write(t.Context(), []devices.Setting{good, c.bad})
			require.Equal(t, c.kind, devices.KindOf(err))
			require.ErrorContains(t, err, "dev-1: write: ")
			require.ErrorContains(t, err, c.words)
			dials, _ := p.seen()
			require.Zero(t, dials)
		})
	}
}

func TestTheFunctionOfAWrite(t *testing.T) {
	wide := devices.Setting{Point: devices.Point{Name: "limit", Type: devices.Uint32, Modbus: &devices.ModbusAddress{Table: devices.Holding, Address: 7}}, Value: int64(1)}
	for _, c := range []struct {
		name     string
		settings []devices.Setting
		multiple bool
		want     byte
	}{
		{"one register: FC06", []devices.Setting{set("a", 1, 1)}, false, 6},
		{"one register of a device without FC06: FC16", []devices.Setting{set("a", 1, 1)}, true, 16},
		{"a value over two registers: FC16", []devices.Setting{wide}, false, 16},
		{"neighbours: FC16", []devices.Setting{set("a", 1, 1), set("b", 2, 1)}, false, 16},
		{"one coil: FC05", []devices.Setting{{Point: at(devices.Coil, 1, devices.Bool), Value: true}}, true, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, nil)
			ep := p.endpoint()
			ep.OnlyWriteMultiple = c.multiple
			_, l := open(t, Options{}, ep)
			require.NoError(t, l.Write(t.Context(), c.settings))
			require.Len(t, p.requests, 1)
			require.Equal(t, c.want, p.requests[0][headerLen])
		})
	}
}

func TestOpen(t *testing.T) {
	d := New(Options{})
	defer d.Close()
	require.Equal(t, "modbus-tcp", d.Protocol())
	for _, c := range []struct {
		name  string
		ep    devices.Endpoint
		words string
	}{
		{"an address without a port", devices.Endpoint{Address: "10.0.0.1"}, "want host:port"},
		{"a reserved unit", devices.Endpoint{DeviceID: "dev-1", Address: "10.0.0.1:502", Unit: 248}, "dev-1: open the link: unsupported: unit 248 is reserved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := d.Open(t.Context(), c.ep)
			require.Equal(t, devices.Unsupported, devices.KindOf(err))
			require.ErrorContains(t, err, c.words)
			require.Nil(t, l)
		})
	}
	t.Run("no unit is unit 255, never the broadcast", func(t *testing.T) {
		p := newPeer(t, nil)
		ep := p.endpoint()
		ep.Unit = 0
		l, err := d.Open(t.Context(), ep)
		require.NoError(t, err)
		require.NoError(t, l.Ping(t.Context()))
		require.Equal(t, byte(255), p.requests[0][6])
	})
}
