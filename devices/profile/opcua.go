package profile

import (
	"encoding/base64"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
)

// builtinTypes are the OPC UA types that our types are, where the profile says
// nothing else.
var builtinTypes = map[devices.Type]string{
	devices.Bool: "Boolean", devices.Int16: "Int16", devices.Uint16: "UInt16", devices.Int32: "Int32", devices.Uint32: "UInt32",
	devices.Int64: "Int64", devices.Uint64: "UInt64", devices.Float32: "Float", devices.Float64: "Double", devices.String: "String",
}

func nodeTypes() []string {
	return types(devices.Bool, devices.Int16, devices.Uint16, devices.Int32, devices.Uint32, devices.Int64, devices.Uint64, devices.Float32, devices.Float64, devices.String)
}

// argumentTypes are those that arguments of methods can have.
func argumentTypes() []string {
	return []string{"Boolean", "SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float", "Double", "String"}
}

func namespaceField(doc string) strictyaml.Field {
	return strictyaml.May("namespace", strictyaml.Matching(doc, namespaceText))
}

// nodePlaceFields say where a point stands in a server.
func nodePlaceFields() []strictyaml.Field {
	return []strictyaml.Field{
		strictyaml.Need("node", strictyaml.Matching("The identifier in its namespace: s=Pump.Setpoint, i=1001, g=<GUID> or b=<base64>", nodeText)),
		namespaceField("The URI of the node's namespace; the profile's own unless stated, and \"\" for the standard one"),
		strictyaml.Need("type", strictyaml.WordOf("The type of the node's value, which has to be exactly this", nodeTypes()...)),
		strictyaml.May("node_type", strictyaml.WordOf("Byte for a uint16, or SByte for an int16, that has 8 bits on the server", "Byte", "SByte")),
	}
}

func nodeRules() []strictyaml.Rule {
	rule := func(node string, ours devices.Type, lo, hi float64) strictyaml.Rule {
		return strictyaml.Rule{If: "node_type", Is: []string{node}, Only: []strictyaml.Field{
			strictyaml.May("type", strictyaml.WordOf("", string(ours))), enumIn(lo, hi)}}
	}
	return []strictyaml.Rule{rule("Byte", devices.Uint16, 0, math.MaxUint8), rule("SByte", devices.Int16, math.MinInt8, math.MaxInt8)}
}

func opcuaFile() strictyaml.Shape {
	point := strictyaml.MappingOf("A variable of an OPC UA server", pointName()...).With(nodePlaceFields()...).With(scaleField(), unitField(), enumField()).
		Where(typeRules()...).Where(nodeRules()...)
	quirks := strictyaml.MappingOf("What the model does differently from the standard", gapField())
	pulse := strictyaml.MappingOf("The one write that does it", nodePlaceFields()...).With(strictyaml.Need("value", strictyaml.ScalarOf("What is written"))).
		Where(nodeRules()...)
	return file(&quirks, sections{
		identity:    point.With(equalsField()),
		setting:     point.With(boundFields()...).With(volatileField(), secretField()),
		measurement: point,
		action: strictyaml.MappingOf("What the device can be told to do", actionName()...).
			With(strictyaml.May("call", callShape("The method that does it")), strictyaml.May("pulse", pulse)).With(confirmFields()...).One("call", "pulse"),
	}, namespaceField("The URI of the namespace of all nodes that state none; the standard one unless stated"), nodeInstallField())
}

func identifierShape(doc string) strictyaml.Shape { return strictyaml.Matching(doc, nodeText) }

// callShape is a method with its arguments.
func callShape(doc string) strictyaml.Shape {
	argument := strictyaml.MappingOf("An input argument",
		strictyaml.May("name", strictyaml.TextOf("Names the argument in errors")),
		strictyaml.Need("type", strictyaml.WordOf("The argument's exact type", argumentTypes()...)),
		strictyaml.Need("value", strictyaml.ScalarOf("What is handed over")))
	return strictyaml.MappingOf(doc,
		strictyaml.Need("object", identifierShape("The object that has the method")),
		strictyaml.Need("method", identifierShape("The method")),
		namespaceField("The URI of the namespace of both; the profile's own unless stated"),
		strictyaml.May("args", strictyaml.ListOf("The input arguments, in the method's order", argument)))
}

// nodes reads the points of OPC UA servers.
type nodes struct {
	*reader
	namespace string
}

func readNodes(r *reader, root strictyaml.Map) protocol {
	return nodes{reader: r, namespace: r.namespace(root, "")}
}

func (n nodes) more(strictyaml.Map) {}

func (n nodes) action(m strictyaml.Map, a *Action) {
	switch n.only(m, "the action "+a.Name) {
	case "call":
		n.call(m, a)
	case "pulse":
		n.pulse(m, a, n.place)
	}
}

func (n nodes) place(m strictyaml.Map, pt *devices.Point, _ section) {
	addr := &devices.NodeAddress{Namespace: n.reader.namespace(m, n.namespace), ID: n.identifier(m, "node")}
	pt.OPCUA = addr
	n.pointType(m, pt, nodeTypes())
	addr.Type = builtinTypes[pt.Type]
	if tn, ok := m.Get("node_type"); ok {
		text, _ := tn.Text()
		fits := map[string]devices.Type{"Byte": devices.Uint16, "SByte": devices.Int16}[text]
		switch {
		case fits == "":
			tn.Add("unknown node_type "+strictyaml.Quote(text), "use Byte or SByte, or remove it")
		case fits != pt.Type && pt.Type != "":
			tn.Add(fmt.Sprintf("node_type %s on a %s", text, pt.Type), fmt.Sprintf("make the type %s, or remove it", fits))
		}
		addr.Type = text
	}
}

