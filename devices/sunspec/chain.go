package sunspec

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"edgefleet/devices"
)

// Where a chain of models can begin, zero-based, in the order of the
// specification (SunSpec Device Information Model Specification, "Model
// discovery"), and what stands there: "SunS".
const (
	markerHigh = 0x5375
	markerLow  = 0x6E53
	endOfChain = 0xFFFF
	headLen    = 2

	// maxModels bounds a chain: the longest that are known have some thirty.
	maxModels = 128
)

func bases() []uint16 { return []uint16{40000, 50000, 0} }

// Instance is a model in a device.
type Instance struct {
	ID uint16
	// Address is that of the first register behind ID and length, and Length
	// the number of registers from there on, as the device reports it.
	Address, Length uint16
}

// Chain is the list of models that a device has.
type Chain struct {
	// Device names the device in errors.
	Device string
	// Base is where the marker stands.
	Base uint16
	// Models are in the order of their addresses; the first is model 1.
	Models []Instance

	catalog *Catalog
}

// errNoMarker says that a chain does not begin here.
var errNoMarker = errors.New("no SunSpec marker")

// brokenChain is a chain that a device should not have.
type brokenChain struct{ words string }

func (e *brokenChain) Error() string { return e.words }

func broken(format string, args ...any) error {
	return &brokenChain{fmt.Sprintf(format, args...)}
}

// reader returns n registers from an address on.
type reader func(address uint16, n int) ([]uint16, error)

// walk reads the chain that begins at base. Addresses only ever ascend, so a
// chain cannot lead back; one that would leave the address space, has models
// without content, or more of them than maxModels, is a *brokenChain.
func walk(base uint16, read reader) ([]Instance, error) {
	words, err := read(base, 2)
	if isRefusal(err) {
		// An address that the device does not have is no marker either.
		return nil, errNoMarker
	}
	if err != nil {
		return nil, err
	}
	if words[0] != markerHigh || words[1] != markerLow {
		return nil, errNoMarker
	}
	var models []Instance
	at := int(base) + 2
	for {
		id, length, err := readHead(at, read)
		switch {
		case err != nil:
			return nil, err
		case id == endOfChain && len(models) == 0:
			return nil, broken("the chain of models at %d is empty", base)
		case id == endOfChain:
			return models, nil
		case id == 0:
			return nil, broken("the model at %d has the ID 0", at)
		case len(models) == 0 && id != 1:
			return nil, broken("the first model, at %d, is %d and not the common model 1", at, id)
		case length == 0:
			return nil, broken("model %d at %d has no registers", id, at)
		case at+headLen+length > 1<<16:
			return nil, broken("model %d at %d says that it has %d registers, and ends behind address 65535", id, at, length)
		case len(models) == maxModels:
			return nil, broken("the chain has more than %d models", maxModels)
		}
		models = append(models, Instance{ID: id, Address: uint16(at + headLen), Length: uint16(length)})
		at += headLen + length
	}
}

// readHead reads the ID and the length of the model at an address.
func readHead(at int, read reader) (id uint16, length int, err error) {
	if at >= 1<<16 {
		return 0, 0, broken("the chain of models has no end before address 65535")
	}
	var words []uint16
	if at < 1<<16-1 {
		words, err = read(uint16(at), headLen)
		if err == nil {
			return words[0], int(words[1]), nil
		}
		if devices.KindOf(err) != devices.Rejected {
			return 0, 0, err
		}
	}
	// Some devices end with the ID alone, and refuse to read behind it.
	words, alone := read(uint16(at), 1)
	switch {
	case alone == nil && words[0] == endOfChain:
		return endOfChain, 0, nil
	case alone == nil && err == nil:
		return 0, 0, broken("the chain of models has no end before address 65535")
	case err == nil:
		err = alone
	}
	return 0, 0, err
}

