package contract

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheCatalogueIsCompleteAndBounded(t *testing.T) {
	seen := map[string]bool{}
	name := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for _, a := range Actions() {
		require.Regexp(t, name, a.Name, "a runbook calls it by this name")
		require.False(t, seen[a.Name], "%s twice", a.Name)
		seen[a.Name] = true
		require.Contains(t, []ActionKind{KindRead, KindChange, KindRecord}, a.Kind)
		require.NotEmpty(t, a.Doc, a.Name)
		require.NotEmpty(t, a.Verb, a.Name)
		require.NotEmpty(t, a.Answers, a.Name)
		require.Positive(t, a.StartToClose, a.Name)
		require.GreaterOrEqual(t, a.ScheduleToClose, a.StartToClose, a.Name)
		require.Less(t, a.Heartbeat, a.StartToClose, a.Name)
		require.Equal(t, a.Kind == KindRecord, a.Central, "%s: only records need no device", a.Name)
		if a.Kind == KindChange {
			require.Positive(t, a.Heartbeat, "%s learns of a cancellation by its heartbeat", a.Name)
		}
		for _, p := range a.Params {
			require.Regexp(t, name, p.Name)
			require.NotEmpty(t, p.Doc)
		}
		require.Equal(t, a, MustAction(a.Name))
	}
	require.Equal(t, Actions(), Actions(), "in a fixed order")
	require.PanicsWithValue(t, "contract: no action reboot", func() { MustAction("reboot") })
}

func TestTheFleetGuidesActionsAreThere(t *testing.T) {
	for _, name := range []string{"check_network", "trigger_network_reset", "detect_config_drift", "apply_baseline_config", "update_incident_status"} {
		require.Equal(t, name, MustAction(name).Name)
	}
}

// Two constants with one name on the wire would be one activity, signal or
// error type that means two things.
func TestNoTwoConstantsShareAWireName(t *testing.T) {
	for _, prefix := range []string{"Action|Activity|Ask|Workflow", "Err", "Attr", "Signal|Update|Query", "Outcome"} {
		values := map[string]string{}
		for constant, value := range constants(t) {
			if !regexp.MustCompile(`^(` + prefix + `)[A-Z]`).MatchString(constant) {
				continue
			}
			require.Empty(t, values[value], "%s and %s are both %q", constant, values[value], value)
			values[value] = constant
		}
		require.NotEmpty(t, values)
	}
	attrs := map[string]bool{}
	for _, a := range SearchAttributes() {
		attrs[a] = true
	}
	for constant, value := range constants(t) {
		if strings.HasPrefix(constant, "Attr") {
			require.True(t, attrs[value], "%s is not registered", constant)
		}
	}
}

// constants are the package's constants of text, by name.
func constants(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != len(spec.Names) {
				return true
			}
			for i, id := range spec.Names {
				if lit, ok := spec.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, err := strconv.Unquote(lit.Value)
					require.NoError(t, err)
					out[id.Name] = text
				}
			}
			return true
		})
	}
	return out
}
