// Package pool keeps the lines of a driver: its ways to endpoints, each with at
// most one connection that all callers of the endpoint share.
//
// Rules of this package:
//   - There is one line per key for as long as anybody refers to it or it is
//     connected; a line with neither is forgotten. So a link that is closed
//     while it is in use cannot lead to a second connection to its endpoint.
//   - The connections that are open at the same time are bounded, over all
//     lines, by slots. Who needs one that is not free makes the line give up
//     its connection that nobody has used for longest; where all are in use, it
//     waits for the first that comes to rest.
//   - A pool that is shut ends everything that waits or is under way, and
//     returns when no connection is left.
//
// What a connection is, and when it is idle, is the driver's: see Line.
package pool
