// Package chassis is what all simulated devices have in common, whatever they
// speak: an address for life, power, faults of the network side, latency, and
// a record of what clients wrote.
//
// A kind of device gives it the face of a healthy device, which is a server on
// the address; the faces of the broken ones are here. Rules:
//   - A device keeps its address for life: through faults, power cycles and,
//     where the caller gives the address back, restarts of the process.
//   - A fault changes what stands at that address and nothing else.
//   - Once a call that darkens a device has returned (Break, PowerOff, Close),
//     no request that arrived before can change it any more.
//   - Connections are cut whenever what stands at the address changes.
package chassis
