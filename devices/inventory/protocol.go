package inventory

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"edgefleet/devices"
	"edgefleet/devices/profile"
	"edgefleet/devices/profile/strictyaml"
)

// sections returns the fields that only devices of a protocol have.
func sections(protocol string) []string {
	switch protocol {
	case profile.ModbusTCP:
		return []string{"unit", "modbus"}
	case profile.OPCUA:
		return []string{"opcua", "credentials"}
	case profile.SSH:
		return []string{"ssh", "credentials"}
	}
	return nil
}

// protocol reads what depends on the protocol of the device's profile. Without
// a known profile there is nothing to read it by.
func (r *reader) protocol(m strictyaml.Map, p *profile.Profile, d *Device) {
	own := sections(p.Protocol)
	for _, key := range []string{"unit", "modbus", "opcua", "ssh", "credentials"} {
		if n, has := m.Get(key); has && !slices.Contains(own, key) {
			n.Add(fmt.Sprintf("%s on %s, whose profile %s speaks %s", key, orDevice(d.ID), p.Name, p.Protocol), "remove it; such a device has "+orNone(own))
		}
	}
	if n, ok := m.Get("credentials"); ok && slices.Contains(own, "credentials") {
		if d.Credentials, ok = n.Text(); ok {
			if err := devices.ValidID(d.Credentials); err != nil {
				n.Add("credentials "+err.Error(), "name a folder of the worker's credentials; the secret itself never stands here")
			}
		}
	}
	switch p.Protocol {
	case profile.ModbusTCP:
		r.modbus(m, d)
	case profile.OPCUA:
		r.opcua(m, d)
	case profile.SSH:
		r.ssh(m, d)
	}
	r.encryption(m, p, d)
}

// orDevice names a device in a sentence, also one whose ID is missing.
func orDevice(id string) string {
	if id == "" {
		return "the device"
	}
	return id
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none of these"
	}
	return strings.Join(list, " and ") + " only"
}

func (r *reader) modbus(m strictyaml.Map, d *Device) {
	d.Unit, d.Framing = directUnit, devices.FramingTCP
	if n, ok := m.Get("unit"); ok {
		r.unit(n, d)
	}
	s, ok := m.Mapping("modbus")
	if !ok {
		return
	}
	if framing := s.Text("framing"); framing != "" {
		d.Framing = devices.Framing(framing)
		if d.Framing != devices.FramingTCP && d.Framing != devices.FramingRTU {
			r.f.Add(s.KeyLine("framing"), "unknown framing "+strictyaml.Quote(framing), "use tcp, or rtu for a device server in transparent mode")
		}
	}
	n, stated := s.Get("serial_gateway")
	if stated {
		d.SerialGateway, _ = n.Bool()
	}
	if d.Framing == devices.FramingRTU {
		if stated && !d.SerialGateway {
			n.Add("serial_gateway: false beside framing: rtu, which is the frame of a serial line", "remove one of them")
		}
		d.SerialGateway = true
	}
}

