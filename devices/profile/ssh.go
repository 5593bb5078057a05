package profile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
)

// Bounds of what commands may take.
const (
	leastCommandTime = 100 * time.Millisecond
	mostCommandTime  = 5 * time.Minute
)

// hostFields are, for each field that says what a point of a Linux host is,
// those that it can have beside it.
var hostFields = map[string][]string{
	"file":    {"become", "max_size", "new_mode", "validate", "restart", "health"},
	"mode":    {"become"},
	"sshd":    {"become", "config", "drop_in", "validate", "restart", "health"},
	"service": {"become"},
	"line":    {"become", "max_size", "new_mode", "validate", "restart", "health"},
	"fact":    {},
	"output":  {},
}

// hostRemedies say what each of these fields takes.
var hostRemedies = map[string]string{
	"file":    "give the path as /etc/edge/config.yaml",
	"mode":    "give the path as /etc/edge/config.yaml",
	"sshd":    "name an option of sshd_config(5), and give paths as /etc/ssh/sshd_config.d/10-edgefleet.conf",
	"service": "name a unit, such as edge-agent.service",
	"line":    `write it as line: {path: /etc/edge/agent.conf, key: log_level, separator: "="}`,
	"fact":    "use one of these",
}

func sshFile() strictyaml.Shape {
	kinds := map[string]strictyaml.Field{
		"file":    strictyaml.May("file", strictyaml.Matching("The whole content of the file at this absolute path", pathText)),
		"mode":    strictyaml.May("mode", strictyaml.Matching("Permissions and owner of this absolute path: 0640 root:edge", pathText)),
		"sshd":    strictyaml.May("sshd", strictyaml.Matching("An option as the SSH daemon understands its configuration (sshd -T)", optionText)),
		"service": strictyaml.May("service", strictyaml.Matching("The state of a systemd unit at boot and now: enabled active", unitText)),
		"line": strictyaml.May("line", strictyaml.MappingOf("The value behind a key in a file of lines",
			strictyaml.Need("path", strictyaml.Matching("The file's absolute path", pathText)),
			strictyaml.Need("key", strictyaml.Matching("The line's key", lineKeyText)),
			strictyaml.Need("separator", strictyaml.WordOf("Stands between key and value", ":", "=", " ")))),
		"fact":   strictyaml.May("fact", strictyaml.WordOf("What the host says it is", devices.HostFacts()...)),
		"output": strictyaml.May("output", strictyaml.Matching("The first line that this one of commands prints", nameText)),
	}
	become := strictyaml.May("become", strictyaml.FlagOf("Reads and writes it as root, with sudo -n"))
	reading := []strictyaml.Field{become,
		strictyaml.May("config", strictyaml.Matching("The configuration that the SSH daemon reads, where it is not its default", pathText)),
		strictyaml.May("max_size", strictyaml.WholeOf("The largest content of a file, in bytes", 1, devices.MaxHostFile))}
	writing := []strictyaml.Field{
		strictyaml.May("drop_in", strictyaml.Matching("The file in which an option of sshd is set", pathText)),
		strictyaml.May("new_mode", strictyaml.Matching("The mode of a file that did not exist, in quotes; 0640 unless stated", `^0?[0-7]{3}$`)),
		strictyaml.May("validate", strictyaml.Matching("The command that has to accept a candidate before it replaces the file", nameText)),
		strictyaml.May("restart", strictyaml.Matching("The command that is run once after all changes that name it", nameText)),
		strictyaml.May("health", strictyaml.Matching("The command that has to succeed after that, or the file from before is put back", nameText)),
		volatileField(), secretField()}
	point := func(more []strictyaml.Field, of ...string) strictyaml.Shape {
		s := strictyaml.MappingOf("A point of a Linux host; its value is a text", pointName()...)
		for _, k := range of {
			s = s.With(kinds[k])
		}
		return s.With(more...).One(of...).Where(hostRules(of)...)
	}
	return file(nil, sections{
		identity: point(append([]strictyaml.Field{equalsField()}, reading[0], reading[2]), "fact", "output", "line"),
		setting: point(slices.Concat(reading, writing), "file", "mode", "sshd", "service", "line").
			Where(strictyaml.Rule{If: "sshd", Need: []string{"drop_in"}}),
		measurement: point(reading, "mode", "sshd", "service", "line", "fact", "output"),
		action: strictyaml.MappingOf("What the device can be told to do", actionName()...).
			With(strictyaml.Need("run", strictyaml.Matching("The command that does it", nameText))),
	}, strictyaml.May("commands", commandsShape()), hostInstallField())
}

