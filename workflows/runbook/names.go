package runbook

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// nearest returns the candidate that name was probably meant to be, or "". To
// a name of one or two letters, everything is near.
func nearest(name string, candidates []string) string {
	if len(name) < 3 {
		return ""
	}
	best, bestDistance := "", max(len(name)/3, 1)+1
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), strings.ToLower(c), bestDistance); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the number of letters to change, insert, drop or swap to turn a
// into b; at least limit when it is limit or more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 200 || len(b) > 200 {
		return limit
	}
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// knownNames are the names that a source can use anywhere: builtins and what
// the top of the file defines.
func knownNames(f *syntax.File, env starlark.StringDict) []string {
	var names []string
	//workflowcheck:ignore
	for name := range env {
		if !strings.HasPrefix(name, "$") {
			names = append(names, name)
		}
	}
	//workflowcheck:ignore
	for name := range starlark.Universe {
		if name != "set" {
			names = append(names, name)
		}
	}
	if f != nil {
		for _, s := range f.Stmts {
			switch s := s.(type) {
			case *syntax.DefStmt:
				names = append(names, s.Name.Name)
			case *syntax.AssignStmt:
				if id, ok := s.LHS.(*syntax.Ident); ok {
					names = append(names, id.Name)
				}
			case *syntax.LoadStmt:
				for _, id := range s.To {
					names = append(names, id.Name)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// suggestName adds "did you mean" to an error about an undefined name.
func suggestName(e *Error, f *syntax.File, env starlark.StringDict) {
	name, found := strings.CutPrefix(e.Msg, "undefined: ")
	if !found || e.Hint != "" {
		return
	}
	name, _, _ = strings.Cut(name, " ")
	e.Msg = "undefined: " + name
	if near := nearest(name, knownNames(f, env)); near != "" {
		e.Hint = "did you mean " + near + "?"
	}
}
