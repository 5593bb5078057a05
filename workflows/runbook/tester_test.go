package runbook

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestTheTestsOfTheFleetGuidesRunbookPass(t *testing.T) {
	results, err := Test("testdata/auto_remediation_test.py")
	require.NoError(t, err)
	require.Len(t, results, 5)
	for _, r := range results {
		require.True(t, r.Passed(), "%s: %v", r.Name, r.Messages)
	}
}

// testText runs one test function against a runbook.
func testText(t *testing.T, runbook, test string) TestResult {
	t.Helper()
	results, err := TestFS(fstest.MapFS{
		"r.py":      {Data: []byte(runbook)},
		"r_test.py": {Data: []byte("load('r.py', 'work')\ndef test_it():\n    " + strings.ReplaceAll(test, "\n", "\n    ") + "\n")},
	}, "r_test.py")
	require.NoError(t, err)
	require.Len(t, results, 1)
	return results[0]
}

func TestTestsFailWithThePlaceAndAReadableDiff(t *testing.T) {
	guide := "def work(d):\n    if not check_network(d):\n        trigger_network_reset(d)\n    update_incident_status(d, note='x')\n"
	for _, tt := range []struct{ name, runbook, test, want string }{
		{"calls that differ", guide, "answer('check_network', True)\nrun(work, 'edge-001')\nexpect_calls(['check_network', 'trigger_network_reset', 'update_incident_status(note=\"y\")'])",
			"r_test.py:5:17: the calls differ (- expected, + made)\n      check_network\n    - trigger_network_reset\n    - update_incident_status(note=\"y\")\n    + update_incident_status(note=\"x\")  (line 4)\n    expect_calls("},
		{"a condition", guide, "expect(1 == 2, 'one is not two')", "r_test.py:3:11: one is not two\n    expect(1 == 2"},
		{"an answer that is missing", guide, "run(work, 'edge-001')", "the test gives no answer for check_network, called at r.py:2; add answer(\"check_network\", True)"},
		{"an answer that is missing inside attempt", "def work(d):\n    attempt(check_network, d)\n", "run(work, 'edge-001')", "the test gives no answer for check_network"},
		{"a gate without a decision", "def work(d):\n    wait_for_approval('go', 'Go?')\n", "run(work, 'edge-001')", `the test does not decide the gate "go", opened at r.py:2; add approve("go") or refuse("go")`},
		{"a runbook that fails", "def work(d):\n    fail('broken')\n", "run(work, 'edge-001')", "r_test.py:3:8: the runbook failed: broken"},
		{"a runbook that was expected to fail", "def work(d):\n    pass\n", "run_error(work, 'edge-001')", "the runbook came to its end, but was expected to fail"},
		{"a bug in the runbook", "def work(d):\n    return 1 + 'a'\n", "run(work, 'edge-001')", "r.py:2:14: unknown binary op: int + string"},
		{"an action that does not exist", guide, "answer('check_networks', True)", `there is no action "check_networks"; did you mean check_network?`},
		{"a field that does not exist", guide, "answer('check_network', True, reach=1)", "the report of check_network has no field reach; it has device_id, reachable, diagnosis, verdicts"},
		{"a field of another type", guide, "answer('check_network', True, diagnosis=1)", "cannot unmarshal number"},
		{"an answer that is not one", guide, "answer('check_network', 1)", "answer: got int, want True or False"},
		{"an action called by the test itself", "def work(d):\n    check_network(d)\n", "work('edge-001')", "check_network cannot be called by a test itself; use run(function, device_id)"},
		{"a device that is none", guide, "run(work, 'no device')", "device ID"},
		{"a test without end", guide, "for i in range(1000000000):\n    pass", "steps"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := testText(t, tt.runbook, tt.test)
			require.False(t, r.Passed())
			require.Contains(t, strings.Join(r.Messages, "\n"), tt.want)
		})
	}
}

func TestATestSeesAnswersInOrderVirtualTimeAndDecisions(t *testing.T) {
	r := testText(t, `
def work(d):
    for i in range(5):
        if check_network(d):
            break
        sleep("10m")
    if wait_for_approval("go", "Go?").by == "ann":
        print("ann agrees")
    out = attempt(apply_baseline_config, d)
    return out.kind
`, `answer("check_network", False, False, True)
approve("go", by="ann", note="fine")
answer_error("apply_baseline_config", "rejected")
out = run(work, "edge-001")
expect(out.value == "rejected")
expect(elapsed() == 1200)
expect([c.action for c in calls()] == ["check_network"] * 3 + ["apply_baseline_config"])
expect(calls()[0].line == 4)
expect("ann agrees" in printed())
expect_calls(["check_network"] * 3 + ["apply_baseline_config"])`)
	require.True(t, r.Passed(), "%v", r.Messages)
}

func TestTestsDoNotSeeEachOther(t *testing.T) {
	results, err := TestFS(fstest.MapFS{
		"r.py":      {Data: []byte("def work(d):\n    check_network(d)\n")},
		"r_test.py": {Data: []byte("load('r.py', 'work')\ndef test_a():\n    answer('check_network', True)\n    run(work, 'e')\ndef test_b():\n    run(work, 'e')\n")},
	}, "r_test.py")
	require.NoError(t, err)
	require.True(t, results[0].Passed())
	require.False(t, results[1].Passed())
}

func TestATestFileLoadsOnlyFromItsFolderAndBelow(t *testing.T) {
	dir := t.TempDir()
	tests := filepath.Join(dir, "tests")
	require.NoError(t, os.Mkdir(tests, 0o755))
	secret := filepath.Join(dir, "secret.py")
	require.NoError(t, os.WriteFile(secret, []byte("def work(d):\n    pass\n"), 0o644))
	require.NoError(t, os.Symlink(secret, filepath.Join(tests, "link.py")))
	for module, want := range map[string]string{
		"../secret.py":      "cannot load ../secret.py: want a file in the folder of the test or below it",
		secret:              "want a file in the folder of the test or below it",
		"a/../../secret.py": "want a file in the folder of the test or below it",
		"link.py":           "link.py: openat link.py: path escapes from parent",
		"missing.py":        "missing.py: openat missing.py: no such file",
	} {
		file := filepath.Join(tests, "x_test.py")
		require.NoError(t, os.WriteFile(file, []byte("load('"+module+"', 'work')\ndef test_it():\n    pass\n"), 0o644))
		results, err := Test(file)
		require.NoError(t, err)
		require.False(t, results[0].Passed(), module)
		require.Contains(t, results[0].Messages[0], want)
	}
}

func TestAFileThatCannotBeTestedIsAnError(t *testing.T) {
	_, err := Test("testdata/missing_test.py")
	require.ErrorContains(t, err, "missing_test.py")
	_, err = TestFS(fstest.MapFS{"x_test.py": {Data: []byte("def helper():\n    pass\n")}}, "x_test.py")
	require.ErrorContains(t, err, "x_test.py: the file has no function whose name begins with test_")
	_, err = TestFS(fstest.MapFS{"x_test.py": {Data: []byte("def test_it(:\n")}}, "x_test.py")
	require.ErrorContains(t, err, "x_test.py:1:14: got ':'")
}
