package runbook

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func guideSource(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/auto_remediation.py")
	require.NoError(t, err)
	return string(text)
}

func TestThePlanOfTheFleetGuidesRunbookShowsEveryPath(t *testing.T) {
	tree, err := Plan("auto_remediation.py", guideSource(t), "handle_device_offline", "edge-001")
	require.NoError(t, err)
	require.Equal(t, 2*2, tree.Paths, "two checks with two answers each; that of a reset or a write is not looked at")
	require.False(t, tree.Cut)
	golden(t, "testdata/auto_remediation.plan.txt", tree.String())
	text, err := json.Marshal(tree)
	require.NoError(t, err)
	var again Tree
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, tree.String(), again.String())
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func TestAPlanBranchesOverFailuresInsideAttemptAndOverApprovals(t *testing.T) {
	tree, err := Plan("r.py", strings.TrimSpace(`
def work(device_id):
    out = attempt(verify_device, device_id)
    if out.ok:
        return "fine"
    if wait_for_approval("reset", "Reset " + device_id + "?"):
        trigger_network_reset(device_id, title="power cycle")
    else:
        fail("refused")
    sleep("5m")
`), "work", "edge-001")
	require.NoError(t, err)
	require.Equal(t, strings.TrimLeft(`
work("edge-001"), 3 paths
└─ line 2: verify device
   ├─ healthy or not healthy
   │  └─ done: fine
   └─ fails
      └─ line 5: wait for approval reset: Reset edge-001?
         ├─ approved
         │  ├─ line 6: power cycle (changes the device)
         │  ├─ line 9: sleep 5m0s
         │  └─ done
         └─ refused
            └─ line 8: fails (runbook): refused
`, "\n"), tree.String())
}

func TestAPlanOfMorePathsThanItShowsSaysThatItWasCut(t *testing.T) {
	tree, err := Plan("r.py", "def work(d):\n    for i in range(20):\n        check_network(d)\n", "work", "edge-001")
	require.NoError(t, err)
	require.True(t, tree.Cut)
	require.Equal(t, maxPaths, tree.Paths)
	require.Contains(t, tree.String(), "4096 paths shown, there are more")
}

func TestAPlanOfARunbookWithoutEndFailsOnEveryPathAndEnds(t *testing.T) {
	tree, err := Plan("r.py", "def work(d):\n    for i in range(1000000000):\n        pass\n", "work", "edge-001")
	require.NoError(t, err)
	require.Contains(t, tree.String(), "fails (runbook_budget)")
}
