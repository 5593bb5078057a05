package profile

import (
	"math"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
)

// The patterns of names. SunSpec names are those of its models, "121.WMax".
const (
	nameText         = `^[a-z0-9][a-z0-9-]{0,62}$`
	pointText        = `^[a-z][a-z0-9_]{0,62}$`
	sunSpecText      = `^[0-9]+(#[0-9]+)?(\.[A-Za-z0-9_]+)+$`
	sunSpecModelText = `^[0-9]+(#[0-9]+)?$`
	guidText         = `[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}`
	nodeText         = `^(i=[0-9]{1,10}|s=.+|g=` + guidText + `|b=[A-Za-z0-9+/]+={0,2})$`
	namespaceText    = `^\S*$`
	pathText         = `^(/[^/]+)+$`
	lineKeyText      = `^[A-Za-z0-9_][A-Za-z0-9_./-]*$`
	unitText         = `^[A-Za-z0-9][A-Za-z0-9:_.@\\-]*$`
	optionText       = `^[A-Za-z][A-Za-z0-9]*$`
)

// Flavour is a kind of profile: which fields a file has follows from the
// protocol, and on Modbus from whether the points are those of SunSpec.
type Flavour struct {
	// Name is the protocol, or "sunspec".
	Name string
	// Protocol and SunSpec are what a file of this flavour states.
	Protocol string
	SunSpec  bool
	// File is the shape of the file.
	File strictyaml.Shape

	protocol func(r *reader, root strictyaml.Map) protocol
}

// Flavours returns all of them, in the order of the manual.
func Flavours() []Flavour {
	return []Flavour{
		{Name: ModbusTCP, Protocol: ModbusTCP, File: modbusFile(), protocol: readRegisters},
		{Name: "sunspec", Protocol: ModbusTCP, SunSpec: true, File: sunSpecFile(), protocol: readModels},
		{Name: OPCUA, Protocol: OPCUA, File: opcuaFile(), protocol: readNodes},
		{Name: SSH, Protocol: SSH, File: sshFile(), protocol: readHost},
	}
}

// sections are the shapes of the entries of what all flavours have.
type sections struct{ identity, setting, measurement, action strictyaml.Shape }

// file puts a flavour's own fields between those that all have.
func file(quirks *strictyaml.Shape, s sections, own ...strictyaml.Field) strictyaml.Shape {
	fields := []strictyaml.Field{
		strictyaml.Need("name", strictyaml.Matching("Names the profile: lower-case letters, digits and dashes", nameText)),
		strictyaml.May("description", strictyaml.TextOf("What the model is, for people")),
		strictyaml.Need("protocol", strictyaml.WordOf("How devices of the model are spoken to", Protocols()...)),
		strictyaml.Need("class", strictyaml.WordOf("What sort of device it is", Classes()...)),
	}
	fields = append(fields, own...)
	if quirks != nil {
		fields = append(fields, strictyaml.May("quirks", *quirks))
	}
	identity := strictyaml.ListOf("Points that say what a device is; those with equals have to hold before anything is written", s.identity)
	identity.Some, identity.Holding = true, "equals"
	fields = append(fields,
		strictyaml.May("settle", strictyaml.MappingOf("When a written value can be read back",
			strictyaml.May("wait", strictyaml.DurationOf("Passes before the first reading", 0, time.Minute)),
			strictyaml.May("up_to", strictyaml.DurationOf("Passes at most before the last reading", 0, time.Minute)))),
		strictyaml.May("restart", strictyaml.MappingOf("How the device starts anew",
			strictyaml.May("back_within", strictyaml.DurationOf("Bounds the wait for the device after a reset or restart", time.Second, 2*time.Minute)),
			strictyaml.May("action", strictyaml.Matching("The action of this profile that restarts the device", nameText)))),
		strictyaml.May("firmware", strictyaml.TextOf("The identity point that is the firmware's version; firmware, where there is a point of this name")),
		strictyaml.Need("identity", identity),
		strictyaml.May("settings", strictyaml.ListOf("What a baseline may set", s.setting)),
		strictyaml.May("measurements", strictyaml.ListOf("What is only read", s.measurement)),
		strictyaml.May("health", strictyaml.ListOf("All have to hold; without any, answering is enough", condition())),
		strictyaml.May("interlock", strictyaml.ListOf("While any holds, nothing is written",
			condition().With(strictyaml.Need("tell", strictyaml.TextOf("Says to the operator what to do about it"))))),
		strictyaml.May("actions", strictyaml.ListOf("What the device can be told to do; never repeated blindly", s.action)))
	return strictyaml.MappingOf("A device model of edgefleet", fields...)
}

