package opcua

import (
	"context"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

// Identification is what a server says of itself in an authenticated session
// (OPC 10000-5, sections 6.3.1 and 12.10). What it does not state is empty.
type Identification struct {
	ApplicationURI, ProductURI   string
	Manufacturer, Product        string
	SoftwareVersion, BuildNumber string
	// State is the server's state: "Running", "Failed" and the like.
	State string
	// Started is when the server started, in UTC.
	Started time.Time
}

// states are the values of ServerState.
var states = []string{"Running", "Failed", "NoConfiguration", "Suspended", "Shutdown", "Test", "CommunicationFault", "Unknown"}

// Identify asks a server who it is, in one request.
func (d *Driver) Identify(ctx context.Context, ep devices.Endpoint) (Identification, error) {
	const op = "identify"
	var out Identification
	err := d.with(ep, func(l *link) error {
		var got []dataValue
		f := l.do(ctx, false, func(c call) *fault {
			var f *fault
			got, f = c.read([]*ua.NodeID{ua.NewNumericNodeID(0, id.Server_ServerStatus), ua.NewNumericNodeID(0, id.Server_ServerArray)}, ua.AttributeIDValue)
			return f
		})
		if f != nil {
			return l.verdict(op, false, f)
		}
		status, ok := got[0].value.(structure)
		if bad(got[0].status) || !ok {
			return l.fail(devices.Rejected, op, &refused{status: got[0].status, reason: "the status of the server cannot be read"})
		}
		if status.encoding.Namespace() != 0 || status.encoding.IntID() != id.ServerStatusDataType_Encoding_DefaultBinary {
			return l.fail(devices.Rejected, op, wrong("the status of the server has the encoding %s", status.encoding))
		}
		r := &reader{b: status.body}
		out = r.identification()
		if r.err != nil {
			return l.fail(devices.Rejected, op, r.err)
		}
		// The first entry is the server itself.
		if uris, ok := got[1].value.([]string); ok && len(uris) > 0 && !bad(got[1].status) {
			out.ApplicationURI = clip(uris[0])
		}
		return nil
	})
	return out, err
}

// identification reads a ServerStatusDataType.
func (r *reader) identification() Identification {
	out := Identification{Started: r.time()}
	r.time()
	if state := int(r.u32()); state < len(states) {
		out.State = states[state]
	}
	out.ProductURI, out.Manufacturer, out.Product = clip(r.text()), clip(r.text()), clip(r.text())
	out.SoftwareVersion, out.BuildNumber = clip(r.text()), clip(r.text())
	return out
}
