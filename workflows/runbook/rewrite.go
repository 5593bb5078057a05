package runbook

import (
	"fmt"
	"slices"
	"sync"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// Names of the guards. No identifier of a source can be equal to one, because
// none may contain a '$'.
const (
	guardAttr   = "$attr"
	guardKey    = "$key"
	guardSlice  = "$slice"
	guardSpread = "$spread"
	guardIAdd   = "$+="
	guardIOr    = "$|="
	// noneName is None, which a source could have given another value.
	noneName = "$none"
)

// guardedOps are the binary operators whose cost or result is not bounded by
// one step of the interpreter.
var guardedOps = []syntax.Token{
	syntax.PLUS, syntax.MINUS, syntax.STAR, syntax.PERCENT, syntax.PIPE, syntax.LTLT,
	syntax.EQL, syntax.NEQ, syntax.LT, syntax.LE, syntax.GT, syntax.GE, syntax.IN, syntax.NOT_IN,
}

// augmented maps the augmented forms of the guarded operators to their guards.
var augmented = map[syntax.Token]string{
	syntax.PLUS_EQ: guardIAdd, syntax.PIPE_EQ: guardIOr,
	syntax.MINUS_EQ: opGuard(syntax.MINUS), syntax.STAR_EQ: opGuard(syntax.STAR),
	syntax.PERCENT_EQ: opGuard(syntax.PERCENT), syntax.LTLT_EQ: opGuard(syntax.LTLT),
}

func opGuard(op syntax.Token) string { return "$" + op.String() }

// guardedMethods are the names of the methods of Starlark's own types.
var guardedMethods = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for _, v := range []starlark.HasAttrs{starlark.String(""), starlark.Bytes(""), new(starlark.List), new(starlark.Dict), new(starlark.Set)} {
		for _, name := range v.AttrNames() {
			names[name] = true
		}
	}
	return names
})

// rewriter replaces, in place, every operation that a guard has to see by a
// call of that guard, at the same position.
type rewriter struct {
	methods map[string]bool
	temps   int
}

func rewrite(f *syntax.File, methods map[string]bool) {
	r := &rewriter{methods: methods}
	f.Stmts = r.stmts(f.Stmts)
}

func (r *rewriter) stmts(in []syntax.Stmt) []syntax.Stmt {
	if in == nil {
		return nil
	}
	out := make([]syntax.Stmt, 0, len(in))
	for _, s := range in {
		out = append(out, r.stmt(s)...)
	}
	return out
}

func (r *rewriter) stmt(s syntax.Stmt) []syntax.Stmt {
	switch s := s.(type) {
	case *syntax.ExprStmt:
		s.X = r.expr(s.X)
	case *syntax.IfStmt:
		s.Cond = r.expr(s.Cond)
		s.True, s.False = r.stmts(s.True), r.stmts(s.False)
	case *syntax.ForStmt:
		s.Vars, s.X = r.target(s.Vars), r.expr(s.X)
		s.Body = r.stmts(s.Body)
	case *syntax.WhileStmt:
		s.Cond = r.expr(s.Cond)
		s.Body = r.stmts(s.Body)
	case *syntax.DefStmt:
		r.params(s.Params)
		s.Body = r.stmts(s.Body)
	case *syntax.ReturnStmt:
		if s.Result != nil {
			s.Result = r.expr(s.Result)
		}
	case *syntax.AssignStmt:
		return r.assign(s)
	}
	return []syntax.Stmt{s}
}

// assign rewrites x += y to x = guard(x, y). The parts of a[i] += y are put in
// variables first, so that they are evaluated once and in the same order.
func (r *rewriter) assign(s *syntax.AssignStmt) []syntax.Stmt {
	guard, guarded := augmented[s.Op]
	if !guarded {
		s.LHS, s.RHS = r.target(s.LHS), r.expr(s.RHS)
		return []syntax.Stmt{s}
	}
	switch lhs := unparen(s.LHS).(type) {
	case *syntax.Ident:
		use := &syntax.Ident{NamePos: lhs.NamePos, Name: lhs.Name}
		return []syntax.Stmt{&syntax.AssignStmt{OpPos: s.OpPos, Op: syntax.EQ, LHS: lhs, RHS: call(guard, s.OpPos, use, r.expr(s.RHS))}}
	case *syntax.IndexExpr:
		r.temps++
		x, y := fmt.Sprintf("$x%d", r.temps), fmt.Sprintf("$y%d", r.temps)
		at := lhs.Lbrack
		ident := func(name string) *syntax.Ident { return &syntax.Ident{NamePos: at, Name: name} }
		index := func() *syntax.IndexExpr {
			return &syntax.IndexExpr{X: ident(x), Lbrack: at, Y: ident(y), Rbrack: lhs.Rbrack}
		}
		let := func(name string, value syntax.Expr) syntax.Stmt {
			return &syntax.AssignStmt{OpPos: s.OpPos, Op: syntax.EQ, LHS: ident(name), RHS: value}
		}
		return []syntax.Stmt{
			let(x, r.expr(lhs.X)), let(y, r.key(lhs.Y)),
			&syntax.AssignStmt{OpPos: s.OpPos, Op: syntax.EQ, LHS: index(), RHS: call(guard, s.OpPos, index(), r.expr(s.RHS))},
		}
	}
	// Anything else is either an error of the resolver or an assignment to a
	// field, which no value of a runbook has.
	s.LHS, s.RHS = r.target(s.LHS), r.expr(s.RHS)
	return []syntax.Stmt{s}
}

