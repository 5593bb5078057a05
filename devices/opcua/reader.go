package opcua

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/gopcua/opcua/ua"
)

// maxNesting bounds values inside values: a message can hold more levels than
// a stack can.
const maxNesting = 16

// maxElements bounds an array, whatever its message would have room for.
const maxElements = 1 << 16

// reader takes a message apart (OPC 10000-6, section 5.2). It trusts nothing:
// a length is believed only when so many bytes are there, so what it allocates
// is in proportion to the message. After the first error everything is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = wrong(format, args...)
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.fail("the message ends too early")
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) status() ua.StatusCode { return ua.StatusCode(r.u32()) }

// bytes reads a ByteString; null is nil.
func (r *reader) bytes() []byte {
	n := int32(r.u32())
	if n == -1 || r.err != nil {
		return nil
	}
	return r.take(int(n))
}

// text reads a String, null as the empty one.
func (r *reader) text() string { return strings.ToValidUTF8(string(r.bytes()), "\uFFFD") }

// count reads the length of an array whose elements take at least size bytes.
func (r *reader) count(size int) int {
	n := int64(int32(r.u32()))
	if n == -1 || r.err != nil {
		return 0
	}
	if n < 0 || n > maxElements || n*int64(size) > int64(len(r.b)) {
		r.fail("an array of %d elements, in %d bytes", n, len(r.b))
		return 0
	}
	return int(n)
}

// ticksToUnix is 1970 in steps of 100 ns since 1601.
const ticksToUnix = 116444736000000000

func (r *reader) time() time.Time {
	ticks := int64(r.u64())
	// 9999-12-31 is the end of time in OPC UA, as 0 is its beginning.
	if ticks <= 0 || ticks >= 2650467743990000000 {
		return time.Time{}
	}
	since := ticks - ticksToUnix
	return time.Unix(since/1e7, since%1e7*100).UTC()
}

func (r *reader) guid() string {
	b := r.take(16)
	if b == nil {
		return ""
	}
	return strings.ToUpper(fmt.Sprintf("%08x-%04x-%04x-%s-%s", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]),
		binary.LittleEndian.Uint16(b[6:]), hex.EncodeToString(b[8:10]), hex.EncodeToString(b[10:])))
}

// nodeID reads a NodeId, or an ExpandedNodeId when expanded is true. Of the
// latter, uri is the namespace's URI when it stands there instead of an index,
// and remote says that the node is on another server.
func (r *reader) nodeID(expanded bool) (id *ua.NodeID, uri string, remote bool) {
	mask := r.u8()
	switch mask & 0x3F {
	case 0:
		id = ua.NewTwoByteNodeID(r.u8())
	case 1:
		ns := r.u8()
		id = ua.NewNumericNodeID(uint16(ns), uint32(r.u16()))
	case 2:
		ns := r.u16()
		id = ua.NewNumericNodeID(ns, r.u32())
	case 3:
		ns := r.u16()
		id = ua.NewStringNodeID(ns, string(r.bytes()))
	case 4:
		ns := r.u16()
		id = ua.NewGUIDNodeID(ns, r.guid())
	case 5:
		ns := r.u16()
		id = ua.NewByteStringNodeID(ns, r.bytes())
	default:
		r.fail("a node ID of form %d", mask)
	}
	if !expanded && mask&0xC0 != 0 {
		r.fail("a node ID of form %d", mask)
	}
	if mask&0x80 != 0 {
		uri = r.text()
	}
	if mask&0x40 != 0 {
		remote = r.u32() != 0
	}
	if r.err != nil {
		return ua.NewTwoByteNodeID(0), "", false
	}
	return id, uri, remote
}

func (r *reader) qualifiedName() string {
	r.u16()
	return r.text()
}

func (r *reader) localizedText() string {
	mask := r.u8()
	if mask&1 != 0 {
		r.bytes()
	}
	if mask&2 != 0 {
		return r.text()
	}
	return ""
}

