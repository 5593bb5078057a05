package opcuasim

import (
	"path"
	"slices"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"
)

func (c *channel) read(q *ua.ReadRequest) (ua.Response, ua.StatusCode) {
	switch n := len(q.NodesToRead); {
	case n == 0:
		return nil, ua.StatusBadNothingToDo
	case n > maxNodes:
		return nil, ua.StatusBadTooManyOperations
	}
	out := &ua.ReadResponse{}
	for _, n := range q.NodesToRead {
		out.Results = append(out.Results, c.device.attribute(n))
	}
	return out, ua.StatusOK
}

func badValue(status ua.StatusCode) *ua.DataValue {
	return &ua.DataValue{EncodingMask: ua.DataValueStatusCode, Status: status}
}

func goodValue(v any) *ua.DataValue {
	variant, err := ua.NewVariant(v)
	if err != nil {
		return badValue(ua.StatusBadInternalError)
	}
	return &ua.DataValue{EncodingMask: ua.DataValueValue | ua.DataValueServerTimestamp, Value: variant, ServerTimestamp: time.Now()}
}

// attribute reads one attribute of a node (OPC 10000-3, section 5).
func (d *Device) attribute(n *ua.ReadValueID) *ua.DataValue {
	if n == nil || n.NodeID == nil {
		return badValue(ua.StatusBadNodeIDInvalid)
	}
	if n.IndexRange != "" {
		return badValue(ua.StatusBadIndexRangeInvalid)
	}
	value, status := d.plant.read(n.NodeID)
	if status != ua.StatusOK {
		return badValue(status)
	}
	switch n.AttributeID {
	case ua.AttributeIDValue:
		return goodValue(value)
	case ua.AttributeIDNodeID:
		return goodValue(n.NodeID)
	case ua.AttributeIDNodeClass:
		return goodValue(int32(ua.NodeClassVariable))
	case ua.AttributeIDBrowseName:
		return goodValue(&ua.QualifiedName{NamespaceIndex: n.NodeID.Namespace(), Name: name(n.NodeID)})
	case ua.AttributeIDDisplayName:
		return goodValue(ua.NewLocalizedText(name(n.NodeID)))
	case ua.AttributeIDDataType:
		variant, err := ua.NewVariant(value)
		if err != nil {
			return badValue(ua.StatusBadInternalError)
		}
		return goodValue(ua.NewNumericNodeID(0, uint32(variant.Type())))
	case ua.AttributeIDValueRank:
		if _, array := value.([]string); array {
			return goodValue(int32(1))
		}
		return goodValue(int32(-1))
	case ua.AttributeIDAccessLevel, ua.AttributeIDUserAccessLevel:
		level := ua.AccessLevelTypeCurrentRead
		if d.plant.writable(n.NodeID) {
			level |= ua.AccessLevelTypeCurrentWrite
		}
		return goodValue(byte(level))
	}
	return badValue(ua.StatusBadAttributeIDInvalid)
}

func (p *plant) writable(nodeID *ua.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.lookupLocked(nodeID)
	return n != nil && n.accepts != nil
}

func name(n *ua.NodeID) string {
	if n.Type() == ua.NodeIDTypeString {
		return path.Base(n.StringID())
	}
	return id.Name(n.IntID())
}

func (c *channel) write(q *ua.WriteRequest) (ua.Response, ua.StatusCode) {
	switch n := len(q.NodesToWrite); {
	case n == 0:
		return nil, ua.StatusBadNothingToDo
	case n > maxNodes:
		return nil, ua.StatusBadTooManyOperations
	}
	out := &ua.WriteResponse{}
	changed := false
	for _, n := range q.NodesToWrite {
		status := c.device.store(n)
		changed = changed || status == ua.StatusOK
		out.Results = append(out.Results, status)
	}
	if changed {
		c.device.cfg.OnChange()
	}
	return out, ua.StatusOK
}

func (d *Device) store(n *ua.WriteValue) ua.StatusCode {
	switch {
	case n == nil || n.NodeID == nil:
		return ua.StatusBadNodeIDInvalid
	case n.AttributeID != ua.AttributeIDValue:
		return ua.StatusBadNotWritable
	case n.IndexRange != "":
		return ua.StatusBadWriteNotSupported
	case n.Value == nil || n.Value.EncodingMask != ua.DataValueValue || n.Value.Value == nil:
		// Nobody sets the times and the quality of a controller's settings.
		return ua.StatusBadWriteNotSupported
	}
	return d.plant.write(n.NodeID, n.Value.Value.Value())
}

func (c *channel) call(q *ua.CallRequest) (ua.Response, ua.StatusCode) {
	if len(q.MethodsToCall) == 0 {
		return nil, ua.StatusBadNothingToDo
	}
	if len(q.MethodsToCall) > maxNodes {
		return nil, ua.StatusBadTooManyOperations
	}
	out := &ua.CallResponse{}
	for _, m := range q.MethodsToCall {
		out.Results = append(out.Results, c.device.invoke(m))
	}
	return out, ua.StatusOK
}

