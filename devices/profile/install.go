package profile

import (
	"fmt"
	"math"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
)

// installField is the section install of a flavour.
func installField(own ...strictyaml.Field) strictyaml.Field {
	return strictyaml.May("install", strictyaml.MappingOf("How patches are installed; without it none can be", own...).With(
		strictyaml.May("upload_within", strictyaml.DurationOf("Bounds bringing a patch to the device and its check there; 30m unless stated", leastCommandTime, devices.MostUploadWithin)),
		strictyaml.May("within", strictyaml.DurationOf("Bounds the time from the installation until the device runs the new version and is well; 5m unless stated", leastCommandTime, devices.MostInstallWithin))))
}

// install reads how software is installed, after everything that it refers to.
func (r *reader) install(root strictyaml.Map) {
	m, ok := root.Mapping("install")
	if !ok {
		return
	}
	out := &devices.Installation{UploadWithin: devices.DefaultUploadWithin, Within: devices.DefaultInstallWithin}
	duration(m, "upload_within", leastCommandTime, devices.MostUploadWithin, &out.UploadWithin)
	duration(m, "within", leastCommandTime, devices.MostInstallWithin, &out.Within)
	r.version(m)
	before := len(r.f.Problems())
	r.protocol.install(m, out)
	if len(r.f.Problems()) == before {
		r.p.Install = out
	}
}

// version requires that the device can say which version it runs, and may
// change it.
func (r *reader) version(m strictyaml.Map) {
	if r.p.Firmware == "" {
		r.f.Add(m.Line, "the profile has no version, so nobody could see what is installed", "add an identity point named firmware, or name another one as firmware")
		return
	}
	for _, id := range r.p.Identity {
		if id.Point.Name == r.p.Firmware && id.Equals != nil {
			r.f.Add(m.Line, fmt.Sprintf("the identity point %s has to equal one version, so a patched device would be another one", id.Point.Name), "remove its equals")
		}
	}
}

// Linux hosts.

func hostInstallField() strictyaml.Field {
	command := func(doc string) strictyaml.Shape { return strictyaml.Matching(doc, nameText) }
	return installField(
		strictyaml.Need("upload", strictyaml.Matching("Where the patch is put: an absolute path, in a folder that is there", pathText)),
		strictyaml.May("become", strictyaml.FlagOf("Writes the patch as root, with sudo -n")),
		strictyaml.May("verify", command("The command that has to accept the patch; %s is its path. Its SHA-256 is compared in any case")),
		strictyaml.Need("install", command("The command that installs the patch; %s is its path")),
		strictyaml.May("restart", command("The command that has the new version run")),
		strictyaml.May("health", command("The command that has to succeed afterwards")),
		strictyaml.May("rollback", command("The command that makes what ran before run again; %s is the path of the patch")))
}

func (h host) install(m strictyaml.Map, out *devices.Installation) {
	i := &devices.HostInstall{Upload: m.NeedText("upload", "say where the patch is put, such as upload: /var/lib/edge/incoming/agent.bin")}
	if n, ok := m.Get("become"); ok {
		i.Become, _ = n.Bool()
	}
	if _, ok := m.Get("install"); !ok {
		m.Missing("install", "name the command that installs the patch")
	}
	i.Verify, i.Install, i.Rollback = h.takes(m, "verify"), h.takes(m, "install"), h.takes(m, "rollback")
	i.Restart, i.Health = h.use(m, "restart"), h.use(m, "health")
	if err := devices.ValidHostPath(i.Upload); i.Upload != "" && err != nil {
		h.f.Add(m.KeyLine("upload"), "upload: "+err.Error(), hostRemedies["file"])
	}
	out.Host = i
}

// takes returns the command that a field names, which may take the path of the
// patch.
func (h host) takes(m strictyaml.Map, key string) *devices.HostCommand {
	if c, known := h.commands[m.Text(key)]; known && c != nil && candidates(c) > 0 {
		return c
	}
	return h.use(m, key)
}

// OPC UA servers.

