package modbus

import (
	"bytes"
	"encoding/binary"
	"testing"

	pdus "github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"
)

// FuzzDecodeFrame gives readAnswer any bytes as the answer to a request. What
// it accepts belongs to the request, has the form that was asked for, and can
// be decoded; it reads no byte behind the frame.
func FuzzDecodeFrame(f *testing.F) {
	for _, function := range []byte{1, 2, 3, 4, 5, 6, 15, 16} {
		request := fuzzRequest(function, 5)
		f.Add(function, uint16(5), honestAnswer(request))
		f.Add(function, uint16(5), append(reply(request, function|exceptionBit, 2), 1, 2, 3))
	}
	f.Add(byte(43), uint16(0), reply(fuzzRequest(43, 0), 43, 14, 1, 1, 0, 0, 1, 0, 2, 'N', 'L'))
	f.Add(byte(43), uint16(0), reply(fuzzRequest(43, 0), 43, 14, 1, 1, 0xFF, 1, 2, 0, 1, 'N', 1))
	f.Add(byte(3), uint16(1), []byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, function byte, count uint16, stream []byte) {
		request := fuzzRequest(function, count)
		r := bytes.NewReader(stream)
		frame, err := readAnswer(r, request)
		if err != nil {
			return
		}
		require.Equal(t, stream[:len(frame)], frame)
		require.Equal(t, len(stream)-len(frame), r.Len(), "nothing behind the frame is read")
		require.LessOrEqual(t, len(frame), maxFrame)
		require.Equal(t, request[:4], frame[:4])
		require.Equal(t, int(binary.BigEndian.Uint16(frame[4:])), len(frame)-6)
		require.Equal(t, request[6], frame[6])
		answer := frame[headerLen:]
		if answer[0] == function|exceptionBit && function < exceptionBit {
			require.Len(t, answer, 2)
			return
		}
		require.Equal(t, function, answer[0])
		switch function {
		case pdus.FuncCodeReadCoils, pdus.FuncCodeReadDiscreteInputs:
			require.Len(t, answer[2:], (int(count)+7)/8)
		case pdus.FuncCodeReadHoldingRegisters, pdus.FuncCodeReadInputRegisters:
			require.Len(t, answer[2:], 2*int(count))
		case funcEncapsulated:
			page, err := parseIdentification(answer)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.objects), int(answer[6]))
		default:
			require.Equal(t, request[headerLen:headerLen+5], answer)
		}
	})
}

// fuzzPDU is a request of a function for count registers or bits.
func fuzzPDU(function byte, count uint16) []byte {
	if function == funcEncapsulated {
		return []byte{function, meiDeviceID, 1, 0}
	}
	return binary.BigEndian.AppendUint16([]byte{function, 0, 100}, count)
}

func fuzzRequest(function byte, count uint16) []byte {
	return newFrame(4711, 17, fuzzPDU(function, count))
}
