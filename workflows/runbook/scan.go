package runbook

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"go.starlark.net/syntax"

	"edgefleet/workflows/contract"
)

const (
	// maxSource bounds a source's text in bytes.
	maxSource = 256 << 10
	// maxBrackets bounds the nesting of brackets. The parser recurses some
	// twenty frames per level, and a Go stack that overflows ends the process.
	maxBrackets = 100
	// maxTree bounds the depth of the syntax tree, for the passes after the
	// parser recurse too; a chain of a + b + c is as deep as it is long.
	maxTree = 500
)

// checkText refuses what must not reach the parser.
func checkText(name, source string) error {
	if len(source) > maxSource {
		return &Error{Type: contract.ErrRunbook, At: Position{File: name},
			Msg: fmt.Sprintf("the source has %d bytes, more than %d", len(source), maxSource)}
	}
	if !utf8.ValidString(source) || strings.ContainsRune(source, 0) {
		return &Error{Type: contract.ErrRunbook, At: Position{File: name}, Msg: "the source is not UTF-8 text"}
	}
	depth, line := 0, 1
	for i := 0; i < len(source); i++ {
		switch source[i] {
		case '\n':
			line++
		case '#':
			if end := strings.IndexByte(source[i:], '\n'); end < 0 {
				i = len(source)
			} else {
				i += end - 1
			}
		case '"', '\'':
			end := textEnd(source, i)
			line += strings.Count(source[i:end], "\n")
			i = end - 1
		case '(', '[', '{':
			if depth++; depth > maxBrackets {
				return &Error{Type: contract.ErrRunbook, At: Position{File: name, Line: line},
					Msg: fmt.Sprintf("brackets nest deeper than %d", maxBrackets)}
			}
		case ')', ']', '}':
			depth = max(depth-1, 0)
		}
	}
	return nil
}

// textEnd returns the index after the text literal that begins at i. A
// literal of one line that is not closed ends at the end of its line, where
// the scanner reports it.
func textEnd(source string, i int) int {
	quote := source[i]
	triple := strings.HasPrefix(source[i:], strings.Repeat(string(quote), 3))
	j := i + 1
	if triple {
		j = i + 3
	}
	for ; j < len(source); j++ {
		switch {
		case source[j] == '\\':
			j++
		case source[j] == '\n' && !triple:
			return j
		case source[j] == quote && !triple:
			return j + 1
		case triple && strings.HasPrefix(source[j:], strings.Repeat(string(quote), 3)):
			return j + 3
		}
	}
	return len(source)
}

// checkTree refuses a tree that is too deep, and numbers that are too large.
func checkTree(name string, f *syntax.File, limits Limits) error {
	var found error
	depth := 0
	syntax.Walk(f, func(n syntax.Node) bool {
		if n == nil {
			depth--
			return true
		}
		depth++
		fail := func(format string, args ...any) {
			if found == nil {
				start, _ := n.Span()
				at := positionOf(start)
				at.File = name
				found = &Error{Type: contract.ErrRunbook, At: at, Msg: fmt.Sprintf(format, args...)}
			}
		}
		if depth > maxTree {
			fail("this nests deeper than %d; break it up", maxTree)
		}
		if found != nil {
			// Walk calls f(nil) only for nodes that it enters.
			depth--
			return false
		}
		if lit, ok := n.(*syntax.Literal); ok {
			if big, ok := lit.Value.(interface{ BitLen() int }); ok && big.BitLen() > limits.IntBits {
				fail("the number has more than %d bits", limits.IntBits)
			}
		}
		return true
	})
	return found
}
