package modbus

import (
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

// object is one object of an identification.
func object(id byte, text string) []byte { return append([]byte{id, byte(len(text))}, text...) }

// page is the PDU of an answer; next 0 says that nothing follows.
func page(next byte, objects ...[]byte) []byte {
	pdu := []byte{funcEncapsulated, meiDeviceID, 1, 0x81, 0, next, byte(len(objects))}
	if next > 0 {
		pdu[4] = 0xFF
	}
	for _, o := range objects {
		pdu = append(pdu, o...)
	}
	return pdu
}

func TestIdentify(t *testing.T) {
	whole := Identification{Vendor: "Northline", ProductCode: "FR-200", Revision: "3.2.1"}
	for _, c := range []struct {
		name     string
		pages    [][]byte // by request; the last is repeated
		want     Identification
		kind     devices.Kind
		words    string
		requests int
	}{
		{name: "in one answer", pages: [][]byte{page(0, object(0, "Northline"), object(1, "FR-200 "), object(2, "3.2.1\x00"))}, want: whole, requests: 1},
		{name: "one object at a time", pages: [][]byte{page(1, object(0, "Northline")), page(2, object(1, "FR-200")), page(0, object(2, "3.2.1"))}, want: whole, requests: 3},
		{name: "what is not stated is empty", pages: [][]byte{page(0, object(0, "Northline"))}, want: Identification{Vendor: "Northline"}, requests: 1},
		{name: "objects beyond the basic ones do not count", pages: [][]byte{page(0, object(0, "Northline"), object(3, "https://example.org"))}, want: Identification{Vendor: "Northline"}, requests: 1},
		{name: "a device without the function", pages: [][]byte{{funcEncapsulated | exceptionBit, 1}}, kind: devices.Unsupported, words: "illegal function", requests: 1},
		{name: "more follows for ever", pages: [][]byte{page(1), page(2), page(3)}, kind: devices.Rejected, words: "without an end", requests: 3},
		{name: "more follows from where it was", pages: [][]byte{page(1), page(1)}, kind: devices.Rejected, words: "without an end", requests: 2},
		{name: "an object that is cut off", pages: [][]byte{page(0, []byte{0, 200, 'N'})}, kind: devices.Rejected, words: "ends inside an object", requests: 1},
		{name: "fewer objects than it says", pages: [][]byte{{funcEncapsulated, meiDeviceID, 1, 1, 0, 0, 3}}, kind: devices.Rejected, words: "ends inside an object", requests: 1},
		{name: "bytes behind the last object", pages: [][]byte{append(page(0, object(0, "N")), 7)}, kind: devices.Rejected, words: "1 bytes follow", requests: 1},
		{name: "another category", pages: [][]byte{{funcEncapsulated, meiDeviceID, 3, 1, 0, 0, 0}}, kind: devices.Rejected, words: "not a basic device identification", requests: 1},
		{name: "an answer without a list", pages: [][]byte{{funcEncapsulated, meiDeviceID, 1}}, kind: devices.Rejected, words: "not a basic device identification", requests: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var served atomic.Int32
			p := newPeer(t, func(conn *net.TCPConn, request []byte) bool {
				n := int(served.Add(1))
				_, err := conn.Write(reply(request, c.pages[min(n, len(c.pages))-1]...))
				return err == nil
			})
			d := New(Options{})
			defer d.Close()
			got, err := d.Identify(t.Context(), p.endpoint())
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			if c.kind != "" {
				require.ErrorContains(t, err, "dev-1: read device identification: ")
				require.ErrorContains(t, err, c.words)
			}
			require.Equal(t, c.want, got)
			_, requests := p.seen()
			require.Equal(t, c.requests, requests)
			require.Equal(t, []byte{funcEncapsulated, meiDeviceID, 1, 0}, p.requests[0][headerLen:])
		})
	}
}