// Discover finds the models of a device: it looks for the marker at 40000,
// 50000 and 0, and then reads the head of each model, one request each. The
// device's name is for errors. A device without a marker has kind Unsupported,
// one with a broken chain Rejected.
func (c *Catalog) Discover(ctx context.Context, link devices.Link, device string) (*Chain, error) {
	chain := &Chain{Device: device, catalog: c}
	for _, base := range bases() {
		models, err := walk(base, func(address uint16, n int) ([]uint16, error) {
			return readRegisters(ctx, link, address, n)
		})
		var bad *brokenChain
		switch {
		case err == nil:
			chain.Base, chain.Models = base, models
			return chain, nil
		case errors.As(err, &bad):
			return nil, chain.fail(devices.Rejected, "discover SunSpec models", err)
		case !errors.Is(err, errNoMarker):
			return nil, err
		}
	}
	return nil, chain.fail(devices.Unsupported, "discover SunSpec models",
		errors.New("there is no SunSpec marker at register 40000, 50000 or 0; is this a SunSpec device, and its unit right?"))
}

func isRefusal(err error) bool {
	kind := devices.KindOf(err)
	return kind == devices.Rejected || kind == devices.Unsupported
}

// Find returns the nth (from 1) model of an ID.
func (c *Chain) Find(id uint16, nth int) (Instance, bool) {
	for _, m := range c.Models {
		if m.ID == id {
			if nth--; nth == 0 {
				return m, true
			}
		}
	}
	return Instance{}, false
}

func (c *Chain) has(model ref) bool {
	_, ok := c.Find(model.model, model.nth)
	return ok
}

// ids are those of the models of the device, in the order of their addresses.
func (c *Chain) ids() []uint16 {
	ids := make([]uint16, len(c.Models))
	for i, m := range c.Models {
		ids[i] = m.ID
	}
	return ids
}

// find is Find for a reference, with the model's definition.
func (c *Chain) find(op string, r ref) (Instance, *Model, error) {
	m, known := c.catalog.Model(r.model)
	if !known {
		return Instance{}, nil, c.fail(devices.Unsupported, op, fmt.Errorf("model %d is not one of %s", r.model, joinIDs(c.catalog.Models())))
	}
	at, ok := c.Find(r.model, r.nth)
	if !ok {
		return Instance{}, nil, c.fail(devices.Unsupported, op, fmt.Errorf("the device has no model %s; it has %s", ref{r.model, r.nth, ""}, joinIDs(c.ids())))
	}
	return at, m, nil
}

func (c *Chain) fail(kind devices.Kind, op string, err error) error {
	return &devices.Error{Kind: kind, Device: c.Device, Op: op, Err: err}
}

// readRegisters reads n holding registers, in as few requests as the driver
// allows.
func readRegisters(ctx context.Context, link devices.Link, address uint16, n int) ([]uint16, error) {
	return readUnits(ctx, link, address, slices.Repeat([]int{1}, n))
}

// readUnits reads registers that belong together, in as few requests as the
// driver allows: a unit of 2 or 4 registers is a number, which is not divided
// between two requests, so that it is never made of two moments.
func readUnits(ctx context.Context, link devices.Link, address uint16, units []int) ([]uint16, error) {
	var points []devices.Point
	at := int(address)
	add := func(typ devices.Type, registers int) {
		points = append(points, devices.Point{Name: fmt.Sprintf("register %d", at), Type: typ,
			Modbus: &devices.ModbusAddress{Table: devices.Holding, Address: uint16(at), Length: uint16(registers)}})
		at += registers
	}
	for _, n := range units {
		switch n {
		case 2:
			add(devices.Uint32, 2)
		case 4:
			add(devices.Uint64, 4)
		default:
			for range n {
				add(devices.Uint16, 1)
			}
		}
	}
	values, err := link.Read(ctx, points)
	if err != nil {
		return nil, err
	}
	var words []uint16
	for i, v := range values {
		n, wide := v.(uint64)
		if !wide {
			n = uint64(v.(int64))
		}
		for shift := 16 * (int(points[i].Modbus.Length) - 1); shift >= 0; shift -= 16 {
			words = append(words, uint16(n>>shift))
		}
	}
	return words, nil
}
