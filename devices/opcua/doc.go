// Package opcua is the driver for OPC UA servers, over OPC UA TCP with the
// binary encoding.
//
// It uses github.com/gopcua/opcua to encode requests, for the cryptography of
// the security policies and for the names of statuses, over a channel and a
// session of its own. The library's client decodes what arrives in a goroutine
// of its own, where a chunk that is too short, or a buffer size of 4 in the
// server's greeting, panics out of reach and ends the process; its decoder
// makes room for as many elements as a length field says, 2^31 of them in 20
// bytes of an unauthenticated answer. So nothing that a server sends is handed
// to it. The promises:
//
//   - Nothing is negotiated. The endpoint's policy, mode and the thumbprint of
//     the server's certificate are what was enrolled, or there is no
//     connection. GetEndpoints is not authenticated: it only finds the
//     certificate that the thumbprint then confirms, and at worst it makes us
//     refuse. Only Basic256Sha256, Aes128_Sha256_RsaOaep and
//     Aes256_Sha256_RsaPss are used; None only where the endpoint has
//     AllowPlaintext.
//   - Fingerprints asks for the thumbprint that is to be enrolled, and proves
//     nothing.
//   - The server's certificate has to have the thumbprint, to be valid now and
//     to carry the application URI; the answers that open the channel and
//     create the session have to be signed with it, under the policy that was
//     asked for. Trust comes from the thumbprint alone: issuers and revocation
//     lists are not looked at.
//   - A password is encrypted for that certificate, or goes over a channel
//     that is encrypted, or is not sent.
//   - No address of the server's is dialled: of its endpoint's URL the path is
//     used, the host and port are the fleet file's, inside allowed_networks.
//   - One session per endpoint address and identity, shared by all callers,
//     first come, first served; one request in flight. There is no goroutine
//     per session: an exchange runs in its caller's, so a server that hangs,
//     lies or floods leaves nothing behind.
//   - Every request has one absolute deadline, which no dribble extends; the
//     end of the caller's context ends it at once.
//   - What a server can make us hold is bounded: 64 KiB a chunk, 1 MiB and 128
//     chunks a message, 65,536 elements an array, 16 values inside each other.
//   - An answer counts only when channel, token, sequence number, request and
//     type are the expected ones, and there are as many results as there were
//     questions. After anything else the connection is closed.
//   - An idle session is closed in order after 5 s, so that its place on the
//     server is free. One whose connection broke keeps its place for the 30 s
//     that we ask the server for, or what the server makes of them.
//   - Namespaces are URIs. Their indices, and the types of nodes that a profile
//     does not state, are learnt once per session.
//   - A value is never bent to fit: another type than the profile states, an
//     array, or a number that the type does not hold is an error, for reads as
//     for writes.
//   - Each request is made once. A server that says that it has forgotten the
//     session has not done what was asked, and is asked again, once, in a
//     fresh one; so is a read on an idle connection that turns out to have
//     been closed.
//
// # What happened, and what it is called
//
// The settings of one Write are taken or refused one by one by the server, so
// after a refusal those behind it in the list may have been written as well;
// the error says which were. A method among the settings (devices.Point.Method)
// is called once, in its place, and only when all before it was written; after
// one that was refused nothing is written. Once a Write has made a change, the failure of a
// later request of the same Write that would be Unreachable or Auth, or would
// have no kind, is Indeterminate. A method call is a write.
//
//	                                       read           write
//	before the request is sent:
//	  refused, silent, no route            Unreachable    Unreachable
//	  worker's name server or sockets      OwnPath        OwnPath
//	  address outside allowed_networks     Auth           Auth
//	  not enrolled, weak, no certificate   Auth           Auth
//	  server not as it was enrolled        Auth           Auth
//	  server cannot prove who it is        Auth           Auth
//	  server does not take our login       Auth           Auth
//	  answers that are not OPC UA          Rejected       Rejected
//	  point without a node, bad node ID    Unsupported    Unsupported
//	  point that is a method               Unsupported    as a node's
//	  value does not fit, node twice       -              Rejected
//	  caller's or driver's end             no kind        no kind
//	sent:
//	  no answer in time, line cut          Unreachable    Indeterminate
//	  wrong signature                      Auth           Indeterminate
//	  wrong frame, type or count           Rejected       Indeterminate
//	  caller's or driver's end             no kind        Indeterminate
//	answered, for the request or one node:
//	  UserAccessDenied, IdentityToken*,
//	    Certificate*, Security*            Auth           Auth
//	  NodeIdUnknown, NotReadable,
//	    NotWritable, TypeMismatch,
//	    OutOfRange, InvalidArgument,
//	    MethodInvalid, any not listed      Rejected       Rejected
//	  Uncertain*                           Rejected       Indeterminate
//	  GoodClamped and the like             -              Indeterminate
//	  InternalError, UnexpectedError,
//	    DeviceFailure, ResponseTooLarge    Rejected       Indeterminate
//	  ServiceUnsupported, NotSupported,
//	    NotImplemented, WriteNotSupported  Unsupported    Unsupported
//	  TooManySessions, ServerTooBusy,
//	    ResourceUnavailable, OutOfMemory,
//	    WaitingForInitialData, Shutdown,
//	    ServerHalted                       Busy           Busy
//	  TooManyOperations, RequestTooLarge   in halves      in halves
//	    and of a single node               Busy, Rejected Busy, Rejected
//	  Timeout, NoCommunication,
//	    CommunicationError,
//	    ConnectionClosed                   Unreachable    Indeterminate
//	  NotConnected, ServerNotConnected     Unreachable    Unreachable
//	  SessionIdInvalid, SessionClosed,
//	    SecureChannel*                     once more, then Unreachable
//	value cannot be understood             Rejected       -
//
// The reasons: a signature that is wrong means that somebody else may be
// speaking; NoCommunication and its like come from a server that asks a device
// behind it, and leave open what that did; what is open is read back, never
// repeated. An Uncertain value is one that the server does not vouch for, and
// "could not find out" is an error.
package opcua