func nodeInstallField() strictyaml.Field {
	object := func(doc string, more ...strictyaml.Field) strictyaml.Shape {
		return strictyaml.MappingOf(doc, strictyaml.Need("object", identifierShape("The object's identifier")),
			namespaceField("The URI of the object's namespace; the profile's own unless stated")).With(more...)
	}
	f := installField(
		strictyaml.May("software_update", object("An object of SoftwareUpdateType (OPC 10000-100), whose parts are found by their names",
			strictyaml.May("fallback", strictyaml.FlagOf("The server keeps what it ran before as its fallback version, and a patch that fails goes back to it")))),
		strictyaml.May("file", object("An object of FileType that takes the patch")),
		strictyaml.May("prepare", callShape("The method that is called before the file is written")),
		strictyaml.May("install", callShape("The method that installs what was written; texts among the arguments may be ${version} and ${sha256}")),
		strictyaml.May("confirm", callShape("The method that says that the new version is to stay")),
		strictyaml.May("rollback", callShape("The method that makes what ran before run again")))
	f.Shape = f.One("software_update", "file").Where(
		strictyaml.Rule{If: "software_update", Not: []string{"prepare", "install", "confirm", "rollback"}},
		strictyaml.Rule{If: "file", Need: []string{"install"}})
	return f
}

func (n nodes) install(m strictyaml.Map, out *devices.Installation) {
	i := &devices.NodeInstall{}
	object := func(key string) *devices.NodeAddress {
		om, ok := m.Mapping(key)
		if !ok {
			return nil
		}
		if fn, ok := om.Get("fallback"); ok {
			i.Fallback, _ = fn.Bool()
		}
		return &devices.NodeAddress{Namespace: n.reader.namespace(om, n.namespace), ID: n.identifier(om, "object")}
	}
	switch n.only(m, "install") {
	case "software_update":
		i.Update = object("software_update")
		for _, key := range []string{"prepare", "install", "confirm", "rollback"} {
			if _, ok := m.Get(key); ok {
				n.f.Add(m.KeyLine(key), key+" beside software_update", "remove it; the standard says how")
			}
		}
	case "file":
		i.File = object("file")
		if _, ok := m.Get("install"); !ok {
			m.Missing("install", "name the method that installs what was written, such as install: {object: s=Firmware, method: s=Firmware.Install}")
		}
		i.Prepare, i.Install = n.method(m, "prepare"), n.method(m, "install")
		i.Confirm, i.Rollback = n.method(m, "confirm"), n.method(m, "rollback")
	}
	out.OPCUA = i
}

// Modbus devices.

const mostRegister = math.MaxUint16

func mailboxField() strictyaml.Field {
	register := func(doc string) strictyaml.Shape { return strictyaml.WholeOf(doc, 0, mostRegister) }
	number := func(doc string) strictyaml.Shape { return strictyaml.WholeOf(doc, 1, mostRegister) }
	readable := func(doc string, more ...strictyaml.Field) strictyaml.Shape {
		return strictyaml.MappingOf(doc,
			strictyaml.May("table", strictyaml.WordOf("holding unless stated", "holding", "input")),
			strictyaml.Need("address", register("Counts from zero, as on the wire"))).With(more...)
	}
	state := func(doc string) strictyaml.Shape { return strictyaml.WholeOf(doc, 0, mostRegister) }
	return installField(strictyaml.Need("mailbox", strictyaml.MappingOf("Holding registers that take a patch block by block, and what they mean; addresses count from zero",
		strictyaml.Need("size", register("2 registers: the bytes of the patch")),
		strictyaml.Need("digest", register("16 registers: the SHA-256 of the patch")),
		strictyaml.Need("offset", register("2 registers: where the block belongs")),
		strictyaml.Need("length", register("The bytes of the block")),
		strictyaml.Need("crc", register("CRC-16/MODBUS over the bytes of the block")),
		strictyaml.Need("data", strictyaml.MappingOf("The bytes of the block, high byte first",
			strictyaml.Need("address", register("The first register")),
			strictyaml.Need("length", strictyaml.WholeOf("The number of registers", 1, maxText)))),
		strictyaml.Need("command", strictyaml.MappingOf("The register that tells the device what to do, and the numbers for it",
			strictyaml.Need("address", register("The register")),
			strictyaml.Need("begin", number("Take a patch of this size and digest")),
			strictyaml.Need("block", number("Keep the block")),
			strictyaml.Need("verify", number("Compare the whole with the digest")),
			strictyaml.Need("install", number("Install it")),
			strictyaml.May("rollback", number("Make what ran before run again")))),
		strictyaml.Need("state", readable("The register that says how the device stands, and the numbers that count",
			strictyaml.Need("receiving", state("It takes blocks")),
			strictyaml.Need("verified", state("It has the whole patch, and accepts it")),
			strictyaml.Need("failed", state("It does not accept it")))),
		strictyaml.Need("received", readable("2 registers: the bytes that the device has kept")),
		strictyaml.May("word_order", strictyaml.WordOf("Of numbers of two registers; high-first unless stated", "high-first", "low-first")))))
}

