package sunspec

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices"
)

// registers is a device's memory from an address on; what is outside is refused
// as a device does.
type registers struct {
	base  int
	words []uint16
	reads int
}

func (r *registers) read(address uint16, n int) ([]uint16, error) {
	r.reads++
	from := int(address) - r.base
	if from < 0 || from+n > len(r.words) {
		return nil, &devices.Error{Kind: devices.Rejected, Device: "dev-1", Op: "read", Err: errors.New("illegal data address")}
	}
	return r.words[from : from+n], nil
}

// memoryLink is a link to registers, which reads numbers of one register only.
type memoryLink struct {
	devices.Link
	*registers
	fail error
}

func (l memoryLink) Read(_ context.Context, points []devices.Point) ([]devices.Value, error) {
	if l.fail != nil {
		return nil, l.fail
	}
	words, err := l.read(points[0].Modbus.Address, len(points))
	values := make([]devices.Value, len(words))
	for i, w := range words {
		values[i] = int64(w)
	}
	return values, err
}

// chainOf encodes models behind a marker; ends says what ends the chain.
func chainOf(models []Instance, ends ...uint16) []uint16 {
	words := []uint16{markerHigh, markerLow}
	for _, m := range models {
		words = append(words, m.ID, m.Length)
		words = append(words, make([]uint16, m.Length)...)
	}
	return append(words, ends...)
}

// TestWalkFindsEveryValidChain: whatever models a chain has, all of them are
// found, where they are, in one request per model and two more.
func TestWalkFindsEveryValidChain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.SampledFrom(bases()).Draw(t, "base")
		room := 1<<16 - int(base) - 4
		want := []Instance{{ID: 1, Length: uint16(rapid.IntRange(65, 66).Draw(t, "common"))}}
		at := int(base) + 4
		want[0].Address = uint16(at)
		for range rapid.IntRange(0, 40).Draw(t, "models") {
			last := want[len(want)-1]
			at = int(last.Address) + int(last.Length) + 2
			length := rapid.IntRange(1, 500).Draw(t, "length")
			if at+length+2 > int(base)+room {
				break
			}
			want = append(want, Instance{ID: uint16(rapid.IntRange(1, 0xFFFE).Draw(t, "id")), Address: uint16(at), Length: uint16(length)})
		}
		// Some devices end with the ID alone.
		ends := rapid.SampledFrom([][]uint16{{0xFFFF, 0}, {0xFFFF, 7}, {0xFFFF}}).Draw(t, "end")
		memory := &registers{base: int(base), words: chainOf(want, ends...)}
		got, err := walk(base, memory.read)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.LessOrEqual(t, memory.reads, len(want)+3)
	})
}

func TestABrokenChainIsRefused(t *testing.T) {
	common := Instance{ID: 1, Length: 66}
	many := []Instance{common}
	for range maxModels {
		many = append(many, Instance{ID: 103, Length: 1})
	}
	for _, c := range []struct {
		name  string
		base  int
		words []uint16
		told  string
	}{
		{"without a model", 40000, chainOf(nil, 0xFFFF, 0), "is empty"},
		{"that begins with another model", 40000, chainOf([]Instance{{ID: 103, Length: 50}}, 0xFFFF, 0), "the first model, at 40002, is 103 and not the common model 1"},
		{"with a model without an ID", 40000, chainOf([]Instance{common}, 0, 5), "the model at 40070 has the ID 0"},
		{"with a model without registers", 40000, chainOf([]Instance{common}, 103, 0), "model 103 at 40070 has no registers"},
		{"with a model that leaves the address space", 40000, chainOf([]Instance{common}, 103, 65000), "ends behind address 65535"},
		{"that comes back to its beginning", 40000, chainOf([]Instance{common}, 103, 1<<16-72-1), "ends behind address 65535"},
		{"that has no end", 40000, chainOf(many, 0xFFFF, 0), "more than 128 models"},
		{"that goes on where the address space ends", 65464, chainOf([]Instance{common}, 3, 0xFFFF), "ends behind address 65535"},
		{"whose last model fills the address space", 65466, chainOf([]Instance{{ID: 1, Length: 66}}), "no end before address 65535"},
		{"that breaks off with one register", 65465, chainOf([]Instance{{ID: 1, Length: 66}}, 9), "no end before address 65535"},
	} {
		t.Run(c.name, func(t *testing.T) {
			memory := &registers{base: c.base, words: c.words}
			_, err := walk(uint16(c.base), memory.read)
			var bad *brokenChain
			require.ErrorAs(t, err, &bad)
			require.ErrorContains(t, err, c.told)
		})
	}
}

