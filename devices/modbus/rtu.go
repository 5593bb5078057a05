package modbus

import (
	"encoding/binary"
	"io"

	pdus "github.com/goburrow/modbus"
)

// A frame of a serial line is the unit, a PDU, and a CRC-16 whose lower byte
// goes first (Modbus over Serial Line V1.02, sections 2.5.1 and 6.2.2).
const (
	crcLen = 2
	// minRTUFrame is the shortest answer: an exception.
	minRTUFrame = 1 + 2 + crcLen
	maxRTUFrame = 1 + maxPDU + crcLen
)

// rtu is the framing of the serial line on a TCP stream.
type rtu struct{}

func (rtu) wrap(_ uint16, unit byte, pdu []byte) []byte {
	frame := make([]byte, 0, 1+len(pdu)+crcLen)
	frame = append(append(frame, unit), pdu...)
	return binary.LittleEndian.AppendUint16(frame, crc16(frame))
}

// readAnswer reads as many bytes as the function says that the frame has. On a
// serial line silence would end it; on a stream there is none, so a byte count
// is believed until the checksum has been compared.
func (rtu) readAnswer(r io.Reader, request []byte) ([]byte, error) {
	frame := make([]byte, 0, maxRTUFrame)
	// read extends the frame to n bytes.
	read := func(n int) error {
		from := len(frame)
		frame = frame[:n]
		if got, err := io.ReadFull(r, frame[from:]); err != nil {
			return &cut{from + got, err}
		}
		return nil
	}
	if err := read(minRTUFrame); err != nil {
		return nil, err
	}
	function := request[1]
	switch {
	case frame[0] != request[0]:
		return nil, foreign("the answer is of unit %d, not %d", frame[0], request[0])
	case frame[1] == function|exceptionBit:
	case frame[1] != function:
		return nil, foreign("the answer is to function %d, not %d", frame[1], function)
	case function == funcEncapsulated:
		if err := readObjects(&frame, read); err != nil {
			return nil, err
		}
	default:
		length := answerLen(function, frame[2])
		if length > maxRTUFrame {
			return nil, foreign("the answer says that it has %d bytes of data, which no answer has", frame[2])
		}
		if length > len(frame) {
			if err := read(length); err != nil {
				return nil, err
			}
		}
	}
	body := frame[:len(frame)-crcLen]
	if got, want := binary.LittleEndian.Uint16(frame[len(body):]), crc16(body); got != want {
		return nil, foreign("the checksum of the answer is %04x, and %04x would be right", got, want)
	}
	return body[1:], checkAnswer(request[1:len(request)-crcLen], body[1:])
}

// answerLen is the length of the frame that answers a function and has count
// as its third byte.
func answerLen(function, count byte) int {
	switch function {
	case pdus.FuncCodeReadCoils, pdus.FuncCodeReadDiscreteInputs,
		pdus.FuncCodeReadHoldingRegisters, pdus.FuncCodeReadInputRegisters:
		// An answer without data is as long as an exception, and is found out
		// by its content.
		return 1 + 2 + int(count) + crcLen
	}
	return 1 + 5 + crcLen
}

// readObjects reads the rest of a device identification: its length shows only
// from object to object.
func readObjects(frame *[]byte, read func(n int) error) error {
	const head = 1 + 7
	end := head
	if err := read(end + crcLen); err != nil {
		return err
	}
	for range (*frame)[head-1] {
		// The two bytes behind what is known are the object's head, or the
		// checksum.
		end += 2 + int((*frame)[end+1])
		if end+crcLen > maxRTUFrame {
			return foreign("the device identification is longer than a frame")
		}
		if err := read(end + crcLen); err != nil {
			return err
		}
	}
	return nil
}

// crc16 is the checksum of the serial line: polynomial 0xA001 reflected, all
// ones at the start.
func crc16(data []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, b := range data {
		crc ^= uint16(b)
		for range 8 {
			odd := crc & 1
			crc >>= 1
			crc ^= 0xA001 * odd
		}
	}
	return crc
}
