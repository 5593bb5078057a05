package runbook

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLintFindsWhatWouldFailOrIsNotMeant(t *testing.T) {
	for _, tt := range []struct {
		name, source string
		want         []string
	}{
		{"a clean runbook", "def work(d):\n    if not check_network(d, timeout='5s', title='look'):\n        trigger_network_reset(device_id=d, retries=1)\n", nil},
		{"a misspelt action", "def work(d):\n    chek_network(d)\n", []string{"r.py:2:5: error: undefined: chek_network; did you mean check_network?"}},
		{"several undefined names", "def work(d):\n    prnt(d)\n    stp('x')\n", []string{
			"r.py:2:5: error: undefined: prnt; did you mean print?", "r.py:3:5: error: undefined: stp; did you mean step?"}},
		{"an action without its device", "def work(d):\n    check_network()\n", []string{"r.py:2:18: error: check_network misses its argument device_id; it takes device_id, timeout, retries, title"}},
		{"an action with too many arguments", "def work(d):\n    check_network(d, 'x')\n", []string{"r.py:2:18: error: check_network gets 2 positional arguments, and takes 1; it takes device_id, timeout, retries, title"}},
		{"an unknown keyword", "def work(d):\n    update_incident_status(d, statuss='mitigated')\n", []string{"r.py:2:31: error: update_incident_status has no parameter statuss; did you mean status?"}},
		{"an unknown value", "def work(d):\n    update_incident_status(d, status='mitigatd')\n", []string{`r.py:2:38: error: update_incident_status does not know the status "mitigatd"; did you mean "mitigated"?`}},
		{"an unknown positional value", "def work(d):\n    update_incident_status(d, 'x')\n", []string{`r.py:2:31: error: update_incident_status does not know the status "x"; it is one of investigating, mitigated`}},
		{"a builtin with a wrong keyword", "def work(d):\n    parallel(lambda: 1, limt=2)\n", []string{"r.py:2:25: error: parallel has no parameter limt; did you mean limit?"}},
		{"a builtin with too many arguments", "def work(d):\n    now(1)\n", []string{"r.py:2:8: error: now gets 1 positional arguments, and takes 0; it takes no arguments"}},
		{"a function of the file with too few arguments", "def help(a, b=1, *, c=2):\n    pass\n\ndef work(d):\n    help()\n    help(1, 2, 3)\n    help(1, c=3)\n    help(1, e=3)\n", []string{
			"r.py:5:9: error: help misses its argument a; it takes a, b, c",
			"r.py:6:9: error: help gets 3 positional arguments, and takes 2; it takes a, b, c",
			"r.py:8:13: error: help has no parameter e; it takes a, b, c"}},
		{"arguments that are known at run time only", "def help(a):\n    pass\n\ndef work(d):\n    help(*[1])\n    check_network(**{'device_id': d})\n", nil},
		{"a local function of an action's name", "def work(d):\n    def sleep():\n        pass\n    sleep()\n", nil},
		{"an action at the top of the file", "X = check_network('edge-001')\n\ndef work(d):\n    pass\n", []string{"r.py:1:5: error: check_network is called at the top of the file, while it loads; call it inside a function"}},
		{"a function that acts, at the top of the file", "def probe(d):\n    return check_network(d)\n\ndef twice(d):\n    return probe(d)\n\nX = twice('edge-001')\n", []string{"r.py:7:5: error: twice is called at the top of the file, and calls actions; call it inside a function"}},
		{"an action as a default value", "def work(d, t=now()):\n    pass\n", []string{"r.py:1:15: error: now is called at the top of the file, while it loads; call it inside a function"}},
		{"a function that returns one that acts, at the top of the file", "def make():\n    return lambda d: check_network(d)\n\nF = make()\n", nil},
		{"an action in a function at the top of the file", "F = lambda d: check_network(d)\n", nil},
		{"what stands after return", "def work(d):\n    return 1\n    check_network(d)\n", []string{"r.py:3:5: warning: this is never reached; remove it, or the return, fail, break or continue above"}},
		{"an approval after fail", "def work(d):\n    fail('no')\n    if wait_for_approval('go', 'Go?'):\n        pass\n", []string{"r.py:3:5: warning: the approval go is never reached; nobody will be asked; move it before the return or fail"}},
		{"an approval after two ways out", "def work(d):\n    if d:\n        return 1\n    else:\n        fail('x')\n    wait_for_approval('go', 'Go?')\n", []string{"r.py:6:5: warning: the approval go is never reached; nobody will be asked; move it before the return or fail"}},
		{"an approval ID twice", "def work(d):\n    wait_for_approval('go', 'Go?')\n    wait_for_approval('go', 'Really?')\n", []string{`r.py:3:22: warning: the approval "go" was used before, in line 2; every gate of a run needs its own ID`}},
		{"an approval ID on two ways that exclude each other", "def work(d):\n    if d:\n        wait_for_approval('go', 'Go?')\n    else:\n        wait_for_approval('go', 'Really?')\n", nil},
		{"an approval in a loop", "def work(d):\n    for i in range(3):\n        wait_for_approval('go', 'Go?')\n", []string{`r.py:3:26: warning: the approval "go" stands in a loop, and its ID can be used once; every gate of a run needs its own ID; add the round's number to it`}},
		{"an approval ID that is numbered in a loop", "def work(d):\n    for i in range(3):\n        wait_for_approval('go-%d' % i, 'Go?')\n", nil},
		{"an approval ID that is computed", "def work(d):\n    wait_for_approval('go' + d, 'Go?')\n", []string{`r.py:2:22: warning: the ID of the approval is computed; write the ID as a text, such as "reset-1", so that people can be told of it`}},
		{"an approval in a condition", "def work(d):\n    if wait_for_approval('a', 'x') and wait_for_approval('a', 'y'):\n        pass\n", []string{`r.py:2:57: warning: the approval "a" was used before, in line 2; every gate of a run needs its own ID`}},
		{"a syntax error", "def work(d):\n    try:\n        pass\n", []string{"r.py:2:5: error: got try, want primary expression; there is no try in runbooks; use attempt(fn, ...) and look at the outcome's .ok, .error and .kind"}},
		{"a load", "load('a.py', 'b')\n\ndef work(d):\n    pass\n", []string{"r.py:1:1: error: a runbook cannot load another file; put the functions into this file; only test files load"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, f := range Lint("r.py", tt.source) {
				got = append(got, f.String())
			}
			require.Equal(t, tt.want, got)
		})
	}
}

func TestLintOfTheFleetGuidesRunbookFindsNothing(t *testing.T) {
	require.Empty(t, Lint("auto_remediation.py", guideSource(t), "handle_device_offline"))
}

func TestLintMissesTheFunctionThatTheCallerWillStart(t *testing.T) {
	found := Lint("r.py", "def work(d):\n    pass\n", "werk", "work")
	require.Len(t, found, 1)
	require.Equal(t, "r.py: error: there is no function werk; did you mean work?", found[0].String())
}