func TestDiscover(t *testing.T) {
	catalog, err := NewCatalog()
	require.NoError(t, err)
	valid := chainOf([]Instance{{ID: 1, Length: 66}, {ID: 121, Length: 30}}, 0xFFFF, 0)
	unreachable := &devices.Error{Kind: devices.Unreachable, Device: "dev-1", Op: "read", Err: errors.New("no answer")}
	for _, c := range []struct {
		name  string
		link  memoryLink
		base  uint16
		kind  devices.Kind
		words string
	}{
		{name: "at 40000", link: memoryLink{registers: &registers{base: 40000, words: valid}}, base: 40000},
		{name: "at 50000", link: memoryLink{registers: &registers{base: 50000, words: valid}}, base: 50000},
		{name: "at 0", link: memoryLink{registers: &registers{base: 0, words: valid}}, base: 0},
		{name: "behind registers that are something else", base: 50000,
			link: memoryLink{registers: &registers{base: 40000, words: append(make([]uint16, 10000), valid...)}}},
		{name: "a device without a marker is unsupported", link: memoryLink{registers: &registers{base: 0, words: make([]uint16, 100)}},
			kind: devices.Unsupported, words: "dev-1: discover SunSpec models: unsupported: there is no SunSpec marker at register 40000, 50000 or 0"},
		{name: "a device that does not answer is not looked at further", link: memoryLink{fail: unreachable}, kind: devices.Unreachable, words: "no answer"},
		{name: "a broken chain is no reason to look elsewhere", kind: devices.Rejected, words: "the chain of models at 40000 is empty",
			link: memoryLink{registers: &registers{base: 40000, words: append(append(chainOf(nil, 0xFFFF, 0), make([]uint16, 9996)...), valid...)}}},
		{name: "a refusal inside the chain is the device's", kind: devices.Rejected, words: "illegal data address",
			link: memoryLink{registers: &registers{base: 40000, words: chainOf([]Instance{{ID: 1, Length: 66}})}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			chain, err := catalog.Discover(t.Context(), c.link, "dev-1")
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			if c.kind != "" {
				require.ErrorContains(t, err, c.words)
				return
			}
			require.Equal(t, c.base, chain.Base)
			require.Equal(t, []Instance{{1, c.base + 4, 66}, {121, c.base + 72, 30}}, chain.Models)
			at, ok := chain.Find(121, 1)
			require.True(t, ok)
			require.Equal(t, c.base+72, at.Address)
			_, ok = chain.Find(121, 2)
			require.False(t, ok)
		})
	}
}

// TestACommonModelWithoutItsPadIsRead: both lengths, 65 and 66, are in the
// field.
func TestACommonModelWithoutItsPadIsRead(t *testing.T) {
	catalog, err := NewCatalog()
	require.NoError(t, err)
	for _, length := range []uint16{65, 66} {
		words := chainOf([]Instance{{ID: 1, Length: length}}, 0xFFFF, 0)
		words[4], words[4+48] = 'N'<<8|'L', '7'<<8
		link := memoryLink{registers: &registers{base: 40000, words: words}}
		chain, err := catalog.Discover(t.Context(), link, "dev-1")
		require.NoError(t, err)
		got, err := chain.Identify(t.Context(), link)
		require.NoError(t, err)
		require.Equal(t, Identity{Manufacturer: "NL", Serial: "7"}, got)
	}
}

// FuzzChain gives the parser of chains any memory. What it accepts ascends
// without a gap, ends inside the memory, and was read in bounded time.
func FuzzChain(f *testing.F) {
	seed := func(base uint16, words []uint16) {
		data := make([]byte, 0, 2*len(words))
		for _, w := range words {
			data = binary.BigEndian.AppendUint16(data, w)
		}
		f.Add(base, data)
	}
	seed(40000, chainOf([]Instance{{ID: 1, Length: 66}, {ID: 103, Length: 50}}, 0xFFFF, 0))
	seed(0, chainOf([]Instance{{ID: 1, Length: 65}}, 0xFFFF))
	seed(50000, chainOf([]Instance{{ID: 1, Length: 1}, {ID: 2, Length: 2}}, 3, 0xFFFF))
	seed(65500, chainOf([]Instance{{ID: 1, Length: 30}}, 0, 0))
	f.Fuzz(func(t *testing.T, base uint16, data []byte) {
		memory := &registers{base: int(base)}
		for i := 0; i+1 < len(data); i += 2 {
			memory.words = append(memory.words, binary.BigEndian.Uint16(data[i:]))
		}
		memory.words = memory.words[:min(len(memory.words), 1<<16-int(base))]
		models, err := walk(base, memory.read)
		require.LessOrEqual(t, memory.reads, maxModels+4)
		if err != nil {
			return
		}
		require.NotEmpty(t, models)
		at := int(base) + 4
		for _, m := range models {
			require.Equal(t, at, int(m.Address))
			require.NotZero(t, m.Length)
			at += int(m.Length) + 2
		}
		require.LessOrEqual(t, at-1, int(base)+len(memory.words), "the end was read")
		require.Equal(t, uint16(1), models[0].ID)
	})
}