func (r *reader) opcua(m strictyaml.Map, d *Device) {
	o := &OPCUA{Policy: defaultPolicy, Mode: modeEncrypted}
	d.OPCUA = o
	s, ok := m.Mapping("opcua")
	if _, has := m.Get("opcua"); has && !ok {
		return
	}
	if policy := s.Text("policy"); policy != "" {
		o.Policy = policy
		if !slices.Contains(Policies(), policy) {
			r.f.Add(s.KeyLine("policy"), "unknown policy "+strictyaml.Quote(policy), "use one of "+strings.Join(Policies(), ", "))
		}
	}
	if o.Policy == policyNone {
		o.Mode = modeNone
	}
	if mode := s.Text("mode"); mode != "" {
		o.Mode = mode
		switch {
		case !slices.Contains(Modes(), mode):
			r.f.Add(s.KeyLine("mode"), "unknown mode "+strictyaml.Quote(mode), "use one of "+strings.Join(Modes(), ", "))
		case (mode == modeNone) != (o.Policy == policyNone):
			r.f.Add(s.KeyLine("mode"), fmt.Sprintf("the mode %s does not go with the policy %s", mode, o.Policy), "use None with None, and Sign or SignAndEncrypt with the others")
		}
	}
	if n, ok := s.Get("thumbprint"); ok {
		if text, _ := n.Text(); text != unknownYet {
			o.Thumbprint = thumbprint(n)
		}
	} else if o.Policy != policyNone && !r.inv.Security.TrustFirstUse {
		r.f.Add(m.Line, orDevice(d.ID)+" can prove who it is, and nothing is stated to compare it with",
			`state the thumbprint of its certificate, as it shows it: opcua: {thumbprint: "..."}, or thumbprint: unknown until edgefleet device fingerprint has shown it; or let onboarding pin what it finds, with fleet.security.trust_first_use`)
	}
	if n, ok := s.Get("application_uri"); ok {
		if o.ApplicationURI, ok = n.Text(); ok {
			if u, err := url.Parse(o.ApplicationURI); err != nil || !u.IsAbs() {
				n.Add("application_uri "+strictyaml.Quote(o.ApplicationURI)+" is not an absolute URI", "write it as the server announces it, for example urn:plant-7:plc")
			}
		}
	}
	if _, named := m.Get("credentials"); !named && o.Policy != policyNone {
		r.f.Add(m.Line, fmt.Sprintf("%s names no credentials, and the policy %s needs an application certificate of ours", orDevice(d.ID), o.Policy),
			"add credentials: NAME, the folder of the worker's credentials with tls.crt and tls.key")
	}
}

// thumbprint reads the digest of a certificate in lower-case digits.
func thumbprint(n strictyaml.Node) string {
	text, ok := n.Text()
	if !ok {
		return ""
	}
	digits := strings.ToLower(strings.NewReplacer(":", "", " ", "", "-", "").Replace(text))
	if digest, err := hex.DecodeString(digits); err != nil || len(digest) != 20 && len(digest) != 32 {
		n.Add("thumbprint "+strictyaml.Quote(text)+" is not the digest of a certificate", "write the 40 hexadecimal digits of its SHA-1, or better the 64 of its SHA-256")
	}
	return digits
}

func (r *reader) ssh(m strictyaml.Map, d *Device) {
	d.SSH = &SSH{}
	s, ok := m.Mapping("ssh")
	if _, has := m.Get("ssh"); has && !ok {
		return
	}
	stated := 0
	if n, ok := s.Get("host_keys"); ok {
		entries, _ := n.List()
		stated = len(entries)
		for _, e := range entries {
			key, ok := e.Text()
			if !ok {
				continue
			}
			if key == unknownYet {
				if stated > 1 {
					e.Add("unknown stands beside other host keys", "remove it; one key of a host is enough to know it by")
				}
				continue
			}
			if devices.ValidHostKey(key) != nil {
				e.Add("host key "+strictyaml.Quote(key)+" is not a fingerprint", "write it as ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub shows it on the device: SHA256: and 43 characters")
				continue
			}
			d.SSH.HostKeys = append(d.SSH.HostKeys, key)
		}
	}
	if stated == 0 && !r.inv.Security.TrustFirstUse {
		r.f.Add(m.Line, orDevice(d.ID)+" can prove who it is, and nothing is stated to compare it with",
			`state its host keys, as ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub shows them on the device: ssh: {host_keys: ["SHA256:..."]}, or host_keys: [unknown] until edgefleet device fingerprint has shown them; or let onboarding pin what it finds, with fleet.security.trust_first_use`)
	}
	if _, named := m.Get("credentials"); !named {
		r.f.Add(m.Line, orDevice(d.ID)+" is logged in to by SSH, and names no credentials", "add credentials: NAME, the folder of the worker's credentials with username and ssh-privatekey")
	}
}

