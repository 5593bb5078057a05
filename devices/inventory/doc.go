// Package inventory reads the fleet file: which devices there are, where they
// stand, and within which bounds edgefleet may talk to them.
//
// The file fleet.yaml of a fleet directory reads:
//
//	fleet:
//	  name: edge-fleet
//	  regions:
//	    us-east-1: {reference: "10.0.0.1:502"}   # answers when the worker's way is up; optional
//	    us-west-2: {}
//	  monitoring: true
//	  tags: {environment: production}
//	  security:
//	    enable_encryption: true
//	    rotation_period: 72h
//	    allowed_networks: ["10.0.0.0/8"]         # nothing else is ever dialled
//	    patch_keys: ["RW..."]                    # who may sign patches, with minisign; optional
//	devices:
//	  - id: edge-001
//	    site: substation-7
//	    region: us-east-1
//	    class: rtu                               # the profile's, when it is left out
//	    profile: feeder-rtu
//	    address: 10.1.2.3:502
//	    unit: 1                                  # 1 to 247, or 255, the default
//	    network_reset: {device: switch-07, action: cycle-port-3}
//	    redundancy: pair-7                       # no two of a group are in work at once
//	    labels: {feeder: F12}
//	    plaintext_exception: "own VLAN, the model has no encryption"
//
// and, by the protocol of the profile, of a device behind a serial gateway, an
// OPC UA server and a Linux host:
//
//	unit: 7
//	modbus: {framing: rtu}                   # tcp is the default; or serial_gateway: true
//
//	credentials: plant-ops                   # of the worker; never a secret itself
//	opcua: {policy: Basic256Sha256, mode: SignAndEncrypt, thumbprint: "AB:CD:...", application_uri: "urn:..."}
//
//	credentials: gateways
//	ssh: {host_keys: ["SHA256:..."]}
//
// A device that can prove who it is needs what it is known by, unless
// security.trust_first_use is on. All devices behind one address are reached in
// one way.
//
// More devices may stand in devices/*.yaml, each a list under devices:. With
// enable_encryption, a device whose traffic is not encrypted (Modbus; OPC UA
// with the mode None or Sign) needs a plaintext_exception, which is the reason
// in words: it is what an auditor reads, so true alone would not do.
//
// Reading is all or nothing, and strict: every mistake is listed at once as
// "file:line: what; remedy".
package inventory
