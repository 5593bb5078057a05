// Package engine runs a Temporal server with its Web UI inside this process,
// on a SQLite file in a data folder. It is what makes edgefleet run with one
// command; a fleet in production points the same programs at a Temporal
// cluster instead.
//
// Rules of this layer:
//
//   - It is the only package that imports go.temporal.io/server.
//   - What Temporal acknowledged is on the disk: the database runs in WAL mode
//     with synchronous=FULL, because substations lose power.
//   - It listens on loopback only, since an embedded server authenticates
//     nobody.
//   - A data folder belongs to one engine at a time, held by a lock that the
//     operating system releases when the process ends, however it ends.
//   - The server never ends the process: what it calls fatal becomes an error
//     from Start, or closes Done and is told by Err.
//
// Temporal's server is made for a process that ends with it: after Stop some
// of its own workers and the database connection linger, idle, until the
// process ends. They hold no port and lose nothing; the number of engines that
// one process can start one after the other is bounded by memory alone.
package engine
