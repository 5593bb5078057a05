package modbus

import (
	"context"
	"strings"

	"edgefleet/devices"
)

// Identification is the basic category of a device's identification (Modbus
// Application Protocol V1.1b3, section 6.21, function 43/14). What the device
// does not state is empty.
type Identification struct {
	Vendor, ProductCode, Revision string
}

// The basic category has three objects, so a device that says "more follows"
// more often than this is not going to end.
const maxIdentifyRequests = 3

// identificationPage is one answer to function 43/14.
type identificationPage struct {
	objects map[byte]string
	more    bool
	next    byte
}

// identifyRequest is the data of the request for the basic category as a
// stream, from an object on.
func identifyRequest(from byte) []byte { return []byte{meiDeviceID, 1, from} }

// parseIdentification reads the PDU of an answer to function 43/14.
func parseIdentification(answer []byte) (identificationPage, error) {
	var page identificationPage
	if len(answer) < 7 || answer[1] != meiDeviceID || answer[2] != 1 {
		return page, wrong("the answer is not a basic device identification")
	}
	page.more, page.next = answer[4] == 0xFF, answer[5]
	page.objects = map[byte]string{}
	rest := answer[7:]
	for range answer[6] {
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			return page, wrong("the device identification ends inside an object")
		}
		id, n := rest[0], int(rest[1])
		page.objects[id] = cleanText(rest[2 : 2+n])
		rest = rest[2+n:]
	}
	if len(rest) > 0 {
		return page, wrong("%d bytes follow the device identification", len(rest))
	}
	return page, nil
}

// Identify asks a device who it is, in one to three requests. A device that
// lacks the function answers with kind Unsupported.
func (d *Driver) Identify(ctx context.Context, ep devices.Endpoint) (Identification, error) {
	const op = "read device identification"
	opened, err := d.open(ep)
	if err != nil {
		return Identification{}, err
	}
	defer opened.Close()
	objects := map[byte]string{}
	var from byte
	for range maxIdentifyRequests {
		page, err := opened.identifyFrom(ctx, from)
		if err != nil {
			return Identification{}, opened.verdict(op, false, err)
		}
		for id, text := range page.objects {
			objects[id] = text
		}
		if !page.more {
			return Identification{Vendor: objects[0], ProductCode: objects[1], Revision: objects[2]}, nil
		}
		if page.next <= from {
			break
		}
		from = page.next
	}
	return Identification{}, opened.verdict(op, false, &fault{kind: devices.Rejected, sent: true,
		err: wrong("the device says that more follows, without an end")})
}

func cleanText(raw []byte) string {
	text, _, _ := strings.Cut(string(raw), "\x00")
	return strings.ToValidUTF8(strings.TrimRight(text, " "), "\uFFFD")
}
