package modbus

import (
	"context"
	"errors"
	"fmt"

	pdus "github.com/goburrow/modbus"

	"edgefleet/devices"
	"edgefleet/devices/pool"
)

// link is one unit of a line.
type link struct {
	*pool.Hold[*line]
	ep devices.Endpoint // Unit and Framing are checked
}

// Read returns the values of the points, in order, in one request for each
// contiguous run of up to 100 registers or 2,000 bits of a table.
func (l *link) Read(ctx context.Context, points []devices.Point) ([]devices.Value, error) {
	spans, err := planReads(points)
	if err != nil {
		return nil, l.fail(devices.Unsupported, "read", err)
	}
	values := make([]devices.Value, len(points))
	for _, s := range spans {
		data, err := l.read(ctx, s)
		if err != nil {
			return nil, l.verdict("read "+s.String(), false, err)
		}
		for _, i := range s.points {
			if values[i], err = s.value(points[i], data); err != nil {
				return nil, l.fail(devices.Rejected, "read "+s.String(), err)
			}
		}
	}
	return values, nil
}

// value takes a point's value out of what the span's request read.
func (s span) value(p devices.Point, data []byte) (devices.Value, error) {
	offset := int(p.Modbus.Address) - int(s.address)
	if isBits(s.table) {
		return p.FromRaw(devices.Raw{Bool: data[offset/8]>>(offset%8)&1 == 1})
	}
	return decode(p, data[2*offset:2*(offset+registers(p))])
}

func (l *link) read(ctx context.Context, s span) ([]byte, error) {
	client := l.client(ctx, false)
	count := uint16(s.count)
	switch s.table {
	case devices.Coil:
		return client.ReadCoils(s.address, count)
	case devices.Discrete:
		return client.ReadDiscreteInputs(s.address, count)
	case devices.Input:
		return client.ReadInputRegisters(s.address, count)
	}
	return client.ReadHoldingRegisters(s.address, count)
}

// Write writes the settings, in one request for each contiguous run: FC06 for
// one register (FC16 when the endpoint has OnlyWriteMultiple), FC16 for more,
// FC05 and FC15 for coils; holding registers before coils. All values are
// checked before the first request is sent.
func (l *link) Write(ctx context.Context, settings []devices.Setting) error {
	spans, refused := planWrites(settings)
	if refused != nil {
		return l.fail(refused.kind, "write", refused.err)
	}
	for i, s := range spans {
		err := l.write(ctx, s)
		if err == nil {
			continue
		}
		op := fmt.Sprintf("write %s (%s)", s, s.names(settings))
		err = l.verdict(op, true, err)
		if i == 0 {
			return err
		}
		progress := fmt.Errorf("%w (%d of %d requests before it were written)", cause(err), i, len(spans))
		switch kind := devices.KindOf(err); kind {
		case "", devices.Unreachable, devices.OwnPath, devices.Auth:
			// The device did not see this request, but it saw those before it.
			return l.fail(devices.Indeterminate, op, progress)
		default:
			return l.fail(kind, op, progress)
		}
	}
	return nil
}

// cause is err without the words that verdict put around it.
func cause(err error) error {
	var e *devices.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

func (l *link) write(ctx context.Context, s span) error {
	client := l.client(ctx, true)
	var err error
	switch {
	case s.table == devices.Coil && s.count == 1:
		_, err = client.WriteSingleCoil(s.address, 0xFF00*uint16(s.wire[0]))
	case s.table == devices.Coil:
		_, err = client.WriteMultipleCoils(s.address, uint16(s.count), packBits(s.wire))
	case s.count == 1 && !l.ep.OnlyWriteMultiple:
		_, err = client.WriteSingleRegister(s.address, uint16(number(s.wire)))
	default:
		_, err = client.WriteMultipleRegisters(s.address, uint16(s.count), s.wire)
	}
	return err
}

// Ping reads holding register 0. Every answer of the device shows that it
// speaks Modbus, a refusal as well; exceptions 10 and 11 do not, because they
// are the gateway's, about a device that it could not reach.
func (l *link) Ping(ctx context.Context) error {
	_, err := l.client(ctx, false).ReadHoldingRegisters(0, 1)
	if err == nil {
		return nil
	}
	err = l.verdict("ping", false, err)
	var exception *pdus.ModbusError
	if errors.As(err, &exception) && devices.KindOf(err) != devices.Unreachable {
		return nil
	}
	return err
}

func (l *link) send(ctx context.Context, pdu []byte, write bool) ([]byte, error) {
	end, err := l.Begin()
	if err != nil {
		return nil, &fault{err: err}
	}
	defer end()
	return l.Line.exchange(ctx, &l.ep, pdu, write)
}

// client returns a goburrow client for one call: its interfaces have no
// context, so the context goes along in the transporter.
func (l *link) client(ctx context.Context, write bool) pdus.Client {
	return pdus.NewClient2(packager{}, transporter{l, ctx, write})
}

// packager hands PDUs on as they are: the line puts them into frames, because
// only there it is known which transaction is next.
type packager struct{}

func (packager) Encode(pdu *pdus.ProtocolDataUnit) ([]byte, error) {
	return append([]byte{pdu.FunctionCode}, pdu.Data...), nil
}

// Verify has nothing left to do: readAnswer has compared every field, while
// the socket could still be closed for it.
func (packager) Verify(_, _ []byte) error { return nil }

func (packager) Decode(answer []byte) (*pdus.ProtocolDataUnit, error) {
	return &pdus.ProtocolDataUnit{FunctionCode: answer[0], Data: answer[1:]}, nil
}

// transporter is one call's way to the line.
type transporter struct {
	link  *link
	ctx   context.Context
	write bool
}

func (t transporter) Send(request []byte) ([]byte, error) {
	return t.link.send(t.ctx, request, t.write)
}

// identifyFrom asks for one page of the device identification.
func (l *link) identifyFrom(ctx context.Context, from byte) (identificationPage, error) {
	answer, err := l.send(ctx, append([]byte{funcEncapsulated}, identifyRequest(from)...), false)
	if err != nil {
		return identificationPage{}, err
	}
	if answer[0] != funcEncapsulated {
		return identificationPage{}, &pdus.ModbusError{FunctionCode: answer[0], ExceptionCode: answer[1]}
	}
	return parseIdentification(answer)
}
