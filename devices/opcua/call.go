package opcua

import (
	"context"
	"fmt"
	"strings"

	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

// Call calls a method once and returns its output arguments: bool, int64,
// uint64, float64 and string values, and texts for what is none of these. A
// call is a change: when its answer is lost the error has kind Indeterminate,
// and nobody calls again before having looked at the device.
func (d *Driver) Call(ctx context.Context, ep devices.Endpoint, m devices.MethodAddress) ([]any, error) {
	var outputs []any
	err := d.with(ep, func(l *link) error {
		op := "call " + clip(m.Method)
		prepared, f := prepareCall(m)
		if f != nil {
			return l.verdict(op, true, f)
		}
		var answer called
		f = l.do(ctx, true, func(c call) (f *fault) {
			answer, f = prepared.run(c)
			return f
		})
		if f != nil {
			return l.verdict(op, true, f)
		}
		if answer.status != ua.StatusOK {
			return l.fail(answerKind(answer.status), op, fmt.Errorf("%w%s", &refused{status: answer.status}, answer.blame(m.Args)))
		}
		for _, v := range answer.outputs {
			outputs = append(outputs, output(v))
		}
		return nil
	})
	return outputs, err
}

// methodCall is a call that was checked before anything is sent.
type methodCall struct {
	object, method nodeRef
	args           []devices.MethodArgument
	inputs         []*ua.Variant
}

func prepareCall(m devices.MethodAddress) (*methodCall, *fault) {
	object, err := parseNode(m.Namespace, m.Object)
	if err != nil {
		return nil, &fault{kind: devices.Unsupported, err: fmt.Errorf("the object: %w", err)}
	}
	method, err := parseNode(m.Namespace, m.Method)
	if err != nil {
		return nil, &fault{kind: devices.Unsupported, err: fmt.Errorf("the method: %w", err)}
	}
	inputs, err := encodeArguments(m.Args)
	if err != nil {
		return nil, &fault{kind: devices.Rejected, err: err}
	}
	return &methodCall{object, method, m.Args, inputs}, nil
}

// run makes the call, once.
func (m *methodCall) run(c call) (called, *fault) {
	nodes, f := c.resolve([]nodeRef{m.object, m.method})
	if f != nil {
		return called{}, f.onlyAsked()
	}
	var answer called
	request := &ua.CallRequest{MethodsToCall: []*ua.CallMethodRequest{{ObjectID: nodes[0], MethodID: nodes[1], InputArguments: m.inputs}}}
	f = c.query(c.ctx, c.timeout, request, func(r *reader) { answer = r.called() })
	return answer, f
}

// answerKind is what a status other than Good says of a change.
func answerKind(s ua.StatusCode) devices.Kind {
	if !bad(s) || uncertain(s) {
		return devices.Indeterminate
	}
	return statusKind(s, true)
}

// blame names the arguments that the server did not take.
func (a called) blame(args []devices.MethodArgument) string {
	var words []string
	for i, status := range a.arguments {
		if bad(status) && i < len(args) {
			words = append(words, argumentName(args, i)+": "+statusName(status))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return "; " + strings.Join(words, "; ")
}

func argumentName(args []devices.MethodArgument, i int) string {
	if args[i].Name != "" {
		return args[i].Name
	}
	return fmt.Sprintf("argument %d", i+1)
}

// encodeArguments gives each argument its exact type.
func encodeArguments(args []devices.MethodArgument) ([]*ua.Variant, error) {
	out := make([]*ua.Variant, len(args))
	for i, a := range args {
		kind, err := parseBuiltin(a.Type)
		if err == nil && kind == 0 {
			err = fmt.Errorf("it has no type: methods take exact types")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", argumentName(args, i), err)
		}
		p := devices.Point{Name: argumentName(args, i), Type: devices.Int64}
		switch kind {
		case typeUInt64:
			p.Type = devices.Uint64
		case typeBoolean:
			p.Type = devices.Bool
		case typeString:
			p.Type = devices.String
		case typeFloat:
			p.Type = devices.Float32
		case typeDouble:
			p.Type = devices.Float64
		}
		if out[i], err = toServer(p, a.Value, kind); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func output(v variant) any {
	switch x := v.value.(type) {
	case bool, string, float64:
		return x
	case float32:
		return float64(x)
	case uint64:
		return x
	}
	if n, ok := integer(v.value); ok && !v.array {
		return n.i + int64(n.u)
	}
	return v.String()
}