// diagnostic passes over a DiagnosticInfo.
func (r *reader) diagnostic() {
	for range maxNesting {
		mask := r.u8()
		for _, bit := range []byte{0x01, 0x02, 0x08, 0x04} {
			if mask&bit != 0 {
				r.u32()
			}
		}
		if mask&0x10 != 0 {
			r.bytes()
		}
		if mask&0x20 != 0 {
			r.u32()
		}
		if mask&0x40 == 0 {
			return
		}
	}
	r.fail("diagnostics nested deeper than %d", maxNesting)
}

func (r *reader) diagnostics() {
	for range r.count(1) {
		r.diagnostic()
	}
}

// structure is the undecoded body of an ExtensionObject.
type structure struct {
	encoding *ua.NodeID
	body     []byte
}

func (r *reader) structure() structure {
	id, _, _ := r.nodeID(false)
	s := structure{encoding: id}
	switch form := r.u8(); form {
	case 0:
	case 1, 2:
		s.body = r.bytes()
	default:
		r.fail("a structure of form %d", form)
	}
	return s
}

// variant is one value of the built-in type kind. Of arrays only texts are
// kept, as []string; the elements of the others are nil.
type variant struct {
	kind  builtin
	array bool
	value any
}

func (r *reader) variant(depth int) variant {
	if depth > maxNesting {
		r.fail("values nested deeper than %d", maxNesting)
		return variant{}
	}
	mask := r.u8()
	v := variant{kind: builtin(mask & 0x3F), array: mask&0x80 != 0}
	switch {
	case v.kind == 0:
		v.array = false
	case v.kind > 25:
		r.fail("a value of type %d", v.kind)
	case !v.array:
		v.value = r.scalar(v.kind, depth)
	default:
		var texts []string
		for range r.count(1) {
			if text, ok := r.scalar(v.kind, depth).(string); ok {
				texts = append(texts, text)
			}
			if r.err != nil {
				break
			}
		}
		v.value = texts
	}
	switch {
	case mask&0x40 == 0:
	case v.array:
		r.take(4 * r.count(4))
	default:
		r.fail("a single value with dimensions")
	}
	return v
}

// scalar reads one value. Types without a use here give nil.
func (r *reader) scalar(kind builtin, depth int) any {
	switch kind {
	case typeBoolean:
		return r.u8() != 0
	case typeSByte:
		return int8(r.u8())
	case typeByte:
		return r.u8()
	case typeInt16:
		return int16(r.u16())
	case typeUInt16:
		return r.u16()
	case typeInt32:
		return int32(r.u32())
	case typeUInt32:
		return r.u32()
	case typeInt64:
		return int64(r.u64())
	case typeUInt64:
		return r.u64()
	case typeFloat:
		return math.Float32frombits(r.u32())
	case typeDouble:
		return math.Float64frombits(r.u64())
	case typeString, typeXMLElement:
		return r.text()
	case typeDateTime:
		return r.time()
	case typeGUID:
		return r.guid()
	case typeByteString:
		return r.bytes()
	case typeNodeID, typeExpandedNodeID:
		id, _, _ := r.nodeID(kind == typeExpandedNodeID)
		return id
	case typeStatusCode:
		return r.status()
	case typeQualifiedName:
		return r.qualifiedName()
	case typeLocalizedText:
		return r.localizedText()
	case typeStructure:
		return r.structure()
	case typeDataValue:
		r.dataValue(depth + 1)
	case typeVariant:
		r.variant(depth + 1)
	case typeDiagnosticInfo:
		r.diagnostic()
	}
	return nil
}

// dataValue is a value with the status that the server gives it.
type dataValue struct {
	variant
	status ua.StatusCode
}

func (r *reader) dataValue(depth int) dataValue {
	var v dataValue
	mask := r.u8()
	if mask&0x01 != 0 {
		v.variant = r.variant(depth)
	}
	if mask&0x02 != 0 {
		v.status = r.status()
	}
	for _, field := range []struct {
		bit  byte
		size int
	}{{0x04, 8}, {0x10, 2}, {0x08, 8}, {0x20, 2}} {
		if mask&field.bit != 0 {
			r.take(field.size)
		}
	}
	return v
}