func (r registers) install(m strictyaml.Map, out *devices.Installation) {
	mm, ok := m.Mapping("mailbox")
	if !ok {
		if _, there := m.Get("mailbox"); !there {
			m.Missing("mailbox", "describe the registers that take a patch")
		}
		return
	}
	b := &devices.MailboxInstall{WordSwap: mm.Text("word_order") == "low-first"}
	r.written(mm, "size", 2, &b.Size)
	r.written(mm, "digest", 16, &b.Digest)
	r.written(mm, "offset", 2, &b.Offset)
	r.written(mm, "length", 1, &b.Length)
	r.written(mm, "crc", 1, &b.CRC)
	if dm, ok := r.part(mm, "data"); ok {
		whole(dm, "length", 1, maxText, &b.DataLength)
		r.written(dm, "address", int(b.DataLength), &b.Data)
	}
	if cm, ok := r.part(mm, "command"); ok {
		r.written(cm, "address", 1, &b.Command)
		whole(cm, "begin", 1, mostRegister, &b.Begin)
		whole(cm, "block", 1, mostRegister, &b.Block)
		whole(cm, "verify", 1, mostRegister, &b.Verify)
		whole(cm, "install", 1, mostRegister, &b.Install)
		if _, ok := cm.Get("rollback"); ok {
			whole(cm, "rollback", 1, mostRegister, &b.Rollback)
		}
	}
	if sm, ok := r.part(mm, "state"); ok {
		b.State = readRegister(sm, 1)
		whole(sm, "receiving", 0, mostRegister, &b.Receiving)
		whole(sm, "verified", 0, mostRegister, &b.Verified)
		whole(sm, "failed", 0, mostRegister, &b.Failed)
	}
	if gm, ok := r.part(mm, "received"); ok {
		b.Received = readRegister(gm, 2)
		b.Received.WordSwap = b.WordSwap
	}
	if n, ok := mm.Get("word_order"); ok {
		if order, _ := n.Text(); order != "high-first" && order != "low-first" {
			n.Add("unknown word_order "+strictyaml.Quote(order), "use high-first or low-first")
		}
	}
	if len(r.f.Problems()) == 0 {
		if err := b.Check(); err != nil {
			r.f.Add(mm.Line, "mailbox: "+err.Error(), "give each its own number")
		}
	}
	out.Mailbox = b
}

// part is a mapping of the mailbox that has to be there.
func (r registers) part(m strictyaml.Map, key string) (strictyaml.Map, bool) {
	if _, ok := m.Get(key); !ok {
		m.Missing(key, "describe it; the reference of profiles has an example")
		return m, false
	}
	return m.Mapping(key)
}

// written reads the address of registers that are written to, which no point
// may have.
func (r registers) written(m strictyaml.Map, key string, count int, into *uint16) {
	if !whole(m, key, 0, mostRegister, into) {
		return
	}
	last := int(*into) + count - 1
	if last > mostRegister {
		r.f.Add(m.KeyLine(key), fmt.Sprintf("%s ends at address %d", key, last), "the last address is 65535")
		return
	}
	r.spans = append(r.spans, span{table: devices.Holding, first: int(*into), last: last, what: "the mailbox's " + key, line: m.KeyLine(key)})
}

func readRegister(m strictyaml.Map, count uint16) devices.ModbusAddress {
	out := devices.ModbusAddress{Table: devices.Holding, Length: count}
	if n, ok := m.Get("table"); ok {
		text, _ := n.Text()
		if out.Table = devices.ModbusTable(text); out.Table != devices.Holding && out.Table != devices.Input {
			n.Add("unknown table "+strictyaml.Quote(text), "use holding or input")
		}
	}
	whole(m, "address", 0, mostRegister, &out.Address)
	return out
}

// whole reads a number that has to be there.
func whole(m strictyaml.Map, key string, lo, hi int64, into *uint16) bool {
	n, ok := m.Get(key)
	if !ok {
		m.Missing(key, fmt.Sprintf("give a number from %d to %d", lo, hi))
		return false
	}
	v, ok := n.Int(lo, hi)
	if ok {
		*into = uint16(v)
	}
	return ok
}

// install of SunSpec devices is not described by any model.
func (models) install(strictyaml.Map, *devices.Installation) {}
