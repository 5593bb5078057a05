package inventory

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"edgefleet/devices"
)

// Inventory is the declared fleet. It is not changed after it was read.
type Inventory struct {
	Name string
	// Regions by name.
	Regions    map[string]Region
	Monitoring bool
	Tags       map[string]string
	Security   Security
	// Devices in the order of their IDs.
	Devices []Device
}

// Region is a part of the fleet that has workers of its own.
type Region struct {
	Name string
	// Reference is a host:port near the devices that always takes TCP
	// connections, or "" when the region has none. When a device and the
	// reference are both dark, the worker's own path is.
	Reference string
}

// Security bounds what edgefleet may do to reach a device.
type Security struct {
	EnableEncryption bool
	// RotationPeriod is how long credentials are used, or 0 when it is not
	// stated.
	RotationPeriod time.Duration
	// AllowedNetworks holds every address that may be dialled.
	AllowedNetworks []netip.Prefix
	// TrustFirstUse lets onboarding pin what a device shows when its
	// declaration has no fingerprint. Without it, a fingerprint is required of
	// every device that can prove who it is.
	TrustFirstUse bool
	// PatchKeys are the minisign public keys of which one has to have signed a
	// patch, in their text form; with none no patch is installed.
	PatchKeys []string
}

// Device is the declaration of one device.
type Device struct {
	ID, Site, Region string
	// Class is one of profile.Classes.
	Class string
	// Profile is the name of a loaded profile.
	Profile string
	// Address is host:port.
	Address string
	// Unit is the Modbus unit ID, 1 to 247 or 255; 0 on devices of other
	// protocols.
	Unit uint8
	// Framing and SerialGateway are of Modbus devices (devices.Endpoint), and
	// the same for all devices at one address. Framing is never empty there.
	Framing       devices.Framing
	SerialGateway bool
	// OPCUA is set on devices whose profile speaks OPC UA, SSH on those whose
	// profile speaks SSH.
	OPCUA *OPCUA
	SSH   *SSH
	// Credentials names the entry of the worker's credentials folder by which
	// it logs in; empty is none. The secrets themselves are never declared.
	Credentials string
	// NetworkReset says how the device's network path is reset; nil when
	// nothing can do it.
	NetworkReset *NetworkReset
	// Redundancy names the group of devices that stand in for one another, of
	// which no two are in work at once; empty is none. It is left out of the
	// JSON of devices without one, by which declarations are compared.
	Redundancy string `json:",omitempty"`
	Labels     map[string]string
	// PlaintextException says why an unencrypted protocol is accepted here.
	PlaintextException string
	// File and Line say where the declaration stands.
	File string
	Line int
}

// OPCUA is how an OPC UA server is reached, and what it is known by.
type OPCUA struct {
	// Policy and Mode as in devices.OPCUASecurity, and never empty. Policy None
	// is only declared where the fleet has no enable_encryption, or where
	// PlaintextException says why.
	Policy, Mode string
	// Thumbprint pins the server's certificate, as 40 (SHA-1) or 64 (SHA-256)
	// lower-case hexadecimal digits. Where it is empty, the server is trusted on
	// first use if the fleet allows that, and not logged in to if it does not.
	Thumbprint string
	// ApplicationURI is what the certificate has to carry; empty is what the
	// server announces.
	ApplicationURI string
}

// SSH is what a Linux host is known by.
type SSH struct {
	// HostKeys are fingerprints, "SHA256:...". Where there is none, the host is
	// trusted on first use if the fleet allows that, and not logged in to if it
	// does not.
	HostKeys []string
}

// Fingerprints returns what the declaration pins of the device, and none where
// it pins nothing.
func (d Device) Fingerprints() []string {
	switch {
	case d.SSH != nil:
		return d.SSH.HostKeys
	case d.OPCUA != nil && d.OPCUA.Thumbprint != "":
		return []string{d.OPCUA.Thumbprint}
	}
	return nil
}

// Proves says whether the device can prove who it is, so that a fingerprint of
// it is worth stating.
func (d Device) Proves() bool { return d.SSH != nil || d.OPCUA != nil && d.OPCUA.Policy != policyNone }

// NetworkReset names another device, and its action that resets the path.
type NetworkReset struct {
	Device, Action string
}

// String returns "switch-07 cycle-port-3".
func (r NetworkReset) String() string { return r.Device + " " + r.Action }

// Partners returns the other devices of the device's redundancy group, in the
// order of their IDs; none where it has no group.
func (inv *Inventory) Partners(d Device) []Device {
	if d.Redundancy == "" {
		return nil
	}
	var out []Device
	for i := range inv.Devices {
		if other := &inv.Devices[i]; other.Redundancy == d.Redundancy && other.ID != d.ID {
			out = append(out, *other)
		}
	}
	return out
}

// Device returns the declaration of a device.
func (inv *Inventory) Device(id string) (Device, bool) {
	i, ok := slices.BinarySearchFunc(inv.Devices, id, func(d Device, id string) int { return strings.Compare(d.ID, id) })
	if !ok {
		return Device{}, false
	}
	return inv.Devices[i], true
}
