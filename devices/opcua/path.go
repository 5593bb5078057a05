package opcua

import (
	"fmt"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

// Objects of a standard type have their parts under names that the standard
// gives them, and under node IDs of the server's own: they are found by name.

// child returns the component or property of that name, or nil.
func (c call) child(of *ua.NodeID, browseName string) (*ua.NodeID, *fault) {
	const most = 200
	found, f := c.references(of, ua.BrowseDirectionForward, id.HierarchicalReferences, most)
	if f != nil {
		return nil, f.onlyAsked()
	}
	for _, r := range found {
		if r.browse == browseName && !r.remote && r.uri == "" {
			return r.id, nil
		}
	}
	return nil, nil
}

// find returns what stands at a path of names below a node, or nil.
func (c call) find(from nodeRef, path ...string) (*ua.NodeID, *fault) {
	nodes, f := c.resolve([]nodeRef{from})
	if f != nil {
		return nil, f.onlyAsked()
	}
	at := nodes[0]
	for _, step := range path {
		if at, f = c.child(at, step); f != nil || at == nil {
			return nil, f
		}
	}
	return at, nil
}

// need is find for what has to be there.
func (c call) need(from nodeRef, path ...string) (*ua.NodeID, *fault) {
	at, f := c.find(from, path...)
	if f == nil && at == nil {
		f = &fault{kind: devices.Unsupported, err: fmt.Errorf("the server has no %v below %s", path, from.text)}
	}
	return at, f
}

// valueAt reads the variable at a path, and nothing where there is none.
func (c call) valueAt(from nodeRef, path ...string) (variant, *fault) {
	at, f := c.find(from, path...)
	if f != nil || at == nil {
		return variant{}, f
	}
	values, f := c.read([]*ua.NodeID{at}, ua.AttributeIDValue)
	if f != nil {
		return variant{}, f.onlyAsked()
	}
	if bad(values[0].status) {
		return variant{}, nil
	}
	return values[0].variant, nil
}

// invoke calls the method of that name of an object.
func (c call) invoke(object *ua.NodeID, method string, inputs ...any) ([]variant, *fault) {
	node, f := c.child(object, method)
	if f != nil {
		return nil, f
	}
	if node == nil {
		return nil, &fault{kind: devices.Unsupported, err: fmt.Errorf("the server has no method %s there", method)}
	}
	return c.run(object, node, inputs...)
}

// run calls a method once, with inputs in their exact types.
func (c call) run(object, method *ua.NodeID, inputs ...any) ([]variant, *fault) {
	request := &ua.CallMethodRequest{ObjectID: object, MethodID: method}
	for _, in := range inputs {
		v, err := ua.NewVariant(in)
		if err != nil {
			return nil, &fault{kind: devices.Unsupported, err: err}
		}
		request.InputArguments = append(request.InputArguments, v)
	}
	var answer called
	f := c.query(c.ctx, c.timeout, &ua.CallRequest{MethodsToCall: []*ua.CallMethodRequest{request}}, func(r *reader) { answer = r.called() })
	if f == nil && answer.status != ua.StatusOK {
		f = &fault{kind: answerKind(answer.status), status: answer.status, err: &refused{status: answer.status}}
	}
	return answer.outputs, f
}
