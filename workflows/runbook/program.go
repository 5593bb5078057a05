package runbook

import (
	"container/list"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"edgefleet/workflows/contract"
)

// APILevel counts the changes of the language that a recorded run could
// notice. It is part of every cache key.
const APILevel = 1

// dialect is a set of builtins and what else a source may do.
type dialect int

const (
	// inRunbook is the dialect of runbooks.
	inRunbook dialect = iota
	// inTest is the dialect of test files, which may load runbooks.
	inTest
)

// program is a source that was compiled, guarded and is ready to run, by any
// number of runs at once.
type program struct {
	name, source string
	compiled     *starlark.Program
	env          starlark.StringDict
	// functions are the functions at the top of the file, in their order.
	functions []*syntax.DefStmt
	// lines are those where the names at the top of the file get their values.
	lines map[string]int
}

// options is Starlark's default dialect: no recursion, no while, no sets, no
// statements but definitions and assignments at the top of a file.
func options() *syntax.FileOptions { return &syntax.FileOptions{} }

// parse reads a source and refuses what cannot be handled safely.
func parse(name, source string, d dialect) (*syntax.File, error) {
	if err := checkText(name, source); err != nil {
		return nil, err
	}
	// The parser and compiler are functions of their input; what the checker
	// sees in them is how they panic.
	//workflowcheck:ignore
	f, err := options().Parse(name, source, 0)
	if err != nil {
		return nil, err
	}
	if err := checkTree(name, f, DefaultLimits()); err != nil {
		return nil, err
	}
	if d == inRunbook {
		for _, s := range f.Stmts {
			if load, ok := s.(*syntax.LoadStmt); ok {
				return nil, &Error{Type: contract.ErrRunbook, At: positionOf(load.Load),
					Msg: "a runbook cannot load another file", Hint: "put the functions into this file; only test files load"}
			}
		}
	}
	return f, nil
}

// compile turns a source into a program. Its errors are *Error.
func compile(name, source string, d dialect) (*program, error) {
	texts := sources{name: source}
	f, err := parse(name, source, d)
	if err != nil {
		return nil, texts.compileErrors(name, err)[0]
	}
	p := &program{name: name, source: source, env: environment(d), lines: map[string]int{}}
	for _, s := range f.Stmts {
		switch s := s.(type) {
		case *syntax.DefStmt:
			p.functions = append(p.functions, s)
		case *syntax.AssignStmt:
			syntax.Walk(s.LHS, func(n syntax.Node) bool {
				if id, ok := n.(*syntax.Ident); ok {
					p.lines[id.Name] = int(id.NamePos.Line)
				}
				return true
			})
		}
	}
	rewrite(f, guardedMethods())
	//workflowcheck:ignore
	if p.compiled, err = starlark.FileProgram(f, p.env.Has); err != nil {
		found := texts.compileErrors(name, err)[0]
		suggestName(found, f, p.env)
		return nil, found
	}
	return p, nil
}

// environment returns the builtins of a dialect. They hold no state: what
// they act on comes with the thread.
func environment(d dialect) starlark.StringDict { return environments()[d] }

var environments = sync.OnceValue(func() map[dialect]starlark.StringDict {
	runbook, test := starlark.StringDict{}, starlark.StringDict{}
	for _, env := range []starlark.StringDict{runbook, test} {
		addUniverse(env)
		addMethods(env, guardedMethods())
		addOperators(env)
	}
	addActions(runbook)
	addBuiltins(runbook)
	addTestBuiltins(test)
	return map[dialect]starlark.StringDict{inRunbook: runbook, inTest: test}
})

// functionNames returns the names of the functions of p, for messages.
func (p *program) functionNames() []string {
	var names []string
	for _, f := range p.functions {
		names = append(names, f.Name.Name)
	}
	return names
}

// entry checks that p has a function of that name which takes the device's ID
// alone.
func (p *program) entry(function string) error {
	fail := func(line int, format string, args ...any) error {
		return sources{p.name: p.source}.describe(&Error{Type: contract.ErrRunbook, At: Position{File: p.name, Line: line}, Msg: fmt.Sprintf(format, args...)})
	}
	for _, def := range p.functions {
		if def.Name.Name != function {
			continue
		}
		required, positional := 0, 0
		for _, param := range def.Params {
			switch param := param.(type) {
			case *syntax.Ident:
				required++
				positional++
			case *syntax.BinaryExpr:
				positional++
			case *syntax.UnaryExpr:
				if param.Op == syntax.STAR && param.X != nil {
					positional++
				}
			}
		}
		if required > 1 || positional == 0 {
			return fail(int(def.Def.Line), "%s has to take one argument, the device's ID", function)
		}
		return nil
	}
	names := p.functionNames()
	if len(names) == 0 {
		return fail(0, "there is no function %s; the file defines none", function)
	}
	if near := nearest(function, names); near != "" {
		return fail(0, "there is no function %s; did you mean %s?", function, near)
	}
	return fail(0, "there is no function %s; the file defines %s", function, strings.Join(names, ", "))
}

// Cache keeps compiled programs, by name, source, dialect and APILevel; the
// least recently used goes first. It is safe for concurrent use. A nil Cache
// compiles every time.
type Cache struct {
	mu      sync.Mutex
	size    int
	byKey   map[cacheKey]*list.Element
	recents *list.List // of *cacheEntry, the most recent first
}

type cacheKey struct {
	name    string
	hash    [sha256.Size]byte
	dialect dialect
	level   int
}

type cacheEntry struct {
	key     cacheKey
	program *program
}

// NewCache returns a cache of at most size programs.
func NewCache(size int) *Cache {
	return &Cache{size: max(size, 1), byKey: map[cacheKey]*list.Element{}, recents: list.New()}
}

// Len returns how many programs the cache holds.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recents.Len()
}

// compile returns the cached program or compiles it. Two that compile the
// same source at once both do the work, and one of the results is kept.
func (c *Cache) compile(name, source string, d dialect) (*program, error) {
	if c == nil {
		return compile(name, source, d)
	}
	key := cacheKey{name, sha256.Sum256([]byte(source)), d, APILevel}
	if p := c.get(key); p != nil {
		return p, nil
	}
	p, err := compile(name, source, d)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if have, ok := c.byKey[key]; ok {
		return have.Value.(*cacheEntry).program, nil
	}
	c.byKey[key] = c.recents.PushFront(&cacheEntry{key, p})
	if c.recents.Len() > c.size {
		oldest := c.recents.Back()
		delete(c.byKey, c.recents.Remove(oldest).(*cacheEntry).key)
	}
	return p, nil
}

func (c *Cache) get(key cacheKey) *program {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil
	}
	c.recents.MoveToFront(e)
	return e.Value.(*cacheEntry).program
}
