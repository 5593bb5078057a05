package modbus_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"edgefleet/devices"
	"edgefleet/devices/modbus"
	"edgefleet/devices/sim"
	"edgefleet/devices/sunspec"
	"edgefleet/devices/sunspec/sunspecsim"
)

// peers are the servers, each with each framing that it speaks.
func peers() map[string]func(*testing.T) devices.Endpoint {
	return map[string]func(*testing.T) devices.Endpoint{
		"libmodbus, Modbus TCP":   libmodbusTCP,
		"libmodbus, RTU over TCP": libmodbusRTU,
		"pymodbus, Modbus TCP":    func(t *testing.T) devices.Endpoint { return pymodbus(t, devices.FramingTCP) },
		"pymodbus, RTU over TCP":  func(t *testing.T) devices.Endpoint { return pymodbus(t, devices.FramingRTU) },
	}
}

func point(table devices.ModbusTable, address uint16, typ devices.Type) devices.Point {
	return devices.Point{Name: fmt.Sprintf("%s_%d", table, address), Type: typ,
		Modbus: &devices.ModbusAddress{Table: table, Address: address, Length: 4}}
}

func span(table devices.ModbusTable, address uint16, n int) []devices.Point {
	typ := devices.Uint16
	if table == devices.Coil || table == devices.Discrete {
		typ = devices.Bool
	}
	points := make([]devices.Point, n)
	for i := range points {
		points[i] = point(table, address+uint16(i), typ)
	}
	return points
}

func set(points []devices.Point, value func(i int) devices.Value) []devices.Setting {
	settings := make([]devices.Setting, len(points))
	for i := range points {
		settings[i] = devices.Setting{Point: points[i], Value: value(i)}
	}
	return settings
}

func TestEveryFunctionAgainstEveryPeer(t *testing.T) {
	for name, peer := range peers() {
		t.Run(name, func(t *testing.T) {
			_, link := open(t, peer(t))

			t.Run("FC03 and FC04 read 100 registers at once, and more in several requests", func(t *testing.T) {
				for _, n := range []int{1, 100, 250} {
					values, err := link.Read(t.Context(), span(devices.Holding, 0, n))
					require.NoError(t, err)
					require.Len(t, values, n)
					for i, v := range values {
						require.Equal(t, int64(i), v)
					}
				}
				values, err := link.Read(t.Context(), span(devices.Input, 100, 100))
				require.NoError(t, err)
				for i, v := range values {
					require.Equal(t, int64(10100+i), v)
				}
			})
			t.Run("FC01 and FC02 read bits, also some that fill no byte", func(t *testing.T) {
				for _, n := range []int{1, 7, 8, 9, 1000} {
					coils, err := link.Read(t.Context(), span(devices.Coil, 3, n))
					require.NoError(t, err)
					inputs, err := link.Read(t.Context(), span(devices.Discrete, 3, n))
					require.NoError(t, err)
					for i := range n {
						require.Equal(t, (i+3)%3 == 0, coils[i], "coil %d", i+3)
						require.Equal(t, (i+3)%5 == 0, inputs[i], "input %d", i+3)
					}
				}
			})
			t.Run("FC06 writes one register, FC16 up to 100, FC05 one coil, FC15 several", func(t *testing.T) {
				for _, n := range []int{1, 2, 100} {
					registers := span(devices.Holding, 1000, n)
					require.NoError(t, link.Write(t.Context(), set(registers, func(i int) devices.Value { return int64(65535 - i) })))
					values, err := link.Read(t.Context(), registers)
					require.NoError(t, err)
					for i, v := range values {
						require.Equal(t, int64(65535-i), v)
					}
					coils := span(devices.Coil, 1000, n)
					require.NoError(t, link.Write(t.Context(), set(coils, func(i int) devices.Value { return i%2 == 0 })))
					values, err = link.Read(t.Context(), coils)
					require.NoError(t, err)
					for i, v := range values {
						require.Equal(t, i%2 == 0, v)
					}
				}
				after, err := link.Read(t.Context(), span(devices.Holding, 1100, 2))
				require.NoError(t, err)
				require.Equal(t, []devices.Value{int64(1100), int64(1101)}, after, "nothing behind was touched")
			})
			t.Run("word orders are the peer's own", func(t *testing.T) {
				high, low := point(devices.Holding, 1500, devices.Float32), point(devices.Holding, 1502, devices.Float32)
				low.Modbus.WordSwap = true
				values, err := link.Read(t.Context(), []devices.Point{high, low})
				require.NoError(t, err)
				require.Equal(t, []devices.Value{4500.25, 4500.25}, values)
			})
			t.Run("exceptions are answers, and the line stays good", func(t *testing.T) {
				for _, read := range [][]devices.Point{span(devices.Holding, 1990, 20), span(devices.Input, 5000, 1), span(devices.Coil, 1999, 2)} {
					_, err := link.Read(t.Context(), read)
					require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
					require.ErrorContains(t, err, "illegal data address")
				}
				err := link.Write(t.Context(), set(span(devices.Holding, 1999, 2), func(int) devices.Value { return int64(1) }))
				require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
				err = link.Write(t.Context(), set(span(devices.Coil, 5000, 1), func(int) devices.Value { return true }))
				require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
				require.NoError(t, link.Ping(t.Context()))
			})
		})
	}
}

