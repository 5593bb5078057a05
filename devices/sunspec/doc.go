// Package sunspec reads and sets SunSpec devices: inverters and batteries that
// describe themselves in Modbus registers. It finds the models of a device, and
// makes a link whose points are those of the models, so that what works for any
// device (drift, safe write, journal) works for a SunSpec device unchanged, its
// curves included.
//
// Rules of this package:
//   - The models are data (models/*.yaml), written from the SunSpec
//     Alliance's public model definitions; the names of models and points are
//     theirs.
//   - A chain is believed only as far as it is sound: it begins with model 1,
//     ascends, ends in the address space, and has at most 128 models. Every
//     reading of a model confirms that it still stands where it was found.
//   - A model whose length is not that of its definition is another version of
//     it, whose points stand elsewhere: it is not read, and not written.
//   - A value and its scale factor come from one request. In a model that does
//     not fit into one (more than 98 registers), the factors are read again
//     afterwards, and have to be what they were.
//   - "Not implemented" is a value of its own, and never a number; a point that
//     the device does not implement is an error that names it.
//   - Settings are what a baseline sets. Controls (models 123 and 704; and of
//     others what connects, resets, reverts or selects, such as 703.ES, the
//     permission to enter service) are commands of the moment: they can be
//     read, are no drift, and are never written.
//   - The curve in force is never written. Another one is, and read back,
//     before the device is asked to adopt it.
//
// # A device through a link
//
//	catalog, err := sunspec.NewCatalog()             // once per program
//	link := catalog.Link(modbusLink, "inv-07")
//	values, err := link.Read(ctx, points)            // Point.SunSpec: "121.WMax"
//	err = link.Write(ctx, settings)
//
// Which points there are is known without a device: Lookup and CurveNames tell
// type, unit, use, symbols and columns, by which a profile is checked when it is
// loaded. Where they stand and what their scale factors are, the link finds out
// on the device.
//
//	name: sunspec-inverter
//	protocol: modbus-tcp
//	sunspec: true
//	identity:
//	  - {name: maker, sunspec: 1.Mn, equals: Northline}
//	settings:
//	  - {name: 121.WMax, min: 1000, max: 60000}
//	curves: [705, 707]
//
// Ask for the settings that the baseline of a device names, not for all that its
// profile lists: what nobody wants, the device need not have.
//
// # Curves
//
// Of the curve in force each setting is a point, "705.curve.RspTms", and each
// table is one, whose value is a text: "705.curve.points" is
// "92/44 98/0 102/0 108/-44", "707.curve.MustTrip" is "50/0.16 88/2". The stored
// controls of model 711 are curves without a table. All parts of a model's curve
// in one Write become one adoption; parts that are not named stay as they are in
// force. Whether the function is enabled is a plain setting, 705.Ena or
// 126.ModEna: it is disabled before the curves of a Write, and enabled after
// them.
//
// Below the link, PlanCurve reads and compares, and says what would change;
// Apply does it, and only when the device is as it was planned. A curve in force
// by ActCrv (model 126) and one that is adopted by a request (705 to 712) are
// handled alike. PlanCurve takes numbers as equal when the device cannot tell
// them apart (half of its scale factor), and the nearest that it can hold,
// unless Wanted.Exact is set, as the link does: what is read back later is
// compared with what was wanted.
//
// # Without a link of its own
//
// Discover, Map, Read, Identify and Curves work on any Modbus link, for whoever
// looks at one device by hand. The points of a Mapping hold for the device as it
// was when it was mapped: whoever keeps one calls its Check before a write.
package sunspec
