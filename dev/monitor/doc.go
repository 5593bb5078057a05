// Package monitor runs a real Prometheus and a real Alertmanager beside the
// dev stack, with the configuration that integration ships: only addresses and
// times differ.
//
// Rules of this layer:
//
//   - The programs are children that don't outlive this process, not even when
//     it is killed: between the two stands a supervisor, which is this same
//     program again, and ends its child when the pipe from us closes. So every
//     program that uses this package calls Supervise first thing in main.
//   - Children stand in a process group of their own, out of reach of the
//     terminal's Ctrl-C, so that the stack is stopped in its order.
//   - What is rendered, stored and logged stands in the data folder.
package monitor