// TestEveryTypeAgainstEveryPeer writes each type and reads it back, in both word
// orders, through the peer's memory.
func TestEveryTypeAgainstEveryPeer(t *testing.T) {
	for name, peer := range peers() {
		t.Run(name, func(t *testing.T) {
			_, link := open(t, peer(t))
			for _, c := range []struct {
				typ   devices.Type
				value devices.Value
			}{
				{devices.Int16, int64(-720)}, {devices.Uint16, int64(65535)}, {devices.Int32, int64(-70000)}, {devices.Uint32, int64(4000000000)},
				{devices.Int64, int64(-1 << 62)}, {devices.Uint64, uint64(1<<63 + 5)}, {devices.Float32, 0.5}, {devices.Float64, 3.141592653589793},
				{devices.String, "FR-200/A"},
			} {
				for _, swap := range []bool{false, true} {
					if swap && c.typ == devices.String {
						continue
					}
					p := point(devices.Holding, 1200, c.typ)
					p.Modbus.WordSwap = swap
					require.NoError(t, link.Write(t.Context(), []devices.Setting{{Point: p, Value: c.value}}))
					values, err := link.Read(t.Context(), []devices.Point{p})
					require.NoError(t, err)
					require.Equal(t, []devices.Value{c.value}, values, "%s, swapped %v", c.typ, swap)
				}
			}
		})
	}
}

func TestIdentification(t *testing.T) {
	for _, framing := range []devices.Framing{devices.FramingTCP, devices.FramingRTU} {
		t.Run("pymodbus, "+string(framing), func(t *testing.T) {
			ep := pymodbus(t, framing)
			driver, _ := open(t, ep)
			got, err := driver.Identify(t.Context(), ep)
			require.NoError(t, err)
			require.Equal(t, modbus.Identification{Vendor: "pymodbus", ProductCode: "PM", Revision: "3.0"}, got)
		})
	}
	t.Run("libmodbus, which lacks it", func(t *testing.T) {
		ep := libmodbusTCP(t)
		driver, _ := open(t, ep)
		_, err := driver.Identify(t.Context(), ep)
		require.Equal(t, devices.Unsupported, devices.KindOf(err), "%v", err)
	})
}

// TestTheUnitsOfAGateway: two units share a line, each gets its own answers,
// and one that is not there is unreachable; pymodbus says nothing for it.
func TestTheUnitsOfAGateway(t *testing.T) {
	for _, framing := range []devices.Framing{devices.FramingTCP, devices.FramingRTU} {
		t.Run(string(framing), func(t *testing.T) {
			ep := pymodbus(t, framing)
			driver, _ := open(t, ep)
			unit := func(n uint8, timeout time.Duration) devices.Link {
				at := ep
				at.Unit, at.ResponseTimeout = n, timeout
				link, err := driver.Open(t.Context(), at)
				require.NoError(t, err)
				return link
			}
			one, seventeen := unit(1, ep.ResponseTimeout), unit(17, ep.ResponseTimeout)
			var callers errgroup.Group
			for link, want := range map[devices.Link]int64{one: 0, seventeen: 17} {
				callers.Go(func() error {
					for range 50 {
						values, err := link.Read(t.Context(), span(devices.Holding, 0, 1))
						if err != nil {
							return err
						}
						if values[0] != want {
							return fmt.Errorf("got %v instead of %d", values[0], want)
						}
					}
					return nil
				})
			}
			require.NoError(t, callers.Wait())
			_, err := unit(9, 200*time.Millisecond).Read(t.Context(), span(devices.Holding, 0, 1))
			require.Equal(t, devices.Unreachable, devices.KindOf(err), "%v", err)
			require.NoError(t, one.Ping(t.Context()))
		})
	}
}

