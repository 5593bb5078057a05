package inventory

import (
	"time"

	"edgefleet/devices"
	"edgefleet/devices/profile"
	"edgefleet/devices/profile/strictyaml"
)

// The longest and shortest time after which credentials are renewed.
const (
	minRotation = time.Minute
	maxRotation = 10 * 365 * 24 * time.Hour
)

// Policies returns the security policies of OPC UA that a device can have. The
// deprecated ones are not among them.
func Policies() []string {
	return []string{"Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss", policyNone}
}

// Modes returns the message security modes of OPC UA.
func Modes() []string { return []string{modeEncrypted, "Sign", modeNone} }

// Names of what has rules of its own.
const (
	policyNone    = "None"
	modeNone      = "None"
	modeEncrypted = "SignAndEncrypt"
	defaultPolicy = "Basic256Sha256"
	// unknownYet stands for a fingerprint that somebody still has to find out.
	unknownYet = "unknown"
)

// Patterns of texts, for editors; the reader's own checks go further.
const (
	addressText    = `^.+:[1-9][0-9]{0,4}$`
	networkText    = `^[0-9A-Fa-f:.]+/[0-9]{1,3}$`
	thumbprintText = `^([0-9A-Fa-f]([: -]*[0-9A-Fa-f]){39}(([: -]*[0-9A-Fa-f]){24})?[: -]*|unknown)$`
	patchKeyText   = `^[A-Za-z0-9+/]{56}$`
	hostKeyText    = `^(SHA256:[A-Za-z0-9+/]{43}|unknown)$`
	idText         = `^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`
	// labelText is Prometheus' rule, because labels become labels of series.
	labelText = `^[a-zA-Z_][a-zA-Z0-9_]{0,62}$`
)

// some is a list or pairs that must not be empty.
func some(s strictyaml.Shape) strictyaml.Shape {
	s.Some = true
	return s
}

// Shape says what may stand in the fleet file. The reader and the JSON Schema
// are made of it.
func Shape() strictyaml.Shape {
	return strictyaml.MappingOf("The fleet: its regions, its security and its devices",
		strictyaml.Need("fleet", fleetShape()),
		strictyaml.Need("devices", devicesShape()))
}

// DevicesShape says what may stand in a file of more devices.
func DevicesShape() strictyaml.Shape {
	return strictyaml.MappingOf("More devices of the fleet", strictyaml.Need("devices", devicesShape()))
}

func fleetShape() strictyaml.Shape {
	return strictyaml.MappingOf("What holds for all devices",
		strictyaml.Need("name", strictyaml.TextOf("The fleet's name: edge-fleet")),
		strictyaml.Need("regions", regionsShape()),
		strictyaml.May("monitoring", strictyaml.FlagOf("Whether the devices are probed for Prometheus")),
		strictyaml.May("tags", strictyaml.PairsOf("Yours", strictyaml.TextOf("A tag"))),
		strictyaml.Need("security", strictyaml.MappingOf("What edgefleet may do to reach a device",
			strictyaml.May("enable_encryption", strictyaml.FlagOf("A device whose traffic is not encrypted needs a plaintext_exception")),
			strictyaml.May("rotation_period", strictyaml.DurationOf("How long credentials are used", minRotation, maxRotation)),
			strictyaml.Need("allowed_networks", some(strictyaml.ListOf("Nothing outside is ever dialled", strictyaml.Matching("A network: 10.0.0.0/8", networkText)))),
			strictyaml.May("trust_first_use", strictyaml.FlagOf("Onboarding may pin what a device shows when its declaration has no fingerprint")),
			strictyaml.May("patch_keys", some(strictyaml.ListOf("minisign public keys, of which one has to have signed a patch before it is installed", strictyaml.Matching("The second line of minisign.pub", patchKeyText)))))))
}

func regionShape() strictyaml.Shape {
	return strictyaml.MappingOf("A region",
		strictyaml.May("reference", strictyaml.Matching("host:port near the devices that always takes TCP connections: when a device and the reference are both dark, the worker's own path is down", addressText)))
}

func regionsShape() strictyaml.Shape {
	regions := some(strictyaml.PairsOf("The parts of the fleet that have workers of their own, by name", regionShape()))
	regions.Pattern = idText
	return regions
}

