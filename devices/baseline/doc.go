// Package baseline reads the desired settings of the fleet: edge-configs/*.yaml.
//
// A file reads:
//
//	name: feeder-standard
//	version: 2026.11.1                 # any text; say another one with each change
//	profile: feeder-rtu
//	select:                            # all of these have to match; a list is any of
//	  labels: {feeder: [F12, F13]}
//	  class: rtu
//	  site: substation-7
//	  region: [us-east-1, us-west-2]
//	  ids: [edge-001, edge-002]
//	settings:                          # in engineering units
//	  nominal_frequency: 50
//	  reclose_enabled: on
//	overrides:                         # a device's go before its site's
//	  sites: {substation-7: {reclose_delay: 10}}
//	  devices: {edge-001: {active_power_limit: 3000}}
//
// Without select, a baseline is for every device of its profile. At most one
// baseline may select a device: two are a mistake and not a precedence.
//
// Everything is checked against the profile before anything is dialled: names,
// types, ranges, steps and enums. Values are canonical (devices.Point), so they
// compare equal to what the device gives back.
package baseline