func condition() strictyaml.Shape {
	return strictyaml.MappingOf("Compares a point with a value",
		strictyaml.Need("point", strictyaml.TextOf("A setting, measurement or identity point of this profile")),
		strictyaml.May("equals", strictyaml.ScalarOf("Holds when the point has this value")),
		strictyaml.May("not", strictyaml.ScalarOf("Holds when the point has another value")),
		strictyaml.May("at_least", strictyaml.NumberOf("Holds for this number and all above")),
		strictyaml.May("at_most", strictyaml.NumberOf("Holds for this number and all below")),
	).One("equals", "not", "at_least", "at_most")
}

// Fields that points of several flavours have.

func pointName() []strictyaml.Field {
	return []strictyaml.Field{
		strictyaml.Need("name", strictyaml.Matching("Names the point: lower-case letters, digits and underscores", pointText)),
		strictyaml.May("description", strictyaml.TextOf("What the point is, for people")),
	}
}

func unitField() strictyaml.Field {
	return strictyaml.May("unit", strictyaml.TextOf("The unit of the engineering value"))
}

func scaleField() strictyaml.Field {
	return strictyaml.May("scale", strictyaml.NumberIn("Multiplies the number on the device to give the engineering value", leastScale, mostScale))
}

func enumField() strictyaml.Field { return enumIn(math.MinInt32, math.MaxUint32) }

// enumIn is the enum of a type with that range.
func enumIn(lo, hi float64) strictyaml.Field {
	of := strictyaml.PairsOf("Names the numbers on the device", strictyaml.WholeOf("", lo, hi))
	of.Some = true
	return strictyaml.May("enum", of)
}

func equalsField() strictyaml.Field {
	return strictyaml.May("equals", strictyaml.ScalarOf("What the device has to be"))
}

func boundFields() []strictyaml.Field {
	return []strictyaml.Field{
		strictyaml.May("min", strictyaml.NumberOf("The smallest value that may be written, in engineering units")),
		strictyaml.May("max", strictyaml.NumberOf("The greatest value that may be written, in engineering units")),
	}
}

func volatileField() strictyaml.Field {
	return strictyaml.May("volatile", strictyaml.FlagOf("It changes by itself and is never compared"))
}

func secretField() strictyaml.Field {
	return strictyaml.May("secret", strictyaml.FlagOf("The value is never shown: reports and the ledger have its digest, keyed with the ledger's key where there is one"))
}

func actionName() []strictyaml.Field {
	return []strictyaml.Field{
		strictyaml.Need("name", strictyaml.Matching("Names the action: lower-case letters, digits and dashes", nameText)),
		strictyaml.May("description", strictyaml.TextOf("What it does, for people")),
	}
}

func confirmFields() []strictyaml.Field {
	return []strictyaml.Field{
		strictyaml.May("confirm", strictyaml.TextOf("A measurement that counts how often it was done")),
		strictyaml.May("confirm_within", strictyaml.DurationOf("Bounds the wait for the counter", 0, time.Minute)),
	}
}

// typeRules say which fields mean something for which types.
func typeRules() []strictyaml.Rule {
	return []strictyaml.Rule{
		{If: "type", Is: types(devices.Bool, devices.String), Not: []string{"scale", "enum", "min", "max"}},
		{If: "type", Is: types(devices.Float32, devices.Int64, devices.Uint64), Not: []string{"enum"}},
		{If: "type", Is: types(devices.Float64), Not: []string{"scale", "enum"}},
		{If: "enum", Not: []string{"scale", "min", "max"}},
		{If: "type", Is: types(devices.Int16), Only: []strictyaml.Field{enumIn(math.MinInt16, math.MaxInt16)}},
		{If: "type", Is: types(devices.Uint16), Only: []strictyaml.Field{enumIn(0, math.MaxUint16)}},
		{If: "type", Is: types(devices.Int32), Only: []strictyaml.Field{enumIn(math.MinInt32, math.MaxInt32)}},
		{If: "type", Is: types(devices.Uint32), Only: []strictyaml.Field{enumIn(0, math.MaxUint32)}},
	}
}

// types are the names of the types that points can have.
func types(with ...devices.Type) []string {
	out := make([]string, len(with))
	for i, t := range with {
		out[i] = string(t)
	}
	return out
}
