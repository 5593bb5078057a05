package opcua

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

// standardNamespace is namespace 0 of every server.
const standardNamespace = "http://opcfoundation.org/UA/"

var guidPattern = regexp.MustCompile(`^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$`)

// nodeRef is a checked place in the address space, before the session says
// which index its namespace has.
type nodeRef struct {
	namespace string // URI
	text      string // "s=Pump.Setpoint"
	at        func(index uint16) *ua.NodeID
}

func (n nodeRef) key() string { return n.namespace + " " + n.text }

// parseNode checks an identifier.
func parseNode(namespace, text string) (nodeRef, error) {
	if namespace == "" {
		namespace = standardNamespace
	}
	n := nodeRef{namespace: namespace, text: text}
	form, rest, _ := strings.Cut(text, "=")
	bad := fmt.Errorf("the node ID %q: want s=<text>, i=<number>, g=<GUID> or b=<base64>", clip(text))
	switch form {
	case "ns", "nsu":
		return n, fmt.Errorf("the node ID %q states its namespace: give the namespace's URI in the namespace field, because its number differs from server to server", clip(text))
	case "i":
		number, err := strconv.ParseUint(rest, 10, 32)
		if err != nil {
			return n, bad
		}
		n.at = func(index uint16) *ua.NodeID { return ua.NewNumericNodeID(index, uint32(number)) }
	case "s":
		// The standard allows up to 4,096 characters.
		if rest == "" || len(rest) > 4096 {
			return n, bad
		}
		n.at = func(index uint16) *ua.NodeID { return ua.NewStringNodeID(index, rest) }
	case "g":
		if !guidPattern.MatchString(rest) {
			return n, bad
		}
		n.at = func(index uint16) *ua.NodeID { return ua.NewGUIDNodeID(index, rest) }
	case "b":
		raw, err := base64.StdEncoding.DecodeString(rest)
		if err != nil || len(raw) == 0 || len(raw) > 4096 {
			return n, bad
		}
		n.at = func(index uint16) *ua.NodeID { return ua.NewByteStringNodeID(index, raw) }
	default:
		return n, bad
	}
	return n, nil
}

// nodeText writes a node ID of a server as a NodeAddress has it.
func nodeText(n *ua.NodeID) string {
	switch n.Type() {
	case ua.NodeIDTypeString:
		return "s=" + n.StringID()
	case ua.NodeIDTypeGUID:
		return "g=" + n.StringID()
	case ua.NodeIDTypeByteString:
		return "b=" + n.StringID()
	}
	return "i=" + strconv.FormatUint(uint64(n.IntID()), 10)
}

// resolve gives nodes the index that their namespace has in this session.
func (c call) resolve(refs []nodeRef) ([]*ua.NodeID, *fault) {
	out := make([]*ua.NodeID, len(refs))
	for i, ref := range refs {
		index := uint16(0)
		if ref.namespace != standardNamespace {
			if f := c.learnNamespaces(); f != nil {
				return nil, f
			}
			at := slices.Index(c.namespaces, ref.namespace)
			if at < 0 {
				return nil, &fault{kind: devices.Rejected, err: fmt.Errorf("the server has no namespace %q; it has %s", ref.namespace, clip(strings.Join(c.namespaces, ", ")))}
			}
			index = uint16(at)
		}
		out[i] = ref.at(index)
	}
	return out, nil
}

func (c call) learnNamespaces() *fault {
	if c.namespaces != nil {
		return nil
	}
	values, f := c.read([]*ua.NodeID{ua.NewNumericNodeID(0, id.Server_NamespaceArray)}, ua.AttributeIDValue)
	if f != nil {
		return f
	}
	texts, ok := values[0].value.([]string)
	if !ok || len(texts) == 0 || len(texts) > 1<<16 || bad(values[0].status) {
		return &fault{kind: devices.Rejected, err: fmt.Errorf("the server does not tell its namespaces: %s, %s", values[0].variant, statusName(values[0].status))}
	}
	c.namespaces = texts
	return nil
}