func devicesShape() strictyaml.Shape {
	labels := strictyaml.PairsOf("Yours, to select by", strictyaml.TextOf("A label"))
	labels.Pattern = labelText
	return strictyaml.ListOf("The devices", strictyaml.MappingOf("A device",
		strictyaml.Need("id", strictyaml.TextOf("1 to 63 letters, digits, '.', '-' and '_'; the alert's label has to have the same")),
		strictyaml.Need("site", strictyaml.TextOf("Where the device stands")),
		strictyaml.Need("region", strictyaml.TextOf("One of the fleet's regions")),
		strictyaml.May("class", strictyaml.WordOf("The profile's, when it is left out", profile.Classes()...)),
		strictyaml.Need("profile", strictyaml.TextOf("The device's model: a built-in profile, or one of profiles/*.yaml")),
		strictyaml.Need("address", strictyaml.Matching("host:port, inside allowed_networks", addressText)),
		strictyaml.May("unit", strictyaml.ChoiceOf("Modbus only: 1 to 247 behind a gateway, 255 (the default) for a device at its own address",
			strictyaml.WholeOf("Behind a gateway", 1, 247), strictyaml.WholeOf("At its own address", directUnit, directUnit))),
		strictyaml.May("modbus", modbusShape()),
		strictyaml.May("opcua", opcuaShape()),
		strictyaml.May("ssh", strictyaml.MappingOf("SSH only: what the host is known by",
			strictyaml.May("host_keys", strictyaml.ListOf("Fingerprints as ssh-keygen -lf shows them; the host has to have one of the keys. [unknown] until they are known: the host is not logged in to", strictyaml.Matching("SHA256: and 43 characters, or unknown", hostKeyText))))),
		strictyaml.May("credentials", strictyaml.TextOf("OPC UA and SSH: the entry of the worker's credentials folder by which it logs in")),
		strictyaml.May("network_reset", strictyaml.MappingOf("What resets the device's network path",
			strictyaml.Need("device", strictyaml.TextOf("Another device of the same region")),
			strictyaml.Need("action", strictyaml.TextOf("An action of that device's profile")))),
		strictyaml.May("redundancy", strictyaml.Matching("The group of devices of one region that stand in for one another: no two of it are in work at once", idText)),
		strictyaml.May("labels", labels),
		strictyaml.May("plaintext_exception", strictyaml.TextOf("Why unencrypted traffic is accepted here, in words: for the auditor")),
	))
}

func modbusShape() strictyaml.Shape {
	return strictyaml.MappingOf("Modbus only: how the gateway at the address is spoken to; the same for all devices behind it",
		strictyaml.May("framing", strictyaml.WordOf("tcp (the default), or rtu for a device server in transparent mode", string(devices.FramingTCP), string(devices.FramingRTU))),
		strictyaml.May("serial_gateway", strictyaml.FlagOf("The devices stand on a serial bus behind the address, and get more time")))
}

func opcuaShape() strictyaml.Shape {
	policy := func(words ...string) []strictyaml.Field {
		return []strictyaml.Field{strictyaml.May("policy", strictyaml.WordOf("", words...))}
	}
	return strictyaml.MappingOf("OPC UA only: how the server is reached, and what it is known by",
		strictyaml.May("policy", strictyaml.WordOf(defaultPolicy+" unless stated", Policies()...)),
		strictyaml.May("mode", strictyaml.WordOf("SignAndEncrypt unless stated; None with the policy None", Modes()...)),
		strictyaml.May("thumbprint", strictyaml.Matching("Of the server's certificate: 40 (SHA-1) or better 64 (SHA-256) hexadecimal digits; colons and case do not count. unknown until it is known: the server is not logged in to", thumbprintText)),
		strictyaml.May("application_uri", strictyaml.Matching("What the server's certificate has to carry; what the server announces, when it is left out", `^[A-Za-z][A-Za-z0-9+.-]*:`)),
	).Where(
		strictyaml.Rule{If: "mode", Is: []string{modeNone}, Need: []string{"policy"}, Only: policy(policyNone)},
		strictyaml.Rule{If: "policy", Is: []string{policyNone}, Only: []strictyaml.Field{strictyaml.May("mode", strictyaml.WordOf("", modeNone))}},
	)
}
