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
//	  devices: {edge-001: {active_power_limit: 3000, ignore: [reclose_enabled]}}
//	ignore: [timezone_offset]          # others change these
//
// For Linux hosts, texts such as files are given as they are, as {content: ...},
// or rendered from a template for each device (package template):
//
//	values: {poll_interval: 10, upstream: "10.0.0.1"}   # .settings of the template
//	settings:
//	  edge_config: {template: templates/device-config.tmpl}   # below edge-configs
//	  permit_root_login: "no"
//	overrides:
//	  sites: {substation-7: {values: {poll_interval: 30}, settings: {permit_root_login: "yes"}}}
//
// and for SunSpec devices, curves stand for the settings 705.curve.RspTms and
// the like:
//
//	curves:
//	  705: {DeptRef: VAR_MAX_PCT, RspTms: 5, points: [[92, 44], [98, 0], [102, 0], [108, -44]]}
//
// An override has values, settings, curves and ignore as well, and may name
// settings beside these words. It goes value by value and setting by setting: a
// template of all devices sees the values of a device's site.
//
// What is ignored is neither compared nor written. The last part that mentions a
// setting counts: an override ignores what the file sets for all devices, and
// sets what the file ignores.
//
// Without select, a baseline is for every device of its profile. At most one
// baseline may select a device: two are a mistake and not a precedence.
//
// Everything is checked against the profile before anything is dialled: names,
// types, ranges, steps and enums, and that each template can be rendered for
// every device that is selected. Values are canonical (devices.Point), so they
// compare equal to what the device gives back. Rendered files are not kept: a
// fleet can have thousands of them, and rendering gives the same text again.
package baseline
