// Package opcuasim simulates an OPC UA server on a loopback socket: the
// controller of a pump station, Northline PLC-400, as the built-in profile
// opcua-plc has it.
//
// The server speaks OPC UA TCP in the binary encoding over a secure channel of
// its own; encoding and cryptography are those of github.com/gopcua/opcua,
// whose server package takes any password, calls no method and reads 2 MB of
// XML for each server. Nothing is shared with the driver's framing, padding,
// sequence numbers or log-in, so that a misreading of the protocol cannot hide
// on both sides. Rules:
//
//   - Sessions are there under Basic256Sha256, Aes128_Sha256_RsaOaep and
//     Aes256_Sha256_RsaPss in the mode SignAndEncrypt, for one user with a
//     password. Without security a client can ask for the endpoints, and for
//     nothing else.
//   - A client has to show a certificate that the server trusts, when it was
//     given any to trust.
//   - A write of another type is BadTypeMismatch, one out of range
//     BadOutOfRange, one to a measurement BadNotWritable; nothing is bent.
//   - Every write that is acknowledged is counted, as is every call of the
//     method that starts the controller's program anew.
//   - A server without clients costs one goroutine. A process makes one key
//     for all of its servers.
package opcuasim