// invoke calls the one method that there is: it takes the delay of the restart
// in seconds, which has to be 0 to 60.
func (d *Device) invoke(m *ua.CallMethodRequest) *ua.CallMethodResult {
	plain := func(n *ua.NodeID, want string) bool {
		return n != nil && n.Namespace() == plantIndex && n.Type() == ua.NodeIDTypeString && n.StringID() == want
	}
	if m != nil && m.MethodID != nil && m.MethodID.Namespace() == plantIndex && m.MethodID.Type() == ua.NodeIDTypeString && slices.Contains(softwareMethods(), m.MethodID.StringID()) {
		return d.updateSoftware(m)
	}
	switch {
	case m == nil || !plain(m.ObjectID, objectNode):
		return &ua.CallMethodResult{StatusCode: ua.StatusBadNodeIDUnknown}
	case !plain(m.MethodID, restartNode):
		return &ua.CallMethodResult{StatusCode: ua.StatusBadMethodInvalid}
	case len(m.InputArguments) < 1:
		return &ua.CallMethodResult{StatusCode: ua.StatusBadArgumentsMissing}
	case len(m.InputArguments) > 1:
		return &ua.CallMethodResult{StatusCode: ua.StatusBadTooManyArguments}
	}
	const longest = 60
	delay, ok := m.InputArguments[0].Value().(uint32)
	switch {
	case !ok:
		return &ua.CallMethodResult{StatusCode: ua.StatusBadInvalidArgument, InputArgumentResults: []ua.StatusCode{ua.StatusBadTypeMismatch}}
	case delay > longest:
		return &ua.CallMethodResult{StatusCode: ua.StatusBadInvalidArgument, InputArgumentResults: []ua.StatusCode{ua.StatusBadOutOfRange}}
	}
	d.plant.restart(d.cfg.Init + time.Duration(delay)*time.Second)
	d.cfg.OnChange()
	return &ua.CallMethodResult{StatusCode: ua.StatusOK, InputArgumentResults: []ua.StatusCode{ua.StatusOK}}
}

// browse lists what is below the folder of objects and the controller.
func (c *channel) browse(q *ua.BrowseRequest) (ua.Response, ua.StatusCode) {
	if len(q.NodesToBrowse) == 0 {
		return nil, ua.StatusBadNothingToDo
	}
	if len(q.NodesToBrowse) > maxNodes {
		return nil, ua.StatusBadTooManyOperations
	}
	out := &ua.BrowseResponse{}
	for _, b := range q.NodesToBrowse {
		out.Results = append(out.Results, c.device.below(b))
	}
	return out, ua.StatusOK
}

func (d *Device) below(b *ua.BrowseDescription) *ua.BrowseResult {
	result := &ua.BrowseResult{StatusCode: ua.StatusOK}
	add := func(kind uint32, child *ua.NodeID, class ua.NodeClass, definition uint32) {
		if b.BrowseDirection == ua.BrowseDirectionInverse || b.NodeClassMask != 0 && b.NodeClassMask&uint32(class) == 0 {
			return
		}
		result.References = append(result.References, &ua.ReferenceDescription{
			ReferenceTypeID: ua.NewNumericNodeID(0, kind), IsForward: true, NodeID: ua.NewExpandedNodeID(child, "", 0),
			BrowseName: &ua.QualifiedName{NamespaceIndex: child.Namespace(), Name: name(child)}, DisplayName: ua.NewLocalizedText(name(child)),
			NodeClass: class, TypeDefinition: ua.NewNumericExpandedNodeID(0, definition),
		})
	}
	object := ua.NewStringNodeID(plantIndex, objectNode)
	switch {
	case b == nil || b.NodeID == nil:
		result.StatusCode = ua.StatusBadNodeIDInvalid
	case b.NodeID.Namespace() == 0 && b.NodeID.Type() != ua.NodeIDTypeString && b.NodeID.IntID() == id.ObjectsFolder:
		add(id.Organizes, ua.NewNumericNodeID(0, id.Server), ua.NodeClassObject, id.ServerType)
		add(id.Organizes, object, ua.NodeClassObject, id.BaseObjectType)
		add(id.Organizes, ua.NewStringNodeID(plantIndex, softwareNode), ua.NodeClassObject, id.BaseObjectType)
	case b.NodeID.String() == object.String():
		for _, n := range d.plant.nodes {
			add(id.HasComponent, ua.NewStringNodeID(plantIndex, n.id), ua.NodeClassVariable, id.BaseDataVariableType)
		}
		add(id.HasComponent, ua.NewStringNodeID(plantIndex, restartNode), ua.NodeClassMethod, 0)
	case b.NodeID.Namespace() == plantIndex && b.NodeID.Type() == ua.NodeIDTypeString && d.belowSoftware(b.NodeID.StringID(), add):
	default:
		if _, status := d.plant.read(b.NodeID); status != ua.StatusOK {
			result.StatusCode = status
		}
	}
	return result
}
