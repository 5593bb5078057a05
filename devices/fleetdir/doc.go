// Package fleetdir is what edgefleet knows of a fleet: the directory of files
// that declares it, loaded and checked as a whole.
//
//	fleet.yaml           the inventory
//	devices/*.yaml       more devices
//	profiles/*.yaml      device models beside the built-in ones
//	edge-configs/*.yaml  baselines
//	edge-configs/templates/**
//	                     what they render files from
//	patches/*.yaml       patches; their artifacts are no part of the revision,
//	                     because their hashes are
//	runbooks/**          read by others; part of the revision
//
// Rules of this layer:
//   - It reads files and dials nothing: a laptop or a check of a change loads a
//     directory without linking a driver.
//   - All or nothing: what loads has no mistake in it, and a mistake comes with
//     all the others, each as "file:line: what; remedy".
//   - A loaded fleet does not change, and its revision names its content.
package fleetdir
