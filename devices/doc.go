// Package devices holds what all device protocols have in common: the kinds of
// errors, typed points and their values, and the interface of a driver. Below
// it stand the inventory (fleet file), profiles, baselines and their templates,
// a worker's credentials, one package per protocol, the operations on a device
// (probe, drift, safe write, reset), and the simulators.
//
// Rules of this layer:
//   - It imports nothing else of edgefleet.
//   - "Could not find out" is an error, never a "no".
//   - One link per endpoint, one request in flight, dropped on any error.
//   - A write is never repeated blindly: when its outcome is not known, the
//     device is read back.
//   - No address outside the fleet's allowed_networks is ever dialled.
package devices