// TestASunSpecDeviceOnASerialLine serves the registers of a simulated inverter
// from pymodbus over the frames of the serial line, and sets it.
func TestASunSpecDeviceOnASerialLine(t *testing.T) {
	device, err := sunspecsim.Start(sunspecsim.Config{Kind: sunspecsim.KindInverter, Sim: sim.Config{ID: "inv-07"}})
	require.NoError(t, err)
	var image strings.Builder
	for address := uint16(40000); ; address++ {
		words, err := device.Peek(devices.Holding, address, 1)
		if err != nil {
			break
		}
		fmt.Fprintln(&image, words[0])
	}
	require.NoError(t, device.Close())
	file := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(file, []byte(image.String()), 0o600))

	_, link := open(t, pymodbus(t, devices.FramingRTU, file))
	catalog, err := sunspec.NewCatalog()
	require.NoError(t, err)
	chain, err := catalog.Discover(t.Context(), link, "peer")
	require.NoError(t, err)
	require.Len(t, chain.Models, 17)
	who, err := chain.Identify(t.Context(), link)
	require.NoError(t, err)
	require.Equal(t, "PV-50", who.Model)
	mapping, err := chain.Map(t.Context(), link, []string{"121.WMax", "703.ESHzHi"})
	require.NoError(t, err)
	require.NoError(t, link.Write(t.Context(), set(mapping.Points, func(i int) devices.Value { return []devices.Value{42000.0, 50.2}[i] })))
	values, err := link.Read(t.Context(), mapping.Points)
	require.NoError(t, err)
	require.Equal(t, []devices.Value{42000.0, 50.2}, values)
	curves, err := chain.Curves(t.Context(), link, "707")
	require.NoError(t, err)
	require.Len(t, curves.Curves, 3)

	// The same through a link whose points are those of the models.
	models := catalog.Link(link, "peer")
	points := []devices.Point{{Name: "limit", SunSpec: "121.WMax", Type: devices.Float64}, {Name: "trip", SunSpec: "707.curve.MustTrip", Type: devices.String, Columns: []string{"V", "Tms"}}}
	require.NoError(t, models.Write(t.Context(), []devices.Setting{{Point: points[0], Value: 43000}}))
	values, err = models.Read(t.Context(), points)
	require.NoError(t, err)
	require.Equal(t, []devices.Value{43000.0, "50/0.16 88/2"}, values)
}

// TestASilentUnitOnASerialLine asks libmodbus for a unit that it is not: on a
// serial line, that is silence. libmodbus takes what comes within the next half
// second for the other unit's answer, and a caller who asks faster than that
// keeps it deaf; a time-out of a second, and all the more the default of five,
// lets it come back.
func TestASilentUnitOnASerialLine(t *testing.T) {
	ep := libmodbusRTU(t)
	ep.ResponseTimeout = time.Second
	driver, link := open(t, ep)
	require.NoError(t, link.Ping(t.Context()))
	ep.Unit = 9
	silent, err := driver.Open(t.Context(), ep)
	require.NoError(t, err)
	_, err = silent.Read(t.Context(), span(devices.Holding, 0, 1))
	require.Equal(t, devices.Unreachable, devices.KindOf(err), "%v", err)
	require.Eventually(t, func() bool { return link.Ping(t.Context()) == nil }, 20*time.Second, 10*time.Millisecond)
	values, err := link.Read(t.Context(), span(devices.Holding, 7, 3))
	require.NoError(t, err)
	require.Equal(t, []devices.Value{int64(7), int64(8), int64(9)}, values)
}