// namespace reads a URI, or the default where none is stated.
func (r *reader) namespace(m strictyaml.Map, otherwise string) string {
	n, ok := m.Get("namespace")
	if !ok {
		return otherwise
	}
	uri, _ := n.Text()
	if len(uri) > 4096 || strings.ContainsFunc(uri, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) {
		n.Add(strictyaml.Quote(uri)+" is not the URI of a namespace", `give it as the server has it, such as "urn:acme:plc"`)
	}
	return uri
}

// identifier reads a node's identifier in its namespace.
func (n nodes) identifier(m strictyaml.Map, key string) string {
	text := m.NeedText(key, fmt.Sprintf("give the identifier of the %s, such as s=Pump.Setpoint or i=1001", key))
	if text == "" {
		return ""
	}
	form, _, _ := strings.Cut(text, "=")
	switch {
	case form == "ns" || form == "nsu":
		n.f.Add(m.KeyLine(key), fmt.Sprintf("%s %s states its namespace", key, strictyaml.Quote(text)),
			"give the namespace's URI as namespace; its number differs from server to server")
	case !validIdentifier(text):
		n.f.Add(m.KeyLine(key), fmt.Sprintf("%s %s is not an identifier", key, strictyaml.Quote(text)), "give s=<text>, i=<number>, g=<GUID> or b=<base64>")
	}
	return text
}

var guidPattern = regexp.MustCompile("^" + guidText + "$")

// validIdentifier is what OPC 10000-6, section 5.3.1.10, has.
func validIdentifier(text string) bool {
	form, rest, _ := strings.Cut(text, "=")
	switch form {
	case "i":
		_, err := strconv.ParseUint(rest, 10, 32)
		return err == nil
	case "s":
		return rest != "" && len(rest) <= 4096
	case "g":
		return guidPattern.MatchString(rest)
	case "b":
		raw, err := base64.StdEncoding.DecodeString(rest)
		return err == nil && len(raw) > 0 && len(raw) <= 4096
	}
	return false
}

func (n nodes) call(m strictyaml.Map, a *Action) {
	if method := n.method(m, "call"); method != nil {
		run(a, devices.Point{Method: method})
	}
}

// method reads a method in a field, and returns nil where there is none, or
// with a problem.
func (n nodes) method(m strictyaml.Map, key string) *devices.MethodAddress {
	before := len(n.f.Problems())
	cm, ok := m.Mapping(key)
	if !ok {
		return nil
	}
	method := &devices.MethodAddress{Namespace: n.reader.namespace(cm, n.namespace), Object: n.identifier(cm, "object"), Method: n.identifier(cm, "method")}
	for i, am := range cm.Mappings("args") {
		if arg, ok := n.argument(am, i); ok {
			method.Args = append(method.Args, arg)
		}
	}
	if len(n.f.Problems()) > before {
		return nil
	}
	return method
}

func (n nodes) argument(m strictyaml.Map, i int) (devices.MethodArgument, bool) {
	arg := devices.MethodArgument{Name: m.Text("name")}
	arg.Type = m.NeedText("type", "give one of "+join(argumentTypes()))
	if arg.Type != "" && !slices.Contains(argumentTypes(), arg.Type) {
		n.f.Add(m.KeyLine("type"), "unknown type "+strictyaml.Quote(arg.Type), "use one of "+join(argumentTypes()))
		return arg, false
	}
	vn, ok := m.Get("value")
	if !ok {
		m.Missing("value", "say what is handed over")
		return arg, false
	}
	v, ok := vn.Value()
	if !ok || arg.Type == "" {
		return arg, false
	}
	value, err := argumentPoint(arg, i).Canonical(v)
	if err != nil {
		vn.Add(err.Error(), "hand over a value that the type holds")
		return arg, false
	}
	arg.Value = value
	return arg, true
}

// argumentPoint is a point that takes what the argument's type holds.
func argumentPoint(arg devices.MethodArgument, i int) devices.Point {
	pt := devices.Point{Name: arg.Name, OPCUA: &devices.NodeAddress{Type: arg.Type}}
	if pt.Name == "" {
		pt.Name = fmt.Sprintf("argument %d", i+1)
	}
	switch arg.Type {
	case "Byte":
		pt.Type = devices.Uint16
	case "SByte":
		pt.Type = devices.Int16
	default:
		for ours, theirs := range builtinTypes {
			if theirs == arg.Type {
				pt.Type = ours
			}
		}
	}
	pt.Min, pt.Max = nodeBounds(&pt)
	return pt
}

// nodeRange is the range of a node's type that is narrower than all of ours.
func nodeRange(a *devices.NodeAddress) (lo, hi int64, narrow bool) {
	switch {
	case a == nil:
	case a.Type == "Byte":
		return 0, math.MaxUint8, true
	case a.Type == "SByte":
		return math.MinInt8, math.MaxInt8, true
	}
	return 0, 0, false
}

// nodeBounds is nodeRange in engineering units, and nil where the type of the
// point says it all.
func nodeBounds(pt *devices.Point) (lo, hi *float64) {
	first, last, narrow := nodeRange(pt.OPCUA)
	if !narrow || len(pt.Enum) > 0 {
		return nil, nil
	}
	return engineering(*pt, first), engineering(*pt, last)
}

func engineering(pt devices.Point, raw int64) *float64 {
	v, err := pt.FromRaw(devices.Raw{Int: raw})
	if err != nil {
		return nil
	}
	f := number(v)
	return &f
}