// target rewrites the parts of an assignment's left side that are evaluated.
func (r *rewriter) target(e syntax.Expr) syntax.Expr {
	switch e := e.(type) {
	case *syntax.IndexExpr:
		e.X, e.Y = r.expr(e.X), r.key(e.Y)
	case *syntax.DotExpr:
		e.X = r.expr(e.X)
	case *syntax.ParenExpr:
		e.X = r.target(e.X)
	case *syntax.TupleExpr:
		r.targets(e.List)
	case *syntax.ListExpr:
		r.targets(e.List)
	}
	return e
}

func (r *rewriter) targets(list []syntax.Expr) {
	for i, x := range list {
		list[i] = r.target(x)
	}
}

func (r *rewriter) params(params []syntax.Expr) {
	for _, p := range params {
		if b, ok := p.(*syntax.BinaryExpr); ok && b.Op == syntax.EQ {
			b.Y = r.expr(b.Y)
		}
	}
}

func (r *rewriter) list(list []syntax.Expr) {
	for i, x := range list {
		list[i] = r.expr(x)
	}
}

func (r *rewriter) expr(e syntax.Expr) syntax.Expr {
	switch e := e.(type) {
	case *syntax.ParenExpr:
		e.X = r.expr(e.X)
	case *syntax.UnaryExpr:
		if e.X != nil {
			e.X = r.expr(e.X)
		}
	case *syntax.BinaryExpr:
		e.X, e.Y = r.expr(e.X), r.expr(e.Y)
		if slices.Contains(guardedOps, e.Op) && !cheapComparison(e) {
			return call(opGuard(e.Op), e.OpPos, e.X, e.Y)
		}
	case *syntax.CondExpr:
		e.Cond, e.True, e.False = r.expr(e.Cond), r.expr(e.True), r.expr(e.False)
	case *syntax.ListExpr:
		r.list(e.List)
	case *syntax.TupleExpr:
		r.list(e.List)
	case *syntax.DictExpr:
		r.list(e.List)
	case *syntax.DictEntry:
		e.Key, e.Value = r.key(e.Key), r.expr(e.Value)
	case *syntax.IndexExpr:
		e.X, e.Y = r.expr(e.X), r.key(e.Y)
	case *syntax.SliceExpr:
		return call(guardSlice, e.Lbrack, r.expr(e.X), r.optional(e.Lo), r.optional(e.Hi), r.optional(e.Step))
	case *syntax.DotExpr:
		e.X = r.expr(e.X)
		if r.methods[e.Name.Name] {
			return call(guardAttr, e.Dot, e.X, &syntax.Literal{Token: syntax.STRING, TokenPos: e.NamePos, Raw: e.Name.Name, Value: e.Name.Name})
		}
	case *syntax.CallExpr:
		return r.call(e)
	case *syntax.LambdaExpr:
		r.params(e.Params)
		e.Body = r.expr(e.Body)
	case *syntax.Comprehension:
		e.Body = r.expr(e.Body)
		for _, clause := range e.Clauses {
			switch c := clause.(type) {
			case *syntax.ForClause:
				c.Vars, c.X = r.target(c.Vars), r.expr(c.X)
			case *syntax.IfClause:
				c.Cond = r.expr(c.Cond)
			}
		}
	}
	return e
}

func (r *rewriter) call(e *syntax.CallExpr) syntax.Expr {
	e.Fn = r.expr(e.Fn)
	for i, arg := range e.Args {
		switch a := arg.(type) {
		case *syntax.BinaryExpr:
			if a.Op == syntax.EQ {
				a.Y = r.expr(a.Y)
				continue
			}
		case *syntax.UnaryExpr:
			if (a.Op == syntax.STAR || a.Op == syntax.STARSTAR) && a.X != nil {
				a.X = call(guardSpread, a.OpPos, r.expr(a.X))
				continue
			}
		}
		e.Args[i] = r.expr(arg)
	}
	return e
}

// key guards an index: as the key of a dict it is hashed and compared.
func (r *rewriter) key(e syntax.Expr) syntax.Expr {
	if smallLiteral(e) {
		return e
	}
	at, _ := e.Span()
	return call(guardKey, at, r.expr(e))
}

func (r *rewriter) optional(e syntax.Expr) syntax.Expr {
	if e == nil {
		return &syntax.Ident{Name: noneName}
	}
	return r.expr(e)
}

// smallLiteral tells whether e is a literal that costs next to nothing to look
// at.
func smallLiteral(e syntax.Expr) bool {
	lit, ok := unparen(e).(*syntax.Literal)
	return ok && len(lit.Raw) <= 256
}

// cheapComparison tells whether a comparison costs next to nothing, because
// one side of it is a small literal.
func cheapComparison(e *syntax.BinaryExpr) bool {
	switch e.Op {
	case syntax.EQL, syntax.NEQ, syntax.LT, syntax.LE, syntax.GT, syntax.GE:
		return smallLiteral(e.X) || smallLiteral(e.Y)
	}
	return false
}

func call(name string, at syntax.Position, args ...syntax.Expr) *syntax.CallExpr {
	return &syntax.CallExpr{Fn: &syntax.Ident{NamePos: at, Name: name}, Lparen: at, Args: args, Rparen: at}
}

func unparen(e syntax.Expr) syntax.Expr {
	for {
		p, ok := e.(*syntax.ParenExpr)
		if !ok {
			return e
		}
		e = p.X
	}
}
