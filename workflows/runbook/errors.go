package runbook

import (
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"edgefleet/workflows/contract"
)

// Position is a place in a source; Line and Col count from 1, Col in runes,
// and are 0 where unknown.
type Position struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"col,omitempty"`
}

// String returns "file:line:col", "file:line" or "file".
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Col == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Origin returns "file:line", which is what the ledger keeps.
func (p Position) Origin() string { return Position{File: p.File, Line: p.Line}.String() }

func (p Position) lineText() string { return fmt.Sprintf("line %d", p.Line) }

func positionOf(p syntax.Position) Position {
	return Position{File: p.Filename(), Line: int(p.Line), Col: int(p.Col)}
}

// Error is why a runbook could not be loaded or did not come to its end. It
// names the place in the runbook and, where there is one, the remedy.
type Error struct {
	// Type is contract.ErrRunbook, contract.ErrBudget, or the type of the
	// action's error that ended the run.
	Type string
	Msg  string
	At   Position
	// Source is the line that At names, without its indentation.
	Source string
	// Hint says what to do instead; it may be empty.
	Hint string
	// Cause is the error of the action or host; it may be nil.
	Cause error
}

// Error returns "file:line:col: message", then the source line and the hint on
// lines of their own.
func (e *Error) Error() string {
	var b strings.Builder
	if e.At.File != "" {
		b.WriteString(e.At.String() + ": ")
	}
	b.WriteString(clip(e.Msg, maxMessage))
	if e.Source != "" {
		b.WriteString("\n    " + clip(e.Source, 200))
	}
	if e.Hint != "" {
		b.WriteString("\n  hint: " + e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// maxMessage bounds the bytes of an error's message, which stands in history
// and in every list of workflows.
const maxMessage = 2000

// clip cuts s to at most n bytes at a rune's border.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// ActionError is the failure of an action. attempt catches it.
type ActionError struct {
	// Kind is the error type of the contract: "unreachable".
	Kind string
	Msg  string
	// Cause is what the host saw; it may be nil.
	Cause error
}

func (e *ActionError) Error() string { return e.Msg }

// Unwrap returns the cause.
func (e *ActionError) Unwrap() error { return e.Cause }

// failure is the error of the builtin fail. attempt catches it.
type failure struct{ msg string }

func (f *failure) Error() string { return f.msg }

// kindFail is the kind of an outcome whose function called fail.
const kindFail = "fail"

// budgetError says which limit a run exceeded. It is never caught.
type budgetError struct{ msg string }

func (b *budgetError) Error() string { return b.msg }

func overBudget(format string, args ...any) error {
	return &budgetError{fmt.Sprintf(format, args...)}
}

// catchable tells whether attempt turns err into an outcome: the failures of
// actions and of fail, and nothing else. A bug in the script, a spent budget
// and a cancellation pass through.
func catchable(err error) (kind, msg string, ok bool) {
	var action *ActionError
	var fail *failure
	switch {
	case errors.As(err, &action):
		return action.Kind, action.Msg, true
	case errors.As(err, &fail):
		return kindFail, fail.msg, true
	}
	return "", "", false
}

// located gives err the place in the sources where it arose.
func (s sources) located(err error) error {
	var done *Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	out := &Error{Type: contract.ErrRunbook, Msg: err.Error(), Cause: err}
	var eval *starlark.EvalError
	if errors.As(err, &eval) {
		out.Msg = eval.Msg
		if cause := eval.Unwrap(); cause != nil {
			out.Msg = cause.Error()
		}
		if at, ok := s.innermost(eval.CallStack); ok {
			out.At = at
		}
	}
	var budget *budgetError
	if errors.As(err, &budget) {
		out.Type, out.Msg = contract.ErrBudget, budget.msg
	}
	var action *ActionError
	if errors.As(err, &action) {
		out.Type, out.Msg = action.Kind, action.Msg
	}
	return s.describe(out)
}

// describe adds the source line and the hint.
func (s sources) describe(e *Error) *Error {
	e.Source = strings.TrimSpace(s.line(e.At))
	if e.Type == contract.ErrRunbook && e.Hint == "" {
		e.Hint = hintFor(e.Msg, s.line(e.At))
	}
	return e
}

// innermost is the position of the innermost call that stands in a source.
func (s sources) innermost(stack starlark.CallStack) (Position, bool) {
	for i := range len(stack) {
		if at := stack.At(i).Pos; at.Filename() != "<builtin>" && at.Line > 0 {
			return positionOf(at), true
		}
	}
	return Position{}, false
}

// sources are the texts of a run by file name, for error messages.
type sources map[string]string

func (s sources) line(at Position) string {
	text, line := s[at.File], ""
	for n := 1; n <= at.Line; n++ {
		var more bool
		line, text, more = strings.Cut(text, "\n")
		if !more && n < at.Line {
			return ""
		}
	}
	return line
}

// compileErrors turns an error of the parser or resolver into one Error per
// finding.
func (s sources) compileErrors(name string, err error) []*Error {
	var list resolve.ErrorList
	var parse syntax.Error
	var one *Error
	switch {
	case errors.As(err, &one):
		return []*Error{one}
	case errors.As(err, &list):
		var out []*Error
		for _, e := range list {
			out = append(out, s.describe(&Error{Type: contract.ErrRunbook, Msg: e.Msg, At: positionOf(e.Pos)}))
		}
		return out
	case errors.As(err, &parse):
		return []*Error{s.describe(&Error{Type: contract.ErrRunbook, Msg: parse.Msg, At: positionOf(parse.Pos)})}
	}
	return []*Error{{Type: contract.ErrRunbook, Msg: err.Error(), At: Position{File: name}}}
}
