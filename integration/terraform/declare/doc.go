// Package declare is the part of a fleet directory that Terraform owns: one
// file for the fleet, one for each baseline, one for each device.
//
//	fleet.yaml                       edgefleet_fleet
//	edge-configs/terraform-NAME.yaml edgefleet_baseline
//	devices/terraform-ID.yaml        edgefleet_device
//
// Rules of this layer:
//   - Who owns a file stands in its first line, "# edgefleet-owner: NAME". A
//     file without that line, or with another name, is never written, and never
//     removed.
//   - A file is compared with what the caller believes to stand in it before it
//     is replaced, and is replaced as a whole.
//   - Nothing is written with which the directory would not load: the worker
//     that follows it never sees a mistake that was ours.
//   - It reads and writes files and dials nothing.
package declare
