package devices

import (
	"context"
	"net/netip"
	"time"
)

// Driver opens links to the devices of one protocol.
type Driver interface {
	// Protocol is the name that profiles use: "modbus-tcp".
	Protocol() string
	// Open returns a link to the device. Links to one endpoint share one
	// physical connection, which the driver dials when it is first needed and
	// drops on any error; Open itself need not dial.
	Open(ctx context.Context, ep Endpoint) (Link, error)
}

// Enroller is a Driver of devices that prove who they are.
type Enroller interface {
	Driver
	// Fingerprints asks a device, without logging in, what it would prove
	// itself with: the SHA-256 thumbprint of a certificate in hexadecimal
	// digits, or the fingerprints of host keys ("SHA256:..."). Of ep it uses
	// the address, allowed_networks, time-outs, policy and mode. It proves
	// nothing: the answer is compared with what the fleet file states.
	Fingerprints(ctx context.Context, ep Endpoint) ([]string, error)
}

// Endpoint says where and how a device is reached.
type Endpoint struct {
	// DeviceID names the device in errors.
	DeviceID string
	// Address is host:port.
	Address string
	// Unit is the Modbus unit ID: 1 to 247 behind a gateway, 255 (the
	// default) for a device at its own address.
	Unit uint8
	// Framing is how requests are wrapped on the stream; empty is FramingTCP.
	Framing Framing
	// SerialGateway says that the device stands on a serial bus behind the
	// address, which needs more time: the defaults of Gap and ResponseTimeout
	// are then 100 ms and 5 s. FramingRTU implies it.
	SerialGateway bool
	// Allowed is the fleet's allowed_networks; an address outside, after name
	// resolution, is refused with kind Auth before anything is sent.
	Allowed []netip.Prefix
	// ConnectTimeout (0: 3 s) and ResponseTimeout (0: 2 s, or 5 s behind a
	// serial gateway).
	ConnectTimeout, ResponseTimeout time.Duration
	// Gap is the pause between two requests on the link (0: none, or 100 ms
	// behind a serial gateway; less than 0: none in any case).
	Gap time.Duration
	// OnlyWriteMultiple says that the device lacks FC06.
	OnlyWriteMultiple bool
	// OPCUA is set on endpoints of OPC UA servers.
	OPCUA *OPCUASecurity
	// SSH is set on endpoints of Linux hosts.
	SSH *SSHSecurity
}

// Framing is how Modbus requests are wrapped on a TCP stream.
type Framing string

// The framings. Which one a gateway speaks is a matter of its configuration,
// and holds for all units behind its address.
const (
	// FramingTCP has the header of Modbus TCP, with a transaction number
	// (Modbus Messaging on TCP/IP Implementation Guide V1.0b).
	FramingTCP Framing = "tcp"
	// FramingRTU is the frame of the serial line, unit, PDU and CRC-16, as
	// device servers in transparent mode pass it on ("RTU over TCP").
	FramingRTU Framing = "rtu"
)

// Link reads and writes the points of one device. A failed call returns an
// *Error; the next call starts on a fresh connection. The one exception is a
// call that ended because the caller's own context or the driver did, before
// anything was learnt: its error wraps ctx.Err() and has no kind, because it
// says nothing about the device. Links are safe for concurrent use; their
// requests go one at a time.
type Link interface {
	// Read returns one canonical value for each point, in order. It reads
	// contiguous points together. Either all were read, or there is an error.
	Read(ctx context.Context, points []Point) ([]Value, error)
	// Write writes the settings in as few requests as the protocol allows,
	// in ascending address order, without reading back. An error of kind
	// Indeterminate says that some or all may have been written; any other
	// kind says that the device's answer is known: earlier ones of the list
	// may have been written, the one named in the error was refused.
	Write(ctx context.Context, settings []Setting) error
	// Ping makes the cheapest request that shows that the device speaks its
	// protocol. A device that answers with a protocol-level refusal does.
	Ping(ctx context.Context) error
	// Close gives the link back. It does not fail.
	Close()
}

// Setting is a point with the value that it shall have.
type Setting struct {
	Point Point
	Value Value
}