// maxNodes is how many nodes one request reads or writes at most.
const maxNodes = 100

// read reads one attribute of each node, in as few requests as the server
// takes. Each result has a status of its own.
func (c call) read(nodes []*ua.NodeID, attribute ua.AttributeID) ([]dataValue, *fault) {
	out := make([]dataValue, 0, len(nodes))
	size := maxNodes
	for len(out) < len(nodes) {
		part := nodes[len(out):min(len(out)+size, len(nodes))]
		request := &ua.ReadRequest{TimestampsToReturn: ua.TimestampsToReturnNeither}
		for _, n := range part {
			request.NodesToRead = append(request.NodesToRead, &ua.ReadValueID{NodeID: n, AttributeID: attribute, DataEncoding: &ua.QualifiedName{}})
		}
		var values []dataValue
		f := c.query(c.ctx, c.timeout, request, func(r *reader) { values = r.values(len(part)) })
		switch {
		case f == nil:
			out = append(out, values...)
		case len(part) > 1 && (tooMuch(f.status) || f.status == ua.StatusBadResponseTooLarge || f.status == ua.StatusBadEncodingLimitsExceeded):
			size = len(part) / 2
		default:
			return nil, f
		}
	}
	return out, nil
}

// maxSupertypes bounds the way from a type to the built-in one that it is
// made of.
const maxSupertypes = 16

// typesOf returns the built-in type of each node's value, as the server's
// DataType attribute says it. A node of several types has that of its value.
func (c call) typesOf(refs []nodeRef, nodes []*ua.NodeID) ([]builtin, *fault) {
	out := make([]builtin, len(refs))
	var ask []int
	for i, ref := range refs {
		if out[i] = c.types[ref.key()]; out[i] == 0 {
			ask = append(ask, i)
		}
	}
	if len(ask) == 0 {
		return out, nil
	}
	asked := make([]*ua.NodeID, len(ask))
	for j, i := range ask {
		asked[j] = nodes[i]
	}
	values, f := c.read(asked, ua.AttributeIDDataType)
	if f != nil {
		return nil, f
	}
	for j, i := range ask {
		kind, ok := values[j].value.(*ua.NodeID)
		if bad(values[j].status) || !ok {
			return nil, &fault{kind: statusKind(values[j].status, false), status: values[j].status,
				err: fmt.Errorf("the type of %s: %w", refs[i].text, &refused{status: values[j].status})}
		}
		if out[i], f = c.builtinOf(kind, nodes[i]); f != nil {
			return nil, f
		}
		c.types[refs[i].key()] = out[i]
	}
	return out, nil
}

func (c call) builtinOf(kind, node *ua.NodeID) (builtin, *fault) {
	for range maxSupertypes {
		if kind.Namespace() == 0 && kind.Type() <= ua.NodeIDTypeNumeric {
			switch n := kind.IntID(); {
			case n == id.Enumeration:
				return typeInt32, nil
			case n == id.BaseDataType || n == id.Number || n == id.Integer || n == id.UInteger:
				return c.typeOfValue(node)
			case n >= 1 && n <= 25:
				return builtin(n), nil
			}
		}
		parents, f := c.references(kind, ua.BrowseDirectionInverse, id.HasSubtype, 1)
		if f != nil {
			return 0, f
		}
		if len(parents) == 0 || parents[0].remote || parents[0].uri != "" {
			break
		}
		kind = parents[0].id
	}
	return 0, &fault{kind: devices.Unsupported, err: fmt.Errorf("the server does not say what %s is made of: state the node's built-in type in the profile", nodeText(kind))}
}

func (c call) typeOfValue(node *ua.NodeID) (builtin, *fault) {
	values, f := c.read([]*ua.NodeID{node}, ua.AttributeIDValue)
	if f != nil {
		return 0, f
	}
	if bad(values[0].status) || values[0].kind == 0 {
		return 0, &fault{kind: devices.Unsupported, err: fmt.Errorf("%s has no value from which its type could be told: state the node's built-in type in the profile", nodeText(node))}
	}
	return values[0].kind, nil
}
