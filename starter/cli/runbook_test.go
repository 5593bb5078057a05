package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheFleetGuidesRunbookIsCheckedOffline(t *testing.T) {
	const guide = testdata + "auto_remediation.py"
	for _, c := range []goldenCase{
		{"lint", "runbook lint " + guide, nil},
		{"lint-json", "runbook lint -o json " + guide, nil},
		{"plan", "runbook plan " + guide + " handle_device_offline --device edge-003", nil},
		{"plan-json", "runbook plan " + guide + " handle_device_offline -o json", nil},
		{"plan-unknown-function", "runbook plan " + guide + " heal", nil},
		{"test", "runbook test " + testdata + "auto_remediation_test.py", nil},
		{"test-verbose", "runbook test -v " + testdata + "auto_remediation_test.py", nil},
		{"test-json", "runbook test -o json " + testdata + "auto_remediation_test.py", nil},
		{"test-no-tests", "runbook test " + guide, nil},
		{"lint-absent", "runbook lint absent.py", nil},
		{"lint-nothing", "runbook lint", nil},
		{"plan-nothing", "runbook plan", nil},
		{"test-nothing", "runbook test", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeTemporal{}
			newSession(t, f).golden("runbook-"+c.name, strings.Fields(c.args)...)
			require.Empty(t, f.dialled, "nobody has to be asked")
		})
	}
}

func TestABrokenRunbookIsFoundBeforeItRuns(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	write("broken.py", "def heal(device_id):\n    if not check_network(device):\n        reset_network(device_id)\n")
	write("failing_test.py", "load(\"fine.py\", \"heal\")\n\ndef test_calls_nothing():\n    answer(\"check_network\", True)\n    run(heal, \"edge-003\")\n    expect_calls([])\n")
	write("fine.py", "def heal(device_id):\n    check_network(device_id)\n")
	for _, c := range []struct {
		args       string
		code       int
		out, error string
	}{
		{"runbook lint broken.py fine.py", 2, "broken.py:2:", "findings; a runbook with an error is not run"},
		{"runbook run broken.py heal edge-003", 2, "", "broken.py is not run; correct it first"},
		{"runbook plan broken.py heal", 2, "", "broken.py:2:"},
		{"runbook test failing_test.py", 1, "FAIL  failing_test.py test_calls_nothing", ""},
		{"runbook test failing_test.py -o json", 1, `"failures": [`, ""},
		{"runbook lint fine.py", 0, "no findings in 1 file", ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			f := &fakeTemporal{}
			s := newSession(t, f)
			require.Equal(t, c.code, s.run(strings.Fields(c.args)...))
			require.Contains(t, s.out.String(), c.out)
			require.Contains(t, s.err.String(), c.error)
			require.Empty(t, f.options)
		})
	}
}

func TestARunbookOfThisMachineTravelsWithTheRun(t *testing.T) {
	f := &fakeTemporal{}
	s := newSession(t, f)
	file := filepath.FromSlash(testdata + "auto_remediation.py")
	require.Zero(t, s.run("runbook", "run", file, "handle_device_offline", "edge-003", "--reason", "drill"), s.err.String())
	source, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, f.started, 1)
	require.Equal(t, string(source), f.started[0].Runbook.Source)
	require.Equal(t, "auto_remediation.py", f.started[0].Runbook.Path)
	require.Equal(t, "drill", f.started[0].Reason)
	require.Equal(t, "operator:kim", f.started[0].Actor.String())
}
