package opcua

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

// Write writes the settings in the order of the list, in one request for each
// 100, and calls the methods among them (Point.Method, with the value
// devices.RunValue) each once, in its place in the list. All values and
// arguments are checked before the first request is sent, and for nodes whose
// type the profile does not state, before the first write. A server takes or
// refuses each setting of a request by itself; the error names both. A method
// is called only when everything before it was written, and nothing is written
// after a method that was refused.
func (l *link) Write(ctx context.Context, settings []devices.Setting) error {
	w := &writing{settings: settings, items: make([]item, len(settings)), size: maxNodes, blame: map[int]string{}}
	seen := map[string]string{}
	for i, s := range settings {
		if s.Point.Method != nil {
			if f := w.planCall(i); f != nil {
				return l.verdict("write", true, f)
			}
			continue
		}
		var err error
		if w.items[i], err = place(s.Point); err != nil {
			return l.fail(devices.Unsupported, "write", err)
		}
		key := w.items[i].ref.key()
		if before, twice := seen[key]; twice {
			return l.fail(devices.Rejected, "write", fmt.Errorf("%s and %s are the same node %s", before, s.Point.Name, w.items[i].ref.text))
		}
		seen[key] = s.Point.Name
		kind := w.items[i].kind
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
	// blame says, by the place of a method, which arguments were not taken.
	blame map[int]string
}

// planCall checks a setting that is a method.
func (w *writing) planCall(i int) *fault {
	p := w.settings[i].Point
	if p.OPCUA != nil {
		return &fault{kind: devices.Unsupported, err: fmt.Errorf("%s is a node and a method; a point is one of them", p.Name)}
	}
	if v := w.settings[i].Value; v != devices.RunValue {
		return &fault{kind: devices.Rejected, err: fmt.Errorf("%s: %v is not %q, by which a method is called", p.Name, v, devices.RunValue)}
	}
	m, f := prepareCall(*p.Method)
	if f != nil {
		return &fault{kind: f.kind, err: fmt.Errorf("%s: %w", p.Name, f.err)}
	}
	w.items[i] = item{ref: m.method, method: m}
	return nil
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
	for len(w.statuses) < len(w.items) {
		next := len(w.statuses)
		if m := w.items[next].method; m != nil {
			if w.refused() {
				return nil
			}
			answer, f := m.run(c)
			if f != nil {
				return f
			}
			w.blame[next] = answer.blame(m.args)
			w.statuses = append(w.statuses, answer.status)
			if answer.status != ua.StatusOK {
				return nil
			}
			continue
		}
		if f := w.write(c, nodes, values); f != nil {
			return f
		}
	}
	return nil
}

// refused says that one of the settings so far is not as asked.
func (w *writing) refused() bool {
	return slices.ContainsFunc(w.statuses, func(s ua.StatusCode) bool { return s != ua.StatusOK })
}

// write makes one request of the nodes up to the next method.
func (w *writing) write(c call, nodes []*ua.NodeID, values []*ua.Variant) *fault {
	from := len(w.statuses)
	to := from
	for to < len(w.items) && to < from+w.size && w.items[to].method == nil {
		to++
	}
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
	return nil
}

// values encodes the settings in the types that the nodes have.
func (w *writing) values(c call, nodes []*ua.NodeID) ([]*ua.Variant, *fault) {
	var ask []int
	var askRefs []nodeRef
	var askNodes []*ua.NodeID
	for i, it := range w.items {
		if it.kind == 0 && it.method == nil {
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
		if w.items[i].method != nil {
			continue
		}
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
			not = append(not, fmt.Sprintf("%s %s%s", name, statusName(status), w.blame[i]))
		}
	}
	text := "none was written"
	if len(written) > 0 {
		text = "written: " + strings.Join(written, ", ")
	}
	if len(not) > 0 {
		text += "; not as asked: " + strings.Join(not, "; ")
	}
	if rest := len(w.statuses); rest < len(w.items) && len(not) > 0 {
		text += "; and so not tried: " + w.names(rest, len(w.items))
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
