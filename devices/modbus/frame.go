package modbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	pdus "github.com/goburrow/modbus"

	"edgefleet/devices"
)

// A frame is a header of seven bytes (transaction, protocol, length, unit)
// and a PDU of at most 253, whose first byte is the function (Modbus Messaging
// on TCP/IP Implementation Guide V1.0b, section 3.1.3).
const (
	headerLen = 7
	maxPDU    = 253
	maxFrame  = headerLen + maxPDU

	exceptionBit = 0x80

	funcEncapsulated = 0x2B
	meiDeviceID      = 0x0E
)

// badAnswer says that what came is not the answer to the request.
type badAnswer struct {
	kind  devices.Kind // for a read
	words string
}

func (e *badAnswer) Error() string { return e.words }

// foreign is a frame that does not belong to the request.
func foreign(format string, args ...any) error {
	return &badAnswer{devices.Unreachable, fmt.Sprintf(format, args...)}
}

// wrong is an answer to the request whose content is not what was asked for.
func wrong(format string, args ...any) error {
	return &badAnswer{devices.Rejected, fmt.Sprintf(format, args...)}
}

// cut is an answer that ended before its end.
type cut struct {
	got int // bytes, 0 when nothing was answered at all
	err error
}

func (e *cut) Error() string {
	if e.got == 0 {
		return fmt.Sprintf("no answer: %v", e.err)
	}
	return fmt.Sprintf("the answer broke off after %d bytes: %v", e.got, e.err)
}

func (e *cut) Unwrap() error { return e.err }

// framing wraps PDUs on a stream.
type framing interface {
	// wrap returns the frame of a request.
	wrap(transaction uint16, unit byte, pdu []byte) []byte
	// readAnswer reads from r the frame that answers the frame of a request,
	// nothing behind it, and returns its PDU. The PDU is either a well-formed
	// answer or an exception; everything else is a *badAnswer, or a *cut when
	// r failed.
	readAnswer(r io.Reader, request []byte) ([]byte, error)
}

// framingOf returns nil for a framing that is none.
func framingOf(f devices.Framing) framing {
	switch f {
	case "", devices.FramingTCP:
		return mbap{}
	case devices.FramingRTU:
		return rtu{}
	}
	return nil
}

// mbap is the framing of Modbus TCP.
type mbap struct{}

func (mbap) wrap(transaction uint16, unit byte, pdu []byte) []byte {
	return newFrame(transaction, unit, pdu)
}

func (mbap) readAnswer(r io.Reader, request []byte) ([]byte, error) {
	frame, err := readAnswer(r, request)
	if err != nil {
		return nil, err
	}
	return frame[headerLen:], nil
}

// newFrame encodes a frame for a PDU.
func newFrame(transaction uint16, unit byte, pdu []byte) []byte {
	frame := make([]byte, headerLen, headerLen+len(pdu))
	binary.BigEndian.PutUint16(frame, transaction)
	binary.BigEndian.PutUint16(frame[4:], uint16(1+len(pdu)))
	frame[6] = unit
	return append(frame, pdu...)
}

// readAnswer reads from r the frame that answers request, and nothing behind
// it. The frame is either a well-formed answer or an exception; everything
// else is a *badAnswer, or a *cut when r failed.
func readAnswer(r io.Reader, request []byte) ([]byte, error) {
	frame := make([]byte, headerLen, maxFrame)
	if n, err := io.ReadFull(r, frame); err != nil {
		return nil, &cut{n, err}
	}
	if got, want := binary.BigEndian.Uint16(frame), binary.BigEndian.Uint16(request); got != want {
		return nil, foreign("the answer is to transaction %d, not %d", got, want)
	}
	if got := binary.BigEndian.Uint16(frame[2:]); got != 0 {
		return nil, foreign("the answer is of protocol %d, which is not Modbus", got)
	}
	// The length counts the unit and the PDU, and no answer has a PDU of less
	// than two bytes.
	length := int(binary.BigEndian.Uint16(frame[4:]))
	if length < 3 || length > 1+maxPDU {
		return nil, foreign("the answer says that it has %d bytes, which no answer has", length)
	}
	if frame[6] != request[6] {
		return nil, foreign("the answer is of unit %d, not %d", frame[6], request[6])
	}
	frame = frame[:headerLen+length-1]
	if n, err := io.ReadFull(r, frame[headerLen:]); err != nil {
		return nil, &cut{headerLen + n, err}
	}
	return frame, checkAnswer(request[headerLen:], frame[headerLen:])
}

// checkAnswer returns nil when the PDU answer has the form that the PDU
// request asks for, or is an exception to it.
func checkAnswer(request, answer []byte) error {
	function := request[0]
	switch answer[0] {
	case function:
	case function | exceptionBit:
		if len(answer) != 2 {
			return wrong("an exception of %d bytes", len(answer))
		}
		return nil
	default:
		return foreign("the answer is to function %d, not %d", answer[0], function)
	}
	switch function {
	case pdus.FuncCodeReadCoils, pdus.FuncCodeReadDiscreteInputs:
		return checkData(answer, (quantity(request)+7)/8)
	case pdus.FuncCodeReadHoldingRegisters, pdus.FuncCodeReadInputRegisters:
		return checkData(answer, 2*quantity(request))
	case pdus.FuncCodeWriteSingleCoil, pdus.FuncCodeWriteSingleRegister,
		pdus.FuncCodeWriteMultipleCoils, pdus.FuncCodeWriteMultipleRegisters:
		// The first four bytes after the function come back: the address, and
		// the value or the quantity.
		if string(answer) != string(request[:5]) {
			return wrong("the answer % x does not confirm the write % x", answer, request[:5])
		}
		return nil
	case funcEncapsulated:
		_, err := parseIdentification(answer)
		return err
	}
	return wrong("no answer is known to function %d", function)
}

func checkData(answer []byte, want int) error {
	if int(answer[1]) != want || len(answer) != 2+want {
		return wrong("asked for %d bytes, the answer has %d and says %d", want, len(answer)-2, answer[1])
	}
	return nil
}

func quantity(request []byte) int { return int(binary.BigEndian.Uint16(request[3:])) }

// checkRequest refuses to send a PDU that is not well-formed, whoever made it:
// what reaches a device's registers is never a matter of luck.
func checkRequest(pdu []byte) error {
	if len(pdu) < 4 || len(pdu) > maxPDU {
		return fmt.Errorf("a request of %d bytes", len(pdu))
	}
	if pdu[0] == funcEncapsulated {
		return nil
	}
	if len(pdu) < 5 {
		return fmt.Errorf("a request of %d bytes", len(pdu))
	}
	var payload int
	switch pdu[0] {
	case pdus.FuncCodeReadCoils, pdus.FuncCodeReadDiscreteInputs,
		pdus.FuncCodeReadHoldingRegisters, pdus.FuncCodeReadInputRegisters,
		pdus.FuncCodeWriteSingleCoil, pdus.FuncCodeWriteSingleRegister:
		if len(pdu) != 5 {
			return fmt.Errorf("function %d with %d bytes", pdu[0], len(pdu))
		}
		return nil
	case pdus.FuncCodeWriteMultipleCoils:
		payload = (quantity(pdu) + 7) / 8
	case pdus.FuncCodeWriteMultipleRegisters:
		payload = 2 * quantity(pdu)
	default:
		return fmt.Errorf("function %d is not one that this driver sends", pdu[0])
	}
	if payload == 0 || len(pdu) != 6+payload || int(pdu[5]) != payload {
		return errors.New("the payload does not fit the quantity")
	}
	return nil
}
