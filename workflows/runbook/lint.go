package runbook

import (
	"fmt"
	"maps"
	"sort"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// Severity says whether a runbook with a finding can work.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"   // it fails when it gets there, or does not load
	SeverityWarning Severity = "warning" // it is probably not what was meant
)

// Finding is one thing that is wrong with a source.
type Finding struct {
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Col      int      `json:"col"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	// Remedy says what to do; it may be empty.
	Remedy string `json:"remedy,omitempty"`
}

// String returns "file:line:col: severity: message; remedy".
func (f Finding) String() string {
	s := fmt.Sprintf("%s: %s: %s", Position{f.File, f.Line, f.Col}, f.Severity, f.Message)
	if f.Remedy != "" {
		s += "; " + f.Remedy
	}
	return s
}

// Lint checks a runbook without running it: syntax, undefined names, the
// arguments of actions, builtins and the file's own functions, actions called
// while the file loads, and approval IDs that are computed, repeated or never
// reached. Functions are those that the caller will start; each has to exist.
// Findings are ordered by position.
func Lint(name, source string, functions ...string) []Finding {
	l := &linter{name: name, defs: map[string]*syntax.DefStmt{}, waits: map[string]bool{}, gates: map[string]syntax.Position{}}
	l.lint(source, functions)
	sort.SliceStable(l.found, func(i, j int) bool {
		a, b := l.found[i], l.found[j]
		return a.Line < b.Line || (a.Line == b.Line && a.Col < b.Col)
	})
	return l.found
}

type linter struct {
	name  string
	found []Finding
	// defs are the functions at the top of the file, and waits those that
	// call an action or another builtin of the host, directly or not.
	defs  map[string]*syntax.DefStmt
	waits map[string]bool
	// gates are the literal approval IDs, by where they were first seen.
	gates map[string]syntax.Position
}

func (l *linter) add(at syntax.Position, severity Severity, remedy, format string, args ...any) {
	l.found = append(l.found, Finding{File: l.name, Line: int(at.Line), Col: int(at.Col), Severity: severity, Message: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (l *linter) lint(source string, functions []string) {
	texts := sources{l.name: source}
	report := func(e *Error) {
		l.found = append(l.found, Finding{File: l.name, Line: e.At.Line, Col: e.At.Col, Severity: SeverityError, Message: e.Msg, Remedy: e.Hint})
	}
	f, err := parse(l.name, source, inRunbook)
	if err != nil {
		for _, e := range texts.compileErrors(l.name, err) {
			report(e)
		}
		return
	}
	env := environment(inRunbook)
	if err := resolve.File(f, env.Has, starlark.Universe.Has); err != nil {
		for _, e := range texts.compileErrors(l.name, err) {
			suggestName(e, f, env)
			report(e)
		}
	}
	l.functions(f)
	for _, s := range f.Stmts {
		if def, ok := s.(*syntax.DefStmt); ok {
			l.block(def.Body, false)
			l.defaults(def)
		} else {
			l.topLevel(s)
		}
	}
	l.calls(f)
	prog := &program{name: l.name, source: source}
	for _, s := range f.Stmts {
		if def, ok := s.(*syntax.DefStmt); ok {
			prog.functions = append(prog.functions, def)
		}
	}
	for _, fn := range functions {
		if err := prog.entry(fn); err != nil {
			for _, e := range texts.compileErrors(l.name, err) {
				report(e)
			}
		}
	}
}

// functions finds out which functions wait, following the calls among them.
func (l *linter) functions(f *syntax.File) {
	uses := map[string][]string{}
	for _, s := range f.Stmts {
		def, ok := s.(*syntax.DefStmt)
		if !ok {
			continue
		}
		name := def.Name.Name
		l.defs[name] = def
		for _, body := range def.Body {
			syntax.Walk(body, func(n syntax.Node) bool {
				switch n := n.(type) {
				case *syntax.LambdaExpr, *syntax.DefStmt:
					return false // to define a function is not to call it
				case *syntax.CallExpr:
					if id, ok := n.Fn.(*syntax.Ident); ok {
						if predeclared(id) && isHosted(id.Name) {
							l.waits[name] = true
						}
						uses[name] = append(uses[name], id.Name)
					}
				}
				return true
			})
		}
	}
	for changed := true; changed; {
		changed = false
		for _, name := range sortedKeys(uses) {
			for _, used := range uses[name] {
				if l.waits[used] && !l.waits[name] {
					l.waits[name], changed = true, true
				}
			}
		}
	}
}

// predeclared tells whether the resolver found a builtin of ours behind id. A
// name that the source binds itself is another thing.
func predeclared(id *syntax.Ident) bool {
	b, ok := id.Binding.(*resolve.Binding)
	return ok && b.Scope == resolve.Predeclared
}

// isHosted tells whether a builtin may only be called by a function that runs.
func isHosted(name string) bool {
	if _, ok := reportOf(name); ok {
		return true
	}
	switch name {
	case "attempt", "parallel", "sleep", "now", "step", "print", "wait_for_approval", "on_exit":
		return true
	}
	return false
}

// defaults looks for actions in the default values of parameters, which are
// evaluated while the file loads.
func (l *linter) defaults(def *syntax.DefStmt) {
	for _, p := range def.Params {
		if b, ok := p.(*syntax.BinaryExpr); ok {
			l.topLevel(b.Y)
		}
	}
}

// topLevel looks for calls at the top of the file that only a function that
// runs may make.
func (l *linter) topLevel(n syntax.Node) {
	syntax.Walk(n, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.LambdaExpr:
			return false
		case *syntax.CallExpr:
			id, ok := n.Fn.(*syntax.Ident)
			if !ok {
				return true
			}
			switch {
			case predeclared(id) && isHosted(id.Name):
				l.add(id.NamePos, SeverityError, "call it inside a function", "%s is called at the top of the file, while it loads", id.Name)
			case l.waits[id.Name] && !predeclared(id):
				l.add(id.NamePos, SeverityError, "call it inside a function", "%s is called at the top of the file, and calls actions", id.Name)
			}
		}
		return true
	})
}

// block looks at the statements of a block in order: what stands after one
// that always leaves is never reached. It tells whether the block leaves.
func (l *linter) block(stmts []syntax.Stmt, loop bool) (leaves bool) {
	for _, s := range stmts {
		if leaves {
			l.unreachable(s)
			continue
		}
		switch s := s.(type) {
		case *syntax.ReturnStmt:
			leaves = true
		case *syntax.BranchStmt:
			leaves = s.Token != syntax.PASS
		case *syntax.ExprStmt:
			leaves = isFail(s.X)
		case *syntax.IfStmt:
			leaves = l.either(s, loop)
		case *syntax.ForStmt:
			l.block(s.Body, true)
		case *syntax.DefStmt:
			l.block(s.Body, false)
		}
		l.gatesIn(s, loop)
	}
	return leaves
}

// either looks at both sides of an if. The gates of a side are used for what
// follows only when that side goes on.
func (l *linter) either(s *syntax.IfStmt, loop bool) (leaves bool) {
	before := l.gates
	l.gates = maps.Clone(before)
	yes := l.block(s.True, loop)
	onYes := l.gates
	l.gates = maps.Clone(before)
	no := l.block(s.False, loop)
	if no {
		l.gates = before
	}
	if !yes {
		maps.Copy(l.gates, onYes)
	}
	return yes && no
}

func isFail(e syntax.Expr) bool {
	call, ok := unparen(e).(*syntax.CallExpr)
	if !ok {
		return false
	}
	id, ok := call.Fn.(*syntax.Ident)
	return ok && id.Name == "fail" && predeclared(id)
}

// unreachable reports a statement that is never reached, and names the gates
// in it.
func (l *linter) unreachable(s syntax.Stmt) {
	var ids []string
	eachGate(s, func(call *syntax.CallExpr) {
		if id, ok := gateID(call); ok {
			ids = append(ids, id)
		}
	})
	at, _ := s.Span()
	if len(ids) > 0 {
		l.add(at, SeverityWarning, "nobody will be asked; move it before the return or fail", "the approval %s is never reached", strings.Join(ids, ", "))
		return
	}
	l.add(at, SeverityWarning, "remove it, or the return, fail, break or continue above", "this is never reached")
}
