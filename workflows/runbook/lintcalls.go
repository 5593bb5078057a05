package runbook

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/syntax"

	"edgefleet/workflows/contract"
)

// signature is what a builtin takes.
type signature struct {
	// params are the names, the first required of them without a default.
	params   []string
	required int
	// positional is how many may be given without a name; -1 is any number,
	// as with *args.
	positional int
	// anyKeyword accepts keywords beyond params, as with **kwargs.
	anyKeyword bool
}

// signatureOf returns the signature of a builtin that the linter knows.
func signatureOf(name string) (signature, bool) {
	for _, a := range contract.Actions() {
		if a.Name == name {
			s := signature{params: []string{"device_id"}, required: 1, positional: 1 + len(a.Params)}
			for _, p := range a.Params {
				s.params = append(s.params, p.Name)
			}
			s.params = append(s.params, "timeout", "retries", "title")
			return s, true
		}
	}
	s, ok := map[string]signature{
		"attempt":           {params: []string{"fn"}, required: 1, positional: -1, anyKeyword: true},
		"on_exit":           {params: []string{"fn"}, required: 1, positional: -1, anyKeyword: true},
		"parallel":          {params: []string{"limit", "fail_fast"}, positional: -1},
		"sleep":             {params: []string{"duration"}, required: 1, positional: 1},
		"now":               {},
		"step":              {params: []string{"title"}, required: 1, positional: 1},
		"fail":              {params: []string{"msg"}, required: 1, positional: 1},
		"print":             {params: []string{"sep"}, positional: -1},
		"wait_for_approval": {params: []string{"id", "prompt", "timeout"}, required: 2, positional: 3},
	}[name]
	return s, ok
}

// signatureOfDef returns the signature of a function of the file.
func signatureOfDef(def *syntax.DefStmt) signature {
	var s signature
	keywordOnly := false
	for _, p := range def.Params {
		switch p := p.(type) {
		case *syntax.Ident:
			s.params = append(s.params, p.Name)
			if !keywordOnly {
				s.required++
				s.positional++
			}
		case *syntax.BinaryExpr:
			s.params = append(s.params, p.X.(*syntax.Ident).Name)
			if !keywordOnly {
				s.positional++
			}
		case *syntax.UnaryExpr:
			if p.Op == syntax.STARSTAR {
				s.anyKeyword = true
				continue
			}
			keywordOnly = true
			if p.X != nil {
				s.positional = -1
			}
		}
	}
	return s
}

// calls checks the arguments of every call of a builtin of ours or of a
// function at the top of the file.
func (l *linter) calls(f *syntax.File) {
	syntax.Walk(f, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok {
			return true
		}
		id, ok := call.Fn.(*syntax.Ident)
		if !ok {
			return true
		}
		if predeclared(id) {
			if s, known := signatureOf(id.Name); known {
				l.arguments(id.Name, call, s)
				l.values(id.Name, call)
			}
		} else if def := l.defs[id.Name]; def != nil && bindsSame(id, def) {
			l.arguments(id.Name, call, signatureOfDef(def))
		}
		return true
	})
}

// bindsSame tells whether id means the function and not a local variable of
// its name.
func bindsSame(id *syntax.Ident, def *syntax.DefStmt) bool {
	return id.Binding != nil && id.Binding == def.Name.Binding
}

// arguments checks how many arguments a call has, and their names.
func (l *linter) arguments(name string, call *syntax.CallExpr, s signature) {
	positional, given := 0, map[string]bool{}
	for _, arg := range call.Args {
		switch a := arg.(type) {
		case *syntax.UnaryExpr:
			if a.Op == syntax.STAR || a.Op == syntax.STARSTAR {
				return // what it brings is known at run time only
			}
		case *syntax.BinaryExpr:
			if a.Op != syntax.EQ {
				break
			}
			key := a.X.(*syntax.Ident)
			if !slices.Contains(s.params, key.Name) && !s.anyKeyword {
				remedy := "it takes " + strings.Join(s.params, ", ")
				if near := nearest(key.Name, s.params); near != "" {
					remedy = "did you mean " + near + "?"
				} else if len(s.params) == 0 {
					remedy = "it takes no arguments"
				}
				l.add(key.NamePos, SeverityError, remedy, "%s has no parameter %s", name, key.Name)
			}
			given[key.Name] = true
			continue
		}
		positional++
	}
	if s.positional >= 0 && positional > s.positional {
		l.add(call.Lparen, SeverityError, wants(s), "%s gets %d positional arguments, and takes %d", name, positional, s.positional)
		return
	}
	for i := range s.required {
		param := s.params[i]
		if i < positional && given[param] {
			l.add(call.Lparen, SeverityError, "give it once", "%s gets %s twice", name, param)
		}
		if i >= positional && !given[param] {
			l.add(call.Lparen, SeverityError, wants(s), "%s misses its argument %s", name, param)
		}
	}
}

