package opcua

import (
	"context"
	"fmt"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
	"edgefleet/devices/pool"
)

// link is one caller's hold on a line.
type link struct {
	*pool.Hold[*line]
	ep devices.Endpoint
}

// item is one point of a call, checked before anything is sent.
type item struct {
	ref  nodeRef
	kind builtin // 0: the server says it
	// method is set where the point is one; ref is its node then.
	method *methodCall
}

// place checks where a point stands that has a value.
func place(p devices.Point) (item, error) {
	switch {
	case p.Method != nil:
		return item{}, fmt.Errorf("%s is a method, which has no value", p.Name)
	case p.OPCUA == nil:
		return item{}, fmt.Errorf("%s has no node: it is not a point of an OPC UA profile", p.Name)
	}
	ref, err := parseNode(p.OPCUA.Namespace, p.OPCUA.ID)
	if err != nil {
		return item{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	kind, err := parseBuiltin(p.OPCUA.Type)
	if err != nil {
		return item{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	return item{ref: ref, kind: kind}, nil
}

func refs(items []item) []nodeRef {
	out := make([]nodeRef, len(items))
	for i, it := range items {
		out[i] = it.ref
	}
	return out
}

// Read returns the values of the points, in order, in one request for each 100
// points. A point that is a method has no value: kind Unsupported.
func (l *link) Read(ctx context.Context, points []devices.Point) ([]devices.Value, error) {
	op := fmt.Sprintf("read %d nodes", len(points))
	if len(points) == 1 {
		op = "read " + points[0].Name
	}
	items := make([]item, len(points))
	for i, p := range points {
		var err error
		if items[i], err = place(p); err != nil {
			return nil, l.fail(devices.Unsupported, "read", err)
		}
	}
	if len(points) == 0 {
		return nil, nil
	}
	var got []dataValue
	f := l.do(ctx, false, func(c call) *fault {
		nodes, f := c.resolve(refs(items))
		if f != nil {
			return f
		}
		got, f = c.read(nodes, ua.AttributeIDValue)
		return f
	})
	if f != nil {
		return nil, l.verdict(op, false, f)
	}
	values := make([]devices.Value, len(points))
	for i, p := range points {
		// A value that the server itself is not sure of is not known.
		if status := got[i].status; bad(status) {
			return nil, l.fail(statusKind(status, false), "read "+p.Name, &refused{status: status})
		}
		if kind := items[i].kind; kind != 0 && got[i].kind != kind {
			return nil, l.fail(devices.Rejected, "read "+p.Name, fmt.Errorf("the server has %s, and the profile says %s", got[i].variant, kind))
		}
		v, err := fromServer(p, got[i].variant)
		if err != nil {
			return nil, l.fail(devices.Rejected, "read "+p.Name, err)
		}
		values[i] = v
	}
	return values, nil
}

// Ping reads the state of the server. Every answer to that shows that the
// server speaks OPC UA and knows us, a refusal as well.
func (l *link) Ping(ctx context.Context) error {
	answered := false
	f := l.do(ctx, false, func(c call) *fault {
		_, f := c.read([]*ua.NodeID{ua.NewNumericNodeID(0, id.Server_ServerStatus_State)}, ua.AttributeIDValue)
		// The session stands; what the server says to a request in it is its
		// own affair.
		answered = f != nil && f.status != 0 && !lost(f.status)
		return f
	})
	if f == nil || answered {
		return nil
	}
	return l.verdict("ping", false, f)
}

func (l *link) do(ctx context.Context, write bool, operation func(c call) *fault) *fault {
	end, err := l.Begin()
	if err != nil {
		return &fault{err: err}
	}
	defer end()
	return l.Line.do(ctx, &l.ep, write, operation)
}
