// Package profile holds device models as data: which points a model has, how
// one recognises it, when it is healthy, when it must not be written to, and
// what it can be told to do. A new model is a YAML file and needs no Go.
//
// The models that edgefleet brings stand in builtin/; a fleet adds its own in
// the folder profiles of its directory. A file reads:
//
//	name: feeder-rtu              # lower-case letters, digits and dashes
//	description: Feeder RTU       # optional
//	protocol: modbus-tcp          # or opcua, or ssh
//	class: rtu                    # plc, rtu or gateway
//	quirks: {only_write_multiple: false, gap: 20ms}          # optional
//	settle: {wait: 500ms, up_to: 10s}     # before and while reading back; optional
//	restart: {back_within: 90s, action: restart}             # optional
//	firmware: firmware            # the identity point that is its version; optional
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
// at_most. confirm_within has to be longer than the action takes. The registry
// of devices understands the identity points maker, model, firmware and serial.
//
// # OPC UA
//
// In place of tables and addresses, nodes:
//
//	protocol: opcua
//	namespace: "urn:northline:plc"        # of the nodes that state none
//	identity:
//	  - {name: maker, namespace: "", node: "i=2263", type: string, equals: Northline}
//	settings:
//	  - {name: pump_setpoint, node: "s=Pump.Setpoint", type: float64, unit: "%", min: 0, max: 100}
//	  - {name: retries, node: "s=Comm.Retries", type: uint16, node_type: Byte}
//	actions:
//	  - name: restart
//	    call: {object: "s=Plc", method: "s=Plc.Restart", args: [{name: delay, type: UInt32, value: 5}]}
//	    confirm: restarts
//
// Namespaces are URIs: their numbers differ from server to server. The empty
// one is the standard's. The type is exact: a node whose value has another one
// is not written. A call becomes Action.Pulse to a point with a Method.
//
// # Linux hosts
//
// All values are texts. A point is one of file, mode, sshd, service, line, fact
// and output; the last two are only read:
//
//	protocol: ssh
//	commands:                     # the only ones that are ever run on the device
//	  edge-validate: {run: "/usr/local/bin/edge-validate --config %s", become: true, timeout: 20s}
//	  restart-edge: {run: [systemctl, restart, edge-agent], become: true}
//	  edge-healthy: {run: "systemctl is-active edge-agent", within: 15s}
//	identity:
//	  - {name: os, fact: os, equals: debian}
//	settings:
//	  - {name: edge_config, file: /etc/edge/config.yaml, become: true, validate: edge-validate, restart: restart-edge, health: edge-healthy}
//	  - {name: permit_root_login, sshd: PermitRootLogin, drop_in: /etc/ssh/sshd_config.d/10-edgefleet.conf, become: true}
//	  - {name: log_level, line: {path: /etc/edge/agent.conf, key: log_level, separator: "="}}
//	actions:
//	  - {name: restart, run: restart-edge}
//
// No shell reads a command's arguments. %s is the path of a candidate, and
// stands in validations only. Settings in one file agree on its commands.
//
// # SunSpec
//
// The device says where its points stand and how they are scaled. Names are
// those of SunSpec's models and are checked when the profile is read:
//
//	protocol: modbus-tcp
//	sunspec: true
//	identity:
//	  - {name: maker, sunspec: 1.Mn, equals: Northline}
//	settings:
//	  - {name: 121.WMax, min: 1000, max: 60000}
//	  - {name: min_reserve, sunspec: 124.MinRsvPct, min: 5, max: 50}
//	curves: [705]                 # adds 705.curve.DeptRef ... 705.curve.points
//
// A value is a float64 where the model has a scale factor. Controls (what a
// dispatcher sets from minute to minute) are refused as settings. A table of a
// curve is a text, devices.ParseRows.
//
// # Rules of this package
//
//   - The fields of a file are declared once, as shapes (Flavours). The reader
//     takes what it knows from them, and devices/schema makes a JSON Schema of
//     them for editors.
//   - Every rule has a file in testdata/bad with its exact message.
//   - What can be known without the device is checked here, so that a fleet
//     directory that loads holds no setting that no device could take.
package profile