func wants(s signature) string {
	if len(s.params) == 0 {
		return "it takes no arguments"
	}
	return "it takes " + strings.Join(s.params, ", ")
}

// values checks literal arguments: values of actions' parameters, and the IDs
// of approval gates.
func (l *linter) values(name string, call *syntax.CallExpr) {
	for _, a := range contract.Actions() {
		if a.Name != name {
			continue
		}
		for i, p := range a.Params {
			lit := literalText(argument(call, i+1, p.Name))
			if lit == nil || len(p.OneOf) == 0 || slices.Contains(p.OneOf, lit.Value.(string)) {
				continue
			}
			remedy := "it is one of " + strings.Join(p.OneOf, ", ")
			if near := nearest(lit.Value.(string), p.OneOf); near != "" {
				remedy = fmt.Sprintf("did you mean %q?", near)
			}
			l.add(lit.TokenPos, SeverityError, remedy, "%s does not know the %s %q", name, p.Name, lit.Value)
		}
	}
}

// argument returns the argument at index or of that name, or nil.
func argument(call *syntax.CallExpr, index int, name string) syntax.Expr {
	for i, arg := range call.Args {
		if b, ok := arg.(*syntax.BinaryExpr); ok && b.Op == syntax.EQ {
			if b.X.(*syntax.Ident).Name == name {
				return b.Y
			}
			continue
		}
		if i == index {
			return arg
		}
	}
	return nil
}

// literalText returns e when it is a text literal, or nil.
func literalText(e syntax.Expr) *syntax.Literal {
	if e == nil {
		return nil
	}
	lit, ok := unparen(e).(*syntax.Literal)
	if !ok || lit.Token != syntax.STRING {
		return nil
	}
	return lit
}

// eachGate calls fn for the calls of wait_for_approval in n, outside of
// functions that n defines.
func eachGate(n syntax.Node, fn func(*syntax.CallExpr)) {
	syntax.Walk(n, func(n syntax.Node) bool {
		if call, ok := n.(*syntax.CallExpr); ok {
			if id, ok := call.Fn.(*syntax.Ident); ok && id.Name == "wait_for_approval" && predeclared(id) {
				fn(call)
			}
		}
		return true
	})
}

// gateID returns the ID of a gate, when it is a literal.
func gateID(call *syntax.CallExpr) (string, bool) {
	lit := literalText(argument(call, 0, "id"))
	if lit == nil {
		return "", false
	}
	return lit.Value.(string), true
}

// gatesIn checks the gates in the statement s itself; those in its blocks are
// seen when the blocks are.
func (l *linter) gatesIn(s syntax.Stmt, loop bool) {
	check := func(call *syntax.CallExpr) {
		id, literal := gateID(call)
		switch {
		case !literal:
			if argument(call, 0, "id") != nil && !loop {
				l.add(call.Lparen, SeverityWarning, `write the ID as a text, such as "reset-1", so that people can be told of it`, "the ID of the approval is computed")
			}
		case loop:
			l.add(call.Lparen, SeverityWarning, "every gate of a run needs its own ID; add the round's number to it", "the approval %q stands in a loop, and its ID can be used once", id)
		default:
			if first, seen := l.gates[id]; seen {
				l.add(call.Lparen, SeverityWarning, "every gate of a run needs its own ID", "the approval %q was used before, in line %d", id, first.Line)
				return
			}
			l.gates[id] = call.Lparen
		}
	}
	switch s := s.(type) {
	case *syntax.IfStmt:
		eachGate(s.Cond, check)
	case *syntax.ForStmt:
		eachGate(s.X, check)
	case *syntax.DefStmt:
	default:
		eachGate(s, check)
	}
}
