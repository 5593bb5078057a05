// Package dial is the one way in which a driver opens a TCP connection to a
// device. It has two stages, Resolve and Connect, so that a diagnosis can give
// each its own verdict; Dial is both.
//
// Rules of this package:
//   - Every address that a name resolves to is compared with the fleet's
//     allowed_networks before a packet is sent to it. Only allowed ones are
//     dialled; when none is allowed, or the list is empty, the answer is an
//     error of kind Auth. Connect checks again, whoever made the list.
//   - What is wrong with the worker is not said of the device: a name server
//     that does not answer, or a process that ran out of sockets, is OwnPath.
//   - When the caller's own context ends first, the error wraps ctx.Err() and
//     has no kind: nothing was learnt.
//
// The kinds of errors, by what happened:
//
//	the address is not host:port                    Unsupported
//	the name does not exist                         Unreachable
//	the name server did not answer, or failed       OwnPath
//	no address inside allowed_networks              Auth
//	refused, no answer in time, no route            Unreachable
//	no socket or no local port left on the worker   OwnPath
//	the caller's context ended                      no kind, wraps ctx.Err()
package dial
