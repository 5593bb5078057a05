// Package sunspec reads and sets SunSpec devices: inverters and batteries that
// describe themselves in Modbus registers. It finds the models of a device, and
// turns their points into the shared types, so that what works for any Modbus
// profile (drift, safe write, journal) works for a SunSpec device unchanged.
// Only curves have a way of their own.
//
// Rules of this package:
//   - The models are data (models/*.yaml), written from the SunSpec
//     Alliance's public model definitions; the names of models and points are
//     theirs.
//   - A chain is believed only as far as it is sound: it begins with model 1,
//     ascends, ends in the address space, and has at most 128 models.
//   - A model whose length is not that of its definition is another version of
//     it, whose points stand elsewhere: it is not read, and not written.
//   - A value and its scale factor come from one request. In a model that does
//     not fit into one (more than 100 registers), the factors are read again
//     afterwards, and have to be what they were.
//   - "Not implemented" is a value of its own, and never a number; a setting
//     that the device does not implement cannot be mapped.
//   - Settings are what a baseline sets. Controls (models 123 and 704; and of
//     others what connects, resets, reverts or selects, such as 703.ES, the
//     permission to enter service) are commands of the moment: they can be
//     read, are no drift, and are never written.
//   - The curve in force is never written. Another one is, and read back,
//     before the device is asked to adopt it.
//
// # A device in terms of the shared types
//
//	catalog, err := sunspec.NewCatalog()                 // once per program
//	chain, err := catalog.Discover(ctx, link, "inv-07")  // a request per model and two
//	who, err := chain.Identify(ctx, link)                // model 1
//	mapping, err := chain.Map(ctx, link, []string{"121.WMax", "124.MinRsvPct"})
//	values, err := link.Read(ctx, mapping.Points)
//	err = link.Write(ctx, []devices.Setting{{Point: mapping.Points[0], Value: 42000.0}})
//
// The points hold for the device as it was when it was mapped. A scale factor
// may change when a device is exchanged or rated anew, so whoever keeps a
// mapping calls its Check before a write; an operation that maps at its start
// and ends within seconds need not.
//
// # The proposed profile
//
// A profile of SunSpec devices names points in place of addresses. Names are
// checked by Catalog.Lookup when the fleet is loaded, without a device: a
// setting has to have SettingUse, an interlock or a health check may be on any
// point. The addresses and scales are filled in when a device is opened:
//
//	name: sunspec-inverter
//	protocol: modbus-tcp
//	class: gateway
//	sunspec:
//	  identity: {1.Mn: Northline, 1.Md: PV-50}    # points with equals
//	  settings: [121.WMax, 121.ECPNomHz, 703.ESDlyTms, {point: 124.MinRsvPct, min: 5, max: 50}]
//	  measurements: [103.W, 103.St]
//	  curves: [705, 707]
//	health:
//	  - {point: 103.St, equals: MPPT}
//	interlock:
//	  - {point: 802.LocRemCtl, equals: LOCAL, tell: "the battery stands on local; ask on site"}
//
// and a baseline has, beside its settings, curves in engineering units:
//
//	settings: {121.WMax: 42000}
//	curves:
//	  705: {DeptRef: VAR_MAX_PCT, RspTms: 5, points: [[92, 44], [98, 0], [102, 0], [108, -44]]}
//	  707: {MustTrip: [[50, 0.16], [88, 2]]}
//
// Ask Map for the settings that the baseline of the device names, not for all
// that the profile lists: what nobody wants, the device need not have. A
// profile's min and max narrow the Min and Max of the mapped points.
//
// # Curves
//
// PlanCurve reads and compares, and says what would change; Apply does it, and
// only when the device is as it was planned. Settings and tables that are not
// wanted stay as they are in force. Numbers are equal when the device cannot
// tell them apart (half of its scale factor), and are written as the nearest
// that it can hold. A curve in force by ActCrv (model 126) and one that is
// adopted by AdptCrvReq (705 to 710) are handled alike. Whether the function
// is enabled is a setting: 705.Ena, 126.ModEna.
package sunspec