// encryption wants a reason in words for traffic that is not encrypted.
func (r *reader) encryption(m strictyaml.Map, p *profile.Profile, d *Device) {
	if _, excepted := m.Get("plaintext_exception"); excepted || !r.inv.Security.EnableEncryption {
		return
	}
	const remedy = `state why this is accepted: plaintext_exception: "..."`
	switch {
	case profile.Plain(p.Protocol):
		r.f.Add(m.Line, fmt.Sprintf("%s speaks %s, which is not encrypted, and the fleet has enable_encryption", d.ID, p.Protocol), remedy)
	case d.OPCUA != nil && (d.OPCUA.Mode == "Sign" || d.OPCUA.Mode == modeNone):
		r.f.Add(m.Line, fmt.Sprintf("%s has the mode %s, which is not encrypted, and the fleet has enable_encryption", d.ID, d.OPCUA.Mode), remedy)
	}
}

// place is an address in the form in which equal ones are equal: another
// notation of an IP address, or another case of a name, is the same device.
func place(address string) string {
	host, port, err := devices.SplitAddress(address)
	if err != nil {
		return address
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(ip.Unmap(), port).String()
	}
	return fmt.Sprintf("%s:%d", strings.ToLower(strings.TrimSuffix(host, ".")), port)
}

// unique refuses a second device of that ID, and a second one at the same
// address and unit: two leases would guard one device. What stands behind one
// address is reached in one way.
func (r *reader) unique(m strictyaml.Map, p *profile.Profile, d Device) {
	if d.ID != "" {
		if first, twice := r.seen[d.ID]; twice {
			r.f.Add(m.KeyLine("id"), fmt.Sprintf("a second device has the ID %s; the first stands in %s:%d", d.ID, first.File, first.Line), "give each its own ID")
		} else {
			r.seen[d.ID] = d
		}
	}
	if d.Address == "" || p == nil {
		return
	}
	at := place(d.Address)
	first, shared := r.places[at]
	if !shared {
		r.places[at] = neighbours{first: d, protocol: p.Protocol, units: map[uint8]string{d.Unit: d.ID}}
		return
	}
	if first.protocol != p.Protocol {
		r.f.Add(m.KeyLine("address"), fmt.Sprintf("%s speaks %s and %s speaks %s, both at %s", first.first.ID, first.protocol, d.ID, p.Protocol, d.Address), "correct one of the addresses or profiles")
		return
	}
	if other, twice := first.units[d.Unit]; twice {
		where := d.Address
		if p.Protocol == profile.ModbusTCP {
			where = fmt.Sprintf("%s unit %d", d.Address, d.Unit)
		}
		r.f.Add(m.KeyLine("address"), fmt.Sprintf("%s and %s are both at %s", other, d.ID, where), remedyTwice(p.Protocol))
		return
	}
	first.units[d.Unit] = d.ID
	if first.first.Framing != d.Framing || first.first.SerialGateway != d.SerialGateway {
		line := m.KeyLine("address")
		if _, ok := m.Get("modbus"); ok {
			line = m.KeyLine("modbus")
		}
		r.f.Add(line, fmt.Sprintf("%s and %s stand behind %s, and are declared as %s and as %s", first.first.ID, d.ID, d.Address, bus(first.first), bus(d)), "give both the same modbus: section; it is the gateway's")
	}
}

func remedyTwice(protocol string) string {
	if protocol == profile.ModbusTCP {
		return "correct an address or a unit, or remove one of the devices"
	}
	return "correct an address, or remove one of the devices"
}

// bus says how a Modbus gateway is spoken to.
func bus(d Device) string {
	if d.SerialGateway {
		return fmt.Sprintf("framing %s to a serial gateway", d.Framing)
	}
	return fmt.Sprintf("framing %s", d.Framing)
}

// neighbours are the devices at one address.
type neighbours struct {
	first    Device
	protocol string
	// units has the ID of each device by its unit.
	units map[uint8]string
}
