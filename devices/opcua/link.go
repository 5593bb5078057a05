package opcua

import (
	"context"
	"fmt"
	"strings"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

// link is one caller's hold on a line.
type link struct {
	line *line
	ep   devices.Endpoint

	closed bool // guarded by line.pool.mu
}

// item is one point of a call, checked before anything is sent.
type item struct {
	ref  nodeRef
	kind builtin // 0: the server says it
}

// places checks where the points stand.
func places(n int, point func(i int) devices.Point) ([]item, error) {
	items := make([]item, n)
	for i := range items {
		p := point(i)
		if p.OPCUA == nil {
			return nil, fmt.Errorf("%s has no node: it is not a point of an OPC UA profile", p.Name)
		}
		var err error
		if items[i].ref, err = parseNode(p.OPCUA.Namespace, p.OPCUA.ID); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		if items[i].kind, err = parseBuiltin(p.OPCUA.Type); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return items, nil
}

func refs(items []item) []nodeRef {
	out := make([]nodeRef, len(items))
	for i, it := range items {
		out[i] = it.ref
	}
	return out
}

// Read returns the values of the points, in order, in one request for each 100
// points.
func (l *link) Read(ctx context.Context, points []devices.Point) ([]devices.Value, error) {
	op := fmt.Sprintf("read %d nodes", len(points))
	if len(points) == 1 {
		op = "read " + points[0].Name
	}
	items, err := places(len(points), func(i int) devices.Point { return points[i] })
	if err != nil {
		return nil, l.fail(devices.Unsupported, "read", err)
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
		if values[i], err = fromServer(p, got[i].variant); err != nil {
			return nil, l.fail(devices.Rejected, "read "+p.Name, err)
		}
	}
	return values, nil
}

// Write writes the settings in the order of the list, in one request for each
// 100. All values are checked before the first request is sent, and for nodes
// whose type the profile does not state, before the first write. A server
// takes or refuses each setting of a request by itself; the error names both.
func (l *link) Write(ctx context.Context, settings []devices.Setting) error {
	items, err := places(len(settings), func(i int) devices.Point { return settings[i].Point })
	if err != nil {
		return l.fail(devices.Unsupported, "write", err)
	}
	seen := map[string]string{}
	for i, s := range settings {
		key := items[i].ref.key()
		if before, twice := seen[key]; twice {
			return l.fail(devices.Rejected, "write", fmt.Errorf("%s and %s are the same node %s", before, s.Point.Name, items[i].ref.text))
		}
		seen[key] = s.Point.Name
		kind := items[i].kind
		if kind == 0 {
			// Whatever the type is, the value has to be in the point's range.
			kind = ofPoint[s.Point.Type]
		}
		if _, err := toServer(s.Point, s.Value, kind); err != nil {
			return l.fail(devices.Rejected, "write", err)
		}
	}
	if len(settings) == 0 {
		return nil
	}
	w := &writing{settings: settings, items: items, size: maxNodes}
	if f := l.do(ctx, true, w.goOn); f != nil {
		return l.verdict(w.op(), true, w.progress(f))
	}
	return w.outcome(l)
}

// writing is a Write under way, which may go on in a second session.
type writing struct {
	settings []devices.Setting
	items    []item
	size     int
	statuses []ua.StatusCode // of the settings that were answered, from the first on
}

func (w *writing) goOn(c call) *fault {
	nodes, f := c.resolve(refs(w.items))
	if f != nil {
		return f.onlyAsked()
	}
	values, f := w.values(c, nodes)
	if f != nil {
		return f.onlyAsked()
	}
	for len(w.statuses) < len(values) {
		from := len(w.statuses)
		to := min(from+w.size, len(values))
		request := &ua.WriteRequest{}
		for i := from; i < to; i++ {
			request.NodesToWrite = append(request.NodesToWrite, &ua.WriteValue{NodeID: nodes[i], AttributeID: ua.AttributeIDValue,
				Value: &ua.DataValue{EncodingMask: ua.DataValueValue, Value: values[i]}})
		}
		var statuses []ua.StatusCode
		f := c.query(c.ctx, c.timeout, request, func(r *reader) {
			if statuses = r.statuses(); r.err == nil && len(statuses) != to-from {
				r.fail("%d results, for %d nodes", len(statuses), to-from)
			}
			r.diagnostics()
		})
		switch {
		case f == nil:
			w.statuses = append(w.statuses, statuses...)
		case to-from > 1 && tooMuch(f.status) && !f.sent:
			w.size = (to - from) / 2
		default:
			return f
		}
	}
	return nil
}

// values encodes the settings in the types that the nodes have.
func (w *writing) values(c call, nodes []*ua.NodeID) ([]*ua.Variant, *fault) {
	var ask []int
	var askRefs []nodeRef
	var askNodes []*ua.NodeID
	for i, it := range w.items {
		if it.kind == 0 {
			ask, askRefs, askNodes = append(ask, i), append(askRefs, it.ref), append(askNodes, nodes[i])
		}
	}
	kinds := make([]builtin, len(w.items))
	for i, it := range w.items {
		kinds[i] = it.kind
	}
	learnt, f := c.typesOf(askRefs, askNodes)
	if f != nil {
		return nil, f
	}
	for j, i := range ask {
		kinds[i] = learnt[j]
	}
	out := make([]*ua.Variant, len(w.settings))
	for i, s := range w.settings {
		var err error
		if out[i], err = toServer(s.Point, s.Value, kinds[i]); err != nil {
			kind := devices.Rejected
			if !kinds[i].writable() {
				kind = devices.Unsupported
			}
			return nil, &fault{kind: kind, err: err}
		}
	}
	return out, nil
}

func (w *writing) op() string { return "write " + w.names(len(w.statuses), len(w.settings)) }

func (w *writing) names(from, to int) string {
	var names []string
	for _, s := range w.settings[from:to] {
		names = append(names, s.Point.Name)
	}
	return strings.Join(names, ", ")
}

// progress turns the fault of a later request into one that says what the
// earlier ones did.
func (w *writing) progress(f *fault) *fault {
	if len(w.statuses) == 0 {
		return f
	}
	out := *f
	out.err = fmt.Errorf("%w (before it, %s)", f.err, w.summary())
	switch f.kind {
	case "", devices.Unreachable, devices.OwnPath, devices.Auth:
		// The device did not see this request, but it saw those before it.
		out.kind = devices.Indeterminate
	}
	return &out
}

// summary says which settings were written and which were not.
func (w *writing) summary() string {
	var written, not []string
	for i, status := range w.statuses {
		if name := w.settings[i].Point.Name; status == ua.StatusOK {
			written = append(written, name)
		} else {
			not = append(not, fmt.Sprintf("%s %s", name, statusName(status)))
		}
	}
	text := "none was written"
	if len(written) > 0 {
		text = "written: " + strings.Join(written, ", ")
	}
	if len(not) > 0 {
		text += "; not as asked: " + strings.Join(not, "; ")
	}
	return text
}

// outcome is the error of a Write whose answers all came.
func (w *writing) outcome(l *link) error {
	var kind devices.Kind
	var names []string
	for i, status := range w.statuses {
		if status == ua.StatusOK {
			continue
		}
		names = append(names, w.settings[i].Point.Name)
		this := statusKind(status, true)
		if !bad(status) || uncertain(status) {
			// The server took it and did something else, or will do it later.
			this = devices.Indeterminate
		}
		if kind == "" || this == devices.Indeterminate {
			kind = this
		}
	}
	if kind == "" {
		return nil
	}
	return l.fail(kind, "write "+strings.Join(names, ", "), fmt.Errorf("%s", w.summary()))
}

func uncertain(s ua.StatusCode) bool { return s&0xC0000000 == 0x40000000 }

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

// Close gives the link back; calls in flight end as they would have.
func (l *link) Close() {
	p := l.line.pool
	p.mu.Lock()
	wasOpen := !l.closed
	l.closed = true
	p.mu.Unlock()
	if wasOpen {
		p.put(l.line)
	}
}

// hold keeps the line while a call is in flight, so that a link that is closed
// meanwhile cannot lead to a second line to the same endpoint.
func (l *link) hold() error {
	p := l.line.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.closed || p.closed {
		return ErrClosed
	}
	l.line.refs++
	return nil
}

func (l *link) do(ctx context.Context, write bool, operation func(c call) *fault) *fault {
	if err := l.hold(); err != nil {
		return &fault{err: err}
	}
	defer l.line.pool.put(l.line)
	return l.line.do(ctx, &l.ep, write, operation)
}
