package runbook

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.starlark.net/starlark"
	"pgregory.net/rapid"

	"edgefleet/workflows/contract"
)

// fleetCase answers every action: a device that is dark and drifted.
func fleetCase() *testCase {
	c := newTestCase()
	c.answers["check_network"] = []canned{{truth: false, fields: map[string]any{"diagnosis": "no route", "verdicts": []any{map[string]any{"check": "tcp connect", "result": "failed"}}}}}
	c.answers["trigger_network_reset"] = []canned{{truth: true}}
	c.answers["detect_config_drift"] = []canned{{truth: true, fields: map[string]any{"drifted": []any{map[string]any{"setting": "VRef", "want": "230", "got": "231"}}}}}
	c.answers["apply_baseline_config"] = []canned{{err: &ActionError{Kind: contract.ErrRejected, Msg: "apply_baseline_config: interlock is open"}}}
	c.approvals["a"] = contract.Decision{Gate: "a", Approved: true, By: "ann"}
	c.answers["verify_device"] = []canned{{truth: true}}
	return c
}

func TestTheLanguageDoesWhatItsReferenceSays(t *testing.T) {
	for _, tt := range []struct{ name, source, want string }{
		{"an action's truth is its answer", "return '%s %s' % (bool(check_network(d)), bool(trigger_network_reset(d)))", "False True"},
		{"an action's fields are those of the report", "r = check_network(device_id=d)\nreturn r.diagnosis + ' ' + r.verdicts[0].check + ' ' + r.device_id", "no route tcp connect edge-001"},
		{"an action's report prints as a call", "return str(detect_config_drift(d))", `drift_report(device_id="edge-001", baseline="", version="", checked=0, drifted=[setting_drift(setting="VRef", want="230", got="231", unit="", diff="")], ignored=[])`},
		{"a report's type has a name", "return type(check_network(d))", "network_report"},
		{"reports compare by their fields", "return str(check_network(d) == check_network(d))", "True"},
		{"parameters may be positional or named", "return update_incident_status(d, 'investigating', note='x').status", "investigating"},
		{"None is a parameter that is not given", "return update_incident_status(d, status=None).status", "mitigated"},
		{"attempt gives the value", "out = attempt(check_network, d)\nreturn '%s %s %s %s' % (out.ok, out.value.reachable, out.error, out.kind)", "True False None None"},
		{"attempt gives the failure of an action", "out = attempt(apply_baseline_config, d)\nreturn '%s %s %s %s' % (out.ok, out.value, out.error, out.kind)", "False None apply_baseline_config: interlock is open rejected"},
		{"attempt gives what fail said", "out = attempt(fail, 'no')\nreturn '%s %s %s' % (bool(out), out.error, out.kind)", "False no fail"},
		{"attempt passes keywords on", "return attempt(update_incident_status, device_id=d, status='mitigated').value.status", "mitigated"},
		{"parallel keeps the order", "return str(parallel(lambda: 1, lambda: [2], lambda: '3'))", `[1, [2], "3"]`},
		{"parallel of nothing is an empty list", "return str(parallel())", "[]"},
		{"now has the parts of a time", "t = now()\nreturn '%s %d %d %s' % (t.iso, t.unix, t.year, t.weekday)", "2024-01-01T00:00:00Z 1704067200 2024 monday"},
		{"sleep moves the time", "a = now().unix\nsleep('1m30s')\nsleep(0.5)\nsleep(10)\nreturn str(now().unix - a)", "100"},
		{"augmented index assignment evaluates its parts once", "n = []\ndef i():\n    n.append(1)\n    return 0\nx = [5]\nx[i()] += 2\nreturn '%s %s' % (x, n)", "[7] [1]"},
		{"augmented assignment changes a list in place", "x = [1]\ny = x\nx += (2, 3)\nreturn str(y)", "[1, 2, 3]"},
		{"augmented assignment changes a dict in place", "x = {1: 1}\ny = x\nx |= {2: 2}\nreturn str(y)", "{1: 1, 2: 2}"},
		{"methods as values keep their receiver", "f = 'a-b'.split\nreturn str(f('-'))", `["a", "b"]`},
		{"sorted is stable and takes a key", "return str(sorted(['bb', 'a', 'cc', 'd'], key=len, reverse=True))", `["bb", "cc", "a", "d"]`},
		{"min and max take a key", "return min(['bb', 'a'], key=len) + max('x', 'yy', key=len)", "ayy"},
		{"slices follow Python", "x = [0, 1, 2, 3, 4]\nreturn '%s %s %s %s' % (x[1:3], x[::-2], x[-2:], 'hello'[4:1:-1])", "[1, 2] [4, 2, 0] [3, 4] oll"},
		{"None returns nothing", "return None", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := runWith(body(tt.source), fleetCase(), Limits{})
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
}

func TestMistakesAreReportedWithTheirPlaceAndRemedy(t *testing.T) {
	for _, tt := range []struct{ name, source, want string }{
		{"another device", body("check_network('edge-002')"), `r.py:2:18: check_network: this run holds the lease of "edge-001" alone and cannot act on "edge-002"`},
		{"no device", body("check_network()"), "r.py:2:18: check_network: missing argument for device_id"},
		{"an unknown parameter", body("update_incident_status(d, statuss='x')"), `r.py:2:27: update_incident_status: unexpected keyword argument "statuss" (did you mean status?)`},
		{"an unknown value", body("update_incident_status(d, 'fixed')"), `r.py:2:27: update_incident_status: for parameter status: got "fixed", want one of investigating, mitigated`},
		{"a parameter that is no text", body("update_incident_status(d, note=3)"), "for parameter note: got int, want string"},
		{"a positional timeout", body("check_network(d, '5s')"), "got 2 positional arguments, want at most 1"},
		{"a timeout that is none", body("check_network(d, timeout='soon')"), `"soon" is not a duration`},
		{"a timeout that is too long", body("check_network(d, timeout=1000000)"), "for parameter timeout: want 1s to 1h0m0s"},
		{"a timeout that is not a number", body("check_network(d, timeout=float('nan'))"), "for parameter timeout: want 1s to 1h0m0s"},
		{"retries out of range", body("check_network(d, retries=-1)"), "for parameter retries: want a number from 0 to 100"},
		{"a sleep that is too long", body("sleep('25h')"), "for parameter duration: want 0s to 24h0m0s"},
		{"a negative sleep", body("sleep(-1)"), "for parameter duration: want 0s to 24h0m0s"},
		{"an action at the top of the file", "X = check_network('edge-001')\ndef work(d):\n    pass\n", "r.py:1:18: check_network cannot be called at the top of the file, while it loads; call it inside a function"},
		{"a sleep at the top of the file", "def nap():\n    sleep(1)\nX = nap()\ndef work(d):\n    pass\n", "r.py:2:10: sleep cannot be called at the top of the file"},
		{"a call instead of a function for attempt", body("attempt(check_network(d))"), "attempt: got network_report, want a function; write attempt(fn, argument), not attempt(fn(argument))"},
		{"a call instead of a function for parallel", body("parallel(check_network(d))"), "write parallel(lambda: fn(argument))"},
		{"too many functions at once", body("parallel(*([work] * 65))"), "parallel: got 65 functions, want at most 64"},
		{"a limit of nothing", body("parallel(limit=0)"), "for parameter limit: want a number from 1 to 64"},
		{"an approval ID twice", body("wait_for_approval('a', 'x')\nwait_for_approval('a', 'y')"), `r.py:3:22: wait_for_approval: the ID "a" was used before, at r.py:2; every gate of a run needs its own`},
		{"an approval ID that is empty", body("wait_for_approval('', 'x')"), "for parameter id: want 1 to 64 characters"},
		{"attempt does not hide a wrong type", body("attempt(lambda: 1 + 'a')"), "r.py:2:23: unknown binary op: int + string"},
		{"attempt does not hide a wrong call", body("attempt(check_network, d, d)"), "got 2 positional arguments"},
		{"attempt does not hide another device", body("attempt(check_network, 'edge-002')"), "holds the lease"},
		{"a global that is changed", "X = [1]\ndef work(d):\n    X.append(2)\n", "cannot append to frozen list"},
		{"a global list that is extended in place", "X = {'a': [1]}\ndef work(d):\n    X['a'] += [2]\n", "frozen list"},
		{"a report that is changed", body("detect_config_drift(d).drifted.append(1)"), "cannot append to frozen list"},
		{"a field that does not exist", body("check_network(d).reachabel"), "network_report has no .reachabel"},
		{"a method that does not exist", body("'a'.index.upper"), "no .upper"},
		{"a key that is missing", body("x = {}\nx[(1, 'a')]"), `key (1, "a") not in dict`},
		{"on_exit that fails", body("on_exit(fail, 'late')"), "late"},
		{"on_exit in on_exit", body("on_exit(lambda: on_exit(fail, 'x'))"), "on_exit cannot be called by a function of on_exit"},
		{"a gate in on_exit", body("on_exit(lambda: wait_for_approval('a', 'b'))"), "wait_for_approval cannot be called by a function of on_exit"},
		{"a function that is not there", "def werk(d):\n    pass\n", "r.py: there is no function work; did you mean werk?"},
		{"a function of two arguments", "def work(d, e):\n    pass\n", "r.py:1: work has to take one argument, the device's ID"},
		{"a function without arguments", "def work():\n    pass\n", "has to take one argument"},
		{"a load", "load('a.py', 'b')\ndef work(d):\n    pass\n", "r.py:1:1: a runbook cannot load another file"},
		{"an undefined name", body("chek_network(d)"), "r.py:2:5: undefined: chek_network\n    chek_network(d)\n  hint: did you mean check_network?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := runWith(tt.source, fleetCase(), Limits{})
			require.ErrorContains(t, err, tt.want)
			var e *Error
			require.ErrorAs(t, err, &e)
		})
	}
}

func TestPythonHabitsGetAHint(t *testing.T) {
	for code, want := range map[string]string{
		"def f(d):\n    try:\n        x = 1\n    except E:\n        pass\n": "attempt(fn, ...)",
		"import os\n":                                         "import nothing",
		"from os import path\n":                               "import nothing",
		"class A:\n    pass\n":                                "no classes",
		"def f(d):\n    while True:\n        pass\n":          "for i in range(n)",
		"def f(d):\n    with open('x') as g:\n        pass\n": "on_exit",
		"def f(d):\n    raise E\n":                            "fail(",
		"def f(d):\n    assert d\n":                           "no assert",
		"def f(d):\n    global y\n":                           "return the value",
		"def f(d):\n    nonlocal y\n":                         "return the value",
		"def f(d):\n    del d[0]\n":                           "pop",
		"def f(d):\n    yield 1\n":                            "no generators",
		"def f(d):\n    return f'a{d}'\n":                     "f-strings",
		"x = 'a' 'b'\n":                                       "put + between",
		"def f(d):\n    print 'x'\n":                          "print(x)",
		"x = 1 is None\n":                                     "use == or !=",
		"x = 2 ** 3\n":                                        "no power operator",
		"x = {1, 2}\n":                                        "no set literals",
		"x = set([1])\n":                                      "no sets",
		"x = (i for i in [1])\n":                              "generator expressions",
		"async def f(d):\n    pass\n":                         "parallel(fn, ...)",
		"def f(d):\n    await d\n":                            "parallel(fn, ...)",
		"if True:\n    x = 1\n":                               "inside functions only",
		"def f(d: int):\n    pass\n":                          "no type annotations",
		"x: int = 1\n":                                        "no type annotations",
		"def f(d):\n    if (n := 3):\n        pass\n":         "no :=",
		"@dec\ndef f(d):\n    pass\n":                         "no decorators",
		"def f(d):\n    d++\n":                                "x += 1",
		"x = 1 < 2 < 3\n":                                     "comparisons do not chain",
		"x = 1 && 2\n":                                        "and, or, not",
		"x = !True\n":                                         "and, or, not",
		"x = sum([1])\n":                                      "does not exist here",
		"x = open('f')\n":                                     "does not exist here",
		"x = os.path\n":                                       "import nothing",
		"x = 1\nx = 2\n":                                      "one value, once",
		"def f(d):\n    for i in d:\n        pass\n    else:\n        pass\n": "loops have no else",
		"def f(d):\nreturn 1\n":     "indent the body",
		"x = 1_000\n":               "no underscores",
		"x = print(*[1], sep='')\n": "named arguments first",
	} {
		_, err := compile("r.py", code, inRunbook)
		require.Error(t, err, code)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Contains(t, e.Hint, want, "%s: %v", code, err)
	}
	for source, want := range map[string]string{
		body("x = 'a' + 1"):                       "str(x)",
		body("for c in 'abc':\n    pass"):         "text.elems()",
		body("return work(d)"):                    "for loop",
		"X = []\ndef work(d):\n    X.append(1)\n": "make a copy",
	} {
		_, err := runSource(source)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Contains(t, e.Hint, want, "%s: %v", source, err)
	}
}

func TestOneProgramServesManyRunsAtOnce(t *testing.T) {
	prog, err := compile("r.py", "X = {'a': [1]}\ndef work(d):\n    return str(sorted(X.items()) + [attempt(apply_baseline_config, d).kind])\n", inRunbook)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				got, err := execute(prog, "work", "edge-001", testHost{fleetCase()}, Limits{})
				if err != nil || got != `[("a", [1]), "rejected"]` {
					t.Errorf("got %s, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestPrintsAreBoundedAndTheRunGoesOn(t *testing.T) {
	c := newTestCase()
	got, err := runWith(body("for i in range(5000):\n    print('line', i)\nreturn 'done'"), c, Limits{})
	require.NoError(t, err)
	require.Equal(t, "done", got)
	require.Len(t, c.log, DefaultLimits().Prints+1)
	require.Contains(t, c.log[len(c.log)-1], "the rest is dropped")
}

func TestTheCacheIsBoundedAndKnowsSourcesByNameAndText(t *testing.T) {
	c := NewCache(2)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 50 {
				name := "r" + string(rune('0'+i%3)) + ".py"
				p, err := c.compile(name, body("pass"), inRunbook)
				if err != nil || p.name != name {
					t.Errorf("compile %s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, 2, c.Len())
	a, err := c.compile("a.py", body("pass"), inRunbook)
	require.NoError(t, err)
	b, err := c.compile("a.py", body("pass"), inRunbook)
	require.NoError(t, err)
	require.Same(t, a, b)
	other, err := c.compile("a.py", body("return 1"), inRunbook)
	require.NoError(t, err)
	require.NotSame(t, a, other)
	_, err = c.compile("a.py", "def (", inRunbook)
	require.Error(t, err)
}

// TestGuardsDoNotChangeWhatASourceMeans compares guarded runs with plain
// Starlark, on random programs.
func TestGuardsDoNotChangeWhatASourceMeans(t *testing.T) {
	atoms := []string{"1", "0", "-7", "2.5", "'ab'", "''", "'a b'", "[1, 2]", "[]", "(1, 'x')", "()", "{'a': 1, 2: [3]}", "{}", "None", "True", "x", "y", "z", "range(4)", "b'q'"}
	ops := []string{"+", "-", "*", "/", "//", "%", "|", "&", "^", "<<", ">>", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"}
	calls := []string{"len(%s)", "str(%s)", "repr(%s)", "list(%s)", "tuple(%s)", "sorted(%s)", "reversed(%s)", "enumerate(%s)", "any(%s)", "all(%s)", "min(%s)", "max(%s)", "dict(%s)", "int(%s)", "float(%s)", "bool(%s)", "type(%s)", "hash(%s)", "zip(%s, [1])", "bytes(%s)", "abs(%s)",
		"(%s).upper()", "(%s).split()", "(%s).split('a', 1)", "(%s).join(['p', 'q'])", "(%s).replace('a', 'zz')", "(%s).format(1)", "'{} {a}'.format(%s, a=2)", "'%%s' %% (%s,)", "(%s)[0]", "(%s)[1:]", "(%s)[::-1]", "(%s)[-3:2]", "(%s).keys()", "(%s).items()", "(%s).get(1)", "(%s).index(1)", "(%s).count('a')", "[v for v in %s]", "{str(v): v for v in %s}", "getattr(%s, 'upper', 0)", "(lambda *a, **k: (a, k))(*%s)", "(%s) if x else 1", "-(%s)", "not %s", "hasattr(%s, 'pop')", "dir(%s)", "splat(%s)"}
	statements := []string{"x = %s", "y = %s", "x += %s", "y -= %s", "x *= %s", "y |= %s", "x %%= %s", "z.append(%s)", "z.extend(%s)", "z[0] = %s", "z[0] += %s", "m[%s] = 1", "m.update(%s)", "z += %s", "m['k'] |= %s", "x, y = %s", "z.insert(1, %s)", "m.setdefault(%s, 2)", "z.remove(%s)", "m.pop(%s, 0)"}
	rapid.Check(t, func(t *rapid.T) {
		var expr func(depth int) string
		expr = func(depth int) string {
			switch kind := rapid.IntRange(0, 2).Draw(t, "kind"); {
			case depth == 0 || kind == 0:
				return rapid.SampledFrom(atoms).Draw(t, "atom")
			case kind == 1:
				return "(" + expr(depth-1) + " " + rapid.SampledFrom(ops).Draw(t, "op") + " " + expr(depth-1) + ")"
			}
			return strings.Replace(strings.ReplaceAll(rapid.SampledFrom(calls).Draw(t, "call"), "%%", "\x00"), "%s", expr(depth-1), 1)
		}
		source := "def splat(a):\n    return a\ndef work(d):\n    x, y, z, m = 1, 'a', [1, 2, 3], {'k': {1: 2}}\n"
		for range rapid.IntRange(1, 4).Draw(t, "statements") {
			s := strings.ReplaceAll(rapid.SampledFrom(statements).Draw(t, "statement"), "%%", "\x00")
			source += "    " + strings.Replace(s, "%s", expr(2), 1) + "\n"
		}
		source += "    return [x, y, z, m]\n"
		source = strings.ReplaceAll(source, "\x00", "%")

		globals, err := starlark.ExecFileOptions(options(), &starlark.Thread{}, "r.py", source, nil)
		var want string
		if err == nil {
			var v starlark.Value
			if v, err = starlark.Call(&starlark.Thread{}, globals["work"], starlark.Tuple{starlark.String("edge-001")}, nil); err == nil {
				want = v.String()
			}
		}
		got, guardedErr := runSource(source)
		var e *Error
		if errors.As(guardedErr, &e) && e.Type == contract.ErrBudget {
			return // a value that contains itself, which plain Starlark prints
		}
		if (err == nil) != (guardedErr == nil) {
			t.Fatalf("%s\nplain: %v\nguarded: %v", source, err, guardedErr)
		}
		if err == nil && got != want {
			t.Fatalf("%s\nplain: %s\nguarded: %s", source, want, got)
		}
	})
}

func FuzzLoad(f *testing.F) {
	guide, err := os.ReadFile("testdata/auto_remediation.py")
	require.NoError(f, err)
	f.Add(string(guide))
	f.Add(body("x = [1]\nx[0] += 2\nreturn {k: v for k, v in [(1, 2)]}"))
	f.Add("X = {1: (2,)}\nload('a', b='c')\n")
	f.Add("def work(d, *a, k=1, **w):\n    return lambda x=k: '%s' % x[1:2:-1].y\n")
	f.Fuzz(func(t *testing.T, source string) {
		Lint("r.py", source, "work")
		prog, err := compile("r.py", source, inRunbook)
		if err != nil {
			var e *Error
			require.ErrorAs(t, err, &e)
			return
		}
		limits := Limits{SegmentSteps: 20_000, TotalSteps: 50_000, AllocBytes: 8 << 20, Calls: 20}
		for _, fn := range prog.functionNames() {
			_, _ = execute(prog, fn, "edge-001", testHost{fleetCase()}, limits)
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	source := guideSource(b)
	for b.Loop() {
		if _, err := compile("auto_remediation.py", source, inRunbook); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRunOfTheFleetGuidesRunbook(b *testing.B) {
	prog, err := compile("auto_remediation.py", guideSource(b), inRunbook)
	require.NoError(b, err)
	for b.Loop() {
		c := fleetCase()
		c.answers["apply_baseline_config"] = []canned{{truth: true}}
		if _, err := execute(prog, "handle_device_offline", "edge-001", testHost{c}, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