// besideHost are the fields that only some points of a host can have.
func besideHost() []string {
	var out []string
	for _, with := range hostFields {
		out = append(out, with...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func hostRules(kinds []string) []strictyaml.Rule {
	var rules []strictyaml.Rule
	for _, kind := range kinds {
		not := slices.DeleteFunc(besideHost(), func(f string) bool { return slices.Contains(hostFields[kind], f) })
		rules = append(rules, strictyaml.Rule{If: kind, Not: not})
	}
	return rules
}

func commandsShape() strictyaml.Shape {
	words := strictyaml.ListOf("The program and its arguments", strictyaml.TextOf(""))
	words.Some = true
	commands := strictyaml.PairsOf("The only commands that are ever run on the device, by name", strictyaml.MappingOf("A command, of which no shell reads the arguments",
		strictyaml.Need("run", strictyaml.ChoiceOf("The program and its arguments, split at spaces or as a list; %s is the candidate of a validation", strictyaml.TextOf(""), words)),
		strictyaml.May("become", strictyaml.FlagOf("Runs it as root, with sudo -n")),
		strictyaml.May("timeout", strictyaml.DurationOf("Bounds one run; 20s unless stated", leastCommandTime, mostCommandTime)),
		strictyaml.May("within", strictyaml.DurationOf("How long a health command is asked again until it succeeds; 15s unless stated", leastCommandTime, mostCommandTime))))
	commands.Pattern = nameText
	return commands
}

// host reads the points of Linux hosts.
type host struct {
	*reader
	commands map[string]*devices.HostCommand
	// writes has the first setting in each file that lines and options share.
	writes map[string]devices.Point
}

func readHost(r *reader, root strictyaml.Map) protocol {
	h := host{reader: r, commands: map[string]*devices.HostCommand{}, writes: map[string]devices.Point{}}
	n, ok := root.Get("commands")
	if !ok {
		return h
	}
	names, ok := n.Map()
	if !ok {
		return h
	}
	for _, name := range names.Keys {
		cn, _ := names.Get(name)
		h.commands[name] = nil // known, and reported where it is wrong
		if !namePattern.MatchString(name) {
			cn.Add(fmt.Sprintf("%s is not a command's name", strictyaml.Quote(name)), "use lower-case letters, digits and dashes, at most 63")
			continue
		}
		if m, ok := cn.MapOf(*commandsShape().Of); ok {
			h.commands[name] = h.command(name, m)
		}
	}
	return h
}

// command returns nil with a problem.
func (h host) command(name string, m strictyaml.Map) *devices.HostCommand {
	before := len(h.f.Problems())
	c := &devices.HostCommand{Name: name}
	n, ok := m.Get("run")
	if !ok {
		m.Missing("run", "give the program and its arguments")
		return nil
	}
	if n.Single() {
		text, _ := n.Text()
		words, err := devices.ParseHostCommand(text)
		if err != nil {
			n.Add(err.Error(), "such as run: [systemctl, restart, edge-agent]")
			return nil
		}
		c.Args = words
	} else if c.Args, ok = n.Texts(); !ok {
		return nil
	}
	if bn, ok := m.Get("become"); ok {
		c.Become, _ = bn.Bool()
	}
	duration(m, "timeout", leastCommandTime, mostCommandTime, &c.Timeout)
	duration(m, "within", leastCommandTime, mostCommandTime, &c.HealthWithin)
	if err := checkCommand(c, candidates(c) > 0); err != nil {
		n.Add(err.Error(), "write a program and its arguments; only a validation has one %s")
	}
	if len(h.f.Problems()) > before {
		return nil
	}
	return c
}

func candidates(c *devices.HostCommand) int { return strings.Count(strings.Join(c.Args, " "), "%s") }

// checkCommand asks the rules of the shared types; a validation takes the path
// of a candidate.
func checkCommand(c *devices.HostCommand, validation bool) error {
	if validation {
		return devices.HostAddress{Kind: devices.HostFile, Path: "/candidate", Validate: c}.Check()
	}
	return devices.HostAddress{Kind: devices.HostRun, Command: c}.Check()
}

// use returns the command that a field names, or nil: with a problem when it
// cannot be used there.
func (h host) use(m strictyaml.Map, key string) *devices.HostCommand {
	n, ok := m.Get(key)
	if !ok {
		return nil
	}
	name, ok := n.Text()
	if !ok {
		return nil
	}
	c, known := h.commands[name]
	switch {
	case !known:
		n.Add(fmt.Sprintf("%s: unknown command %s", key, strictyaml.Quote(name)), "declare it under commands")
	case c == nil: // reported where it is declared
	case key == "validate" && candidates(c) == 0:
		n.Add(fmt.Sprintf("validate: the command %s does not take the candidate", name), "put %s where the candidate's path belongs")
	case key != "validate" && candidates(c) > 0:
		n.Add(fmt.Sprintf("%s: the command %s has %%s, and there is no candidate to stand for it", key, name), "name a command without %s")
	default:
		return c
	}
	return nil
}

func (h host) more(strictyaml.Map) {}

func (h host) action(m strictyaml.Map, a *Action) {
	if _, ok := m.Get("run"); !ok {
		m.Missing("run", "name the command that does it")
		return
	}
	if c := h.use(m, "run"); c != nil {
		run(a, devices.Point{Host: &devices.HostAddress{Kind: devices.HostRun, Command: c}})
	}
}

func (h host) place(m strictyaml.Map, pt *devices.Point, s section) {
	before := len(h.f.Problems())
	pt.Type = devices.String
	a := &devices.HostAddress{}
	pt.Host = a
	kind := h.only(m, fmt.Sprintf("%s %s", s, pt.Name))
	if kind == "" {
		return
	}
	h.beside(m, kind)
	a.Kind = devices.HostKind(kind)
	switch text := m.Text; kind {
	case "file", "mode":
		a.Path = text(kind)
	case "sshd":
		a.Key, a.Separator, a.Path, a.Config = text("sshd"), " ", text("drop_in"), text("config")
		if _, ok := m.Get("drop_in"); !ok && s == settingSection {
			m.Missing("drop_in", "name the file in which the option is set, such as drop_in: /etc/ssh/sshd_config.d/10-edgefleet.conf")
		}
	case "service", "fact":
		a.Key = text(kind)
	case "line":
		if lm, ok := m.Mapping("line"); ok {
			a.Path = lm.NeedText("path", "name the file")
			a.Key = lm.NeedText("key", "name the line's key")
			a.Separator = lm.NeedText("separator", `give what stands between key and value: ":", "=" or " "`)
		}
	case "output":
		a.Command = h.use(m, "output")
	}
	if n, ok := m.Get("become"); ok {
		a.Become, _ = n.Bool()
	}
	if n, ok := m.Get("max_size"); ok {
		size, _ := n.Int(1, devices.MaxHostFile)
		a.MaxSize = int(size)
	}
	h.newMode(m, a)
	a.Validate, a.Restart, a.Health = h.use(m, "validate"), h.use(m, "restart"), h.use(m, "health")
	// A command that is declared and broken was reported where it stands.
	if len(h.f.Problems()) > before || kind == "output" && a.Command == nil {
		return
	}
	if err := a.Check(); err != nil {
		h.f.Add(m.KeyLine(kind), fmt.Sprintf("%s: %v", pt.Name, err), hostRemedies[kind])
		return
	}
	if s == settingSection {
		h.agree(m, *pt)
	}
}

// beside refuses fields that mean nothing for the kind.
func (h host) beside(m strictyaml.Map, kind string) {
	for _, key := range m.Keys {
		if slices.Contains(besideHost(), key) && !slices.Contains(hostFields[kind], key) {
			h.f.Add(m.KeyLine(key), fmt.Sprintf("%s beside %s", key, kind), "remove it; it means nothing there")
		}
	}
}

func (h host) newMode(m strictyaml.Map, a *devices.HostAddress) {
	n, ok := m.Get("new_mode")
	if !ok {
		return
	}
	text, ok := n.Text()
	if !ok {
		return
	}
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode == 0 || mode > 0o777 || len(text) < 3 {
		n.Add(fmt.Sprintf("new_mode: %s is not the mode of a file", strictyaml.Quote(text)), `give the permissions in octal digits, such as "0640"`)
		return
	}
	a.NewMode = uint32(mode)
}

// agree refuses settings of one file that want different commands: the file is
// replaced as a whole.
func (h host) agree(m strictyaml.Map, pt devices.Point) {
	a := pt.Host
	if a.Kind != devices.HostLine && a.Kind != devices.HostSSHD {
		return
	}
	first, ok := h.writes[a.Path]
	if !ok {
		h.writes[a.Path] = pt
		return
	}
	if b := first.Host; a.Become != b.Become || a.Validate != b.Validate || a.Restart != b.Restart || a.Health != b.Health {
		h.f.Add(m.Line, fmt.Sprintf("%s and %s are both in %s and differ in become, validate, restart or health", first.Name, pt.Name, a.Path), "give them the same")
	}
}

// hostPlace is what a setting is on the host, in words.
func hostPlace(a *devices.HostAddress) string {
	switch a.Kind {
	case devices.HostFile, devices.HostMode:
		return fmt.Sprintf("the %s of %s", map[devices.HostKind]string{devices.HostFile: "content", devices.HostMode: "mode"}[a.Kind], a.Path)
	case devices.HostLine:
		return fmt.Sprintf("the line %s of %s", a.Key, a.Path)
	case devices.HostSSHD:
		return "the option " + strings.ToLower(a.Key) + " of sshd"
	}
	return fmt.Sprintf("the %s %s", a.Kind, a.Key)
}
