// Package modbus is the driver for Modbus TCP devices and for serial devices
// behind Modbus gateways, be it gateways that translate to Modbus TCP or
// transparent ones that pass on the frames of the serial line (RTU over TCP;
// the Framing of the endpoint).
//
// It uses github.com/goburrow/modbus to encode and decode requests, over a
// transport of its own that keeps these promises:
//
//   - One physical link ("line") per endpoint address, shared by all units
//     behind it and by all callers, first come, first served; one request in
//     flight. The address is the fleet file's text, so a gateway has to be
//     written in the same way for each of its devices.
//   - The address is checked against each caller's allowed_networks, also
//     when the line was already open.
//   - A request has one absolute deadline, which no dribble extends; the end
//     of the caller's context ends it at once.
//   - An answer counts only when its transaction, protocol, unit and function
//     are the request's and its content has the form that was asked for. After
//     anything else the socket is closed, so a late answer has nowhere to go.
//   - The frame of a serial line has a checksum in place of transaction and
//     protocol. Its length follows from the function, so one that is damaged
//     has no known end: the socket is closed for it. After a request without an
//     answer, the next connection has to stay quiet for the gap first, because
//     a transparent gateway gives a late answer to whoever is connected.
//   - A malformed request is never sent.
//   - Each request is made once. Only a read on an idle line that turns out to
//     have been closed before it answered anything is made again, once, on a
//     fresh connection.
//   - While a caller waits for its turn, a connection attempt that fails fails
//     for it too: a dark gateway costs all of them one time-out, not one each.
//   - Open connections are bounded over all endpoints; an idle one makes room,
//     and closes by itself after 5 s.
//
// # What happened, and what it is called
//
// A request has not been sent until its first byte has been. Once a Write has
// made a change, the failure of a later request of the same Write that would
// be Unreachable, or would have no kind, is Indeterminate.
//
//	                                     read           write
//	not sent:
//	  refused, silent, no route          Unreachable    Unreachable
//	  worker's name server or sockets    OwnPath        OwnPath
//	  address outside allowed_networks   Auth           Auth
//	  input or discrete to be written    -              Unsupported
//	  value does not fit, points overlap -              Rejected
//	  caller's or driver's end           no kind        no kind
//	sent:
//	  no answer in time, line cut        Unreachable    Indeterminate
//	  frame of a foreign transaction,
//	    protocol, unit or function, of
//	    an impossible length, or with a
//	    wrong checksum                   Unreachable    Indeterminate
//	  something came unasked after a
//	    lost answer (RTU framing)        Unreachable    Unreachable
//	  right frame, wrong content (short
//	    data, another register's echo)   Rejected       Indeterminate
//	  caller's or driver's end           no kind        Indeterminate
//	answered with an exception:
//	  1 illegal function                 Unsupported    Unsupported
//	  2 address, 3 value, 4 failure      Rejected       Rejected
//	  5 accepted, takes long             Busy           Indeterminate
//	  6 busy                             Busy           Busy
//	  10 gateway has no path             Unreachable    Unreachable
//	  11 gateway got no answer           Unreachable    Indeterminate
//	  any other                          Rejected       Rejected
//	value cannot be understood           Rejected       -
//
// The reasons: a frame that does not belong to the request is a disturbance
// of the line, which a fresh connection cures, and it says nothing of the
// device; an answer that belongs to the request and is wrong comes from the
// device, and will come again. Exceptions 5 and 11 leave open whether a write
// takes effect, and what is open is read back, never repeated.
package modbus
