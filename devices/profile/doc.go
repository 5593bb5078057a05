// Package profile holds device models as data: which points a model has, how
// one recognises it, when it is healthy, when it must not be written to, and
// what it can be told to do. A new model is a YAML file and needs no Go.
//
// The models that edgefleet brings stand in builtin/; a fleet adds its own in
// the folder profiles of its directory. A file reads:
//
//	name: feeder-rtu              # lower-case letters, digits and dashes
//	description: Feeder RTU       # optional
//	protocol: modbus-tcp
//	class: rtu                    # plc, rtu or gateway
//	quirks: {only_write_multiple: false, gap: 20ms}          # optional
//	settle: {wait: 500ms, up_to: 10s}     # before and while reading back; optional
//	restart: {back_within: 90s}   # bound of the wait after a reset; optional
//	identity:                     # points with equals are what a device must be
//	  - {name: maker, table: holding, address: 0, length: 8, type: string, equals: Northline}
//	  - {name: serial, table: holding, address: 16, length: 8, type: string}
//	settings:                     # what a baseline may set
//	  - {name: nominal_voltage, table: holding, address: 100, type: uint16, scale: 0.1, unit: kV, min: 1, max: 40}
//	  - {name: event_counter, table: holding, address: 115, type: uint16, volatile: true}
//	measurements:                 # what is only read
//	  - {name: state, table: input, address: 12, type: uint16, enum: {init: 0, running: 1}}
//	health:                       # all have to hold; none: answering is enough
//	  - {point: state, equals: running}
//	interlock:                    # while any holds, nothing is written
//	  - {point: local_control, equals: true, tell: "switch it to remote first"}
//	actions:                      # one write each, never repeated blindly
//	  - name: cycle-port-1
//	    pulse: {table: coil, address: 0, value: true}
//	    confirm: port_1_cycles    # a measurement that counts what was done
//	    confirm_within: 10s
//
// Addresses count from zero, as on the wire. word_order is high-first (the
// default) or low-first. A condition has one of equals, not, at_least and
// at_most. confirm_within has to be longer than the action takes.
package profile
