package runbook

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/workflows/contract"
)

// runWith runs work(d) of a source against canned answers.
func runWith(source string, c *testCase, limits Limits) (string, error) {
	prog, err := compile("r.py", source, inRunbook)
	if err != nil {
		return "", err
	}
	return execute(prog, "work", "edge-001", testHost{c}, limits)
}

func runSource(source string) (string, error) { return runWith(source, newTestCase(), Limits{}) }

// body wraps statements into the function work.
func body(statements string) string {
	return "def work(d):\n    " + strings.ReplaceAll(strings.TrimSpace(statements), "\n", "\n    ") + "\n"
}

// TestNoSourceTakesAWorkerDown is the table of attacks. Each of them has to
// end soon, with the right type of error, a place, and a message of bounded
// size; that the test process is still there afterwards is the point.
func TestNoSourceTakesAWorkerDown(t *testing.T) {
	const budget, script = contract.ErrBudget, contract.ErrRunbook
	deep := "x = []\nfor i in range(50000):\n    x = [x]\n"
	dag := "x = ()\nfor i in range(60):\n    x = (x, x)\n"
	wide := "x = [1] * 90000\ny = [x] * 90000\n"
	for _, tt := range []struct{ name, source, kind, says string }{
		{"a loop without end", body("for _ in range(10*1000*1000*1000):\n    pass"), budget, "500000 steps"},
		{"nested loops", body("for a in range(10000):\n    for b in range(10000):\n        pass"), budget, "steps"},
		{"a list of a huge range", body("x = list(range(20000000))"), budget, "elements"},
		{"a tuple of a huge range", body("x = tuple(range(20000000))"), budget, "elements"},
		{"a list display spread from a range", body("def f(*a):\n    return a\nx = f(*range(20000000))"), budget, "elements"},
		{"a huge text by repetition", body("x = 'a' * 1000000000"), budget, "bytes"},
		{"a huge text by repetition, the other way round", body("x = 1000000000 * 'a'"), budget, "bytes"},
		{"huge bytes by repetition", body("x = b'a' * 1000000000"), budget, "bytes"},
		{"a huge list by repetition", body("x = [1] * 1000000000"), budget, "elements"},
		{"a huge tuple by augmented repetition", body("x = (1,)\nx *= 1000000000"), budget, "elements"},
		{"a repetition count that overflows", body("x = 'ab' * (1 << 100)"), budget, "bytes"},
		{"a text that doubles", body("s = 'a'\nfor i in range(100):\n    s = s + s"), budget, "bytes"},
		{"a text that doubles in place", body("s = 'a'\nfor i in range(100):\n    s += s"), budget, "bytes"},
		{"a list that doubles", body("s = [1]\nfor i in range(100):\n    s = s + s"), budget, "elements"},
		{"a list that doubles in place", body("s = [1]\nfor i in range(100):\n    s += s"), budget, "elements"},
		{"a list in a dict that doubles in place", body("s = {'a': [1]}\nfor i in range(100):\n    s['a'] += s['a']"), budget, "elements"},
		{"a list that is extended by itself", body("s = [1]\nfor i in range(100):\n    s.extend(s)"), budget, "elements"},
		{"extend as a value", body("s = [1]\nf = s.extend\nfor i in range(100):\n    f(s)"), budget, "elements"},
		{"extend by getattr", body("s = [1]\nfor i in range(100):\n    getattr(s, 'ext' + 'end')(s)"), budget, "elements"},
		{"a list of many slices", body("s = [1] * 50000\nx = []\nfor i in range(10000):\n    x.append(s[:])"), budget, "budget"},
		{"an integer that squares", body("x = 10\nfor i in range(100):\n    x = x * x"), budget, "bits"},
		{"an integer that squares in place", body("x = 10\nfor i in range(100):\n    x *= x"), budget, "bits"},
		{"an integer that doubles by addition", body("x = 1\nfor i in range(100000):\n    x = x + x"), budget, "bits"},
		{"an integer that doubles by subtraction", body("x = 1\nfor i in range(100000):\n    x = x - (0 - x)"), budget, "bits"},
		{"a huge shift", body("x = 1 << 1000000"), budget, "bits"},
		{"repeated shifts", body("x = 1\nfor i in range(100):\n    x = x << 500"), budget, "bits"},
		{"an integer of a huge text", body("x = int('9' * 100000)"), script, "too long"},
		{"an integer of many binary digits", body("x = int('1' * 5000, 2)"), budget, "bits"},
		{"a huge number in the source", "X = " + strings.Repeat("9", 5000) + "\ndef work(d):\n    pass\n", script, "bits"},
		{"str of a deep list", body(deep + "s = str(x)"), budget, "nests deeper"},
		{"print of a deep list", body(deep + "print(x)"), budget, "nests deeper"},
		{"fail with a deep list", body(deep + "fail(x)"), budget, "nests deeper"},
		{"percent of a deep list", body(deep + "s = '%s' % x"), budget, "nests deeper"},
		{"percent of a deep list in a tuple", body(deep + "s = '%r %r' % (1, x)"), budget, "nests deeper"},
		{"format of a deep list", body(deep + "s = '{}'.format(x)"), budget, "nests deeper"},
		{"format of a deep list by keyword", body(deep + "s = '{x}'.format(x=x)"), budget, "nests deeper"},
		{"returning a deep list", body(deep + "return x"), budget, "nests deeper"},
		{"comparing deep lists", body(deep + "y = [x]\nreturn x == y"), budget, "nests deeper"},
		{"a deep list among others", body(deep + "return x in [1, 2, x]"), budget, "nests deeper"},
		{"hashing a deep tuple", body("x = ()\nfor i in range(50000):\n    x = (x,)\ny = {x: 1}"), budget, "nests deeper"},
		{"a deep tuple as an index", body("x = ()\nfor i in range(50000):\n    x = (x,)\ny = {}\ny[x] = 1"), budget, "nests deeper"},
		{"a deep tuple as a key of get", body("x = ()\nfor i in range(50000):\n    x = (x,)\ny = {}.get(x)"), budget, "nests deeper"},
		{"a deep tuple as the key of a comprehension", body("x = ()\nfor i in range(50000):\n    x = (x,)\ny = {k: 1 for k in [x]}"), budget, "nests deeper"},
		{"a deep tuple among the keys of dict", body("x = ()\nfor i in range(50000):\n    x = (x,)\ny = dict([(x, 1)])"), budget, "nests deeper"},
		{"freezing a deep list", "def deep():\n    x = []\n    for i in range(50000):\n        x = [x]\n    return x\nX = deep()\ndef work(d):\n    pass\n", budget, "nests deeper"},
		{"freezing a function that holds itself", "def f():\n    def g():\n        return g\n    return g\nX = f()\ndef work(d):\n    pass\n", budget, "nests deeper"},
		{"freezing a tuple of shared tuples", "def f():\n    x = ()\n    for i in range(60):\n        x = (x, x)\n    return x\nX = f()\ndef work(d):\n    pass\n", budget, ""},
		{"str of shared tuples", body(dag + "s = str(x)"), budget, ""},
		{"hashing shared tuples", body(dag + "s = {x: 1}"), budget, ""},
		{"comparing shared tuples", body(dag + "y = ()\nfor i in range(60):\n    y = (y, y)\nreturn x == y"), budget, ""},
		{"comparing wide lists of wide lists", body(wide + "z = [[1] * 90000] * 90000\nreturn y == z"), budget, "budget"},
		{"a value that contains itself", body("x = []\nx.append(x)\nreturn str(x)"), budget, "contains itself"},
		{"a value that contains itself, compared", body("x = []\nx.append(x)\ny = []\ny.append(y)\nreturn x == y"), budget, "contains itself"},
		{"a giant format", body("x = 'a' * 100000\ns = ('{0}' * 1000).format(x)"), budget, "bytes"},
		{"a giant percent", body("x = 'a' * 100000\ns = ('%(k)s' * 1000) % {'k': x}"), budget, "bytes"},
		{"a giant percent of a tuple", body("x = 'a' * 100000\ns = ('%s' * 1000) % tuple([x] * 1000)"), budget, "budget"},
		{"a replace bomb", body("x = 'a' * 10000\ns = x.replace('a', x)"), budget, "bytes"},
		{"a replace bomb of nothing", body("x = 'a' * 10000\ns = x.replace('', x)"), budget, "bytes"},
		{"a join bomb", body("x = 'a' * 10000\ns = x.join(['b'] * 10000)"), budget, "bytes"},
		{"a split bomb", body("x = 'a' * 500000\ns = x.split('a')"), budget, "elements"},
		{"a bomb of split on spaces", body("x = 'a ' * 400000\ns = x.split()"), budget, "elements"},
		{"splitting many times", body("x = 'a ' * 40000\nfor i in range(100000):\n    x.split(' ')"), budget, "budget"},
		{"case of a long text, many times", body("x = 'a' * 1000000\nfor i in range(100000):\n    x.upper()"), budget, "budget"},
		{"searching a long text, many times", body("x = 'a' * 1000000\nfor i in range(100000):\n    x.count('ab')"), budget, "steps"},
		{"searching a long text with in, many times", body("x = 'a' * 1000000\nfor i in range(100000):\n    'ab' in x"), budget, "steps"},
		{"searching a long list, many times", body("x = [1] * 90000\nfor i in range(100000):\n    2 in x"), budget, "steps"},
		{"index of a long list, many times", body("x = [1] * 90000 + [2]\nfor i in range(100000):\n    x.index(2)"), budget, "steps"},
		{"sorting something huge", body("x = sorted(range(1000000000))"), budget, "elements"},
		{"sorting long texts that begin alike", body("a = 'a' * 1000000\nx = sorted([a + 'b', a + 'c', a + 'd'] * 20000)"), budget, "steps"},
		{"sorting by a key without end", body("x = sorted([1, 2], key=lambda v: [w for w in range(1000000000)])"), budget, "steps"},
		{"the maximum of something huge", body("x = max(range(1000000000))"), budget, "elements"},
		{"any of something huge", body("x = any([0] * 99999)\nfor i in range(1000):\n    any([0] * 99999)"), budget, "budget"},
		{"zip of huge ranges", body("x = zip(range(1000000000), range(1000000000))"), budget, "elements"},
		{"enumerate of a huge range", body("x = enumerate(range(1000000000))"), budget, "elements"},
		{"reversed of a huge range", body("x = reversed(range(1000000000))"), budget, "elements"},
		{"a list comprehension without end", body("x = [i for i in range(1000000000)]"), budget, "steps"},
		{"a dict comprehension without end", body("x = {i: i for i in range(1000000000)}"), budget, "steps"},
		{"a dict of keys that collide", body("x = {}\nfor i in range(1000000):\n    x[i * 4294967296] = i"), budget, "steps"},
		{"a dict of tuples that collide", body("x = {}\nfor i in range(1000000):\n    x[(i * 4294967296, 0)] = i"), budget, "steps"},
		{"dicts that are merged again and again", body("x = {i: i for i in range(20000)}\nfor i in range(1000000):\n    y = x | x"), budget, "budget"},
		{"dicts that are updated again and again", body("x = {i: i for i in range(20000)}\nfor i in range(1000000):\n    x.update(x)"), budget, "steps"},
		{"dicts of keys that collide, merged again and again", body("x = {}\nfor i in range(1000):\n    x[i * 4294967296] = i\nsleep(1)\nfor i in range(1000000):\n    y = x | {}"), budget, "steps"},
		{"spreading long names again and again", body("def f(**k):\n    pass\nx = {'a' * 1000000: 1}\nfor i in range(1000000):\n    f(**x)"), budget, "steps"},
		{"getattr of a long name again and again", body("x = 'a' * 1000000\nfor i in range(1000000):\n    getattr(1, x, 0)"), budget, "steps"},
		{"hasattr of a long name again and again", body("x = 'a' * 1000000\nfor i in range(1000000):\n    hasattr('', x)"), budget, "steps"},
		{"comparing with a long literal again and again", body("x = '" + strings.Repeat("a", 200000) + "'\ny = x + ''\nfor i in range(1000000):\n    y == '" + strings.Repeat("a", 50000) + "'\n    y == x"), budget, "steps"},
		{"a long literal as a key again and again", body("y = {}\nfor i in range(1000000):\n    y['" + strings.Repeat("a", 200000) + "'] = 1"), budget, "steps"},
		{"items again and again", body("x = {i: i for i in range(20000)}\nfor i in range(1000000):\n    x.items()"), budget, "budget"},
		{"bytes of a huge range", body("x = bytes(range(1000000000))"), budget, "steps"},
		{"recursion", body("return work(d)"), script, "recursively"},
		{"recursion by attempt", body("attempt(work, d)"), script, "recursively"},
		{"recursion by parallel", body("parallel(lambda: work(d))"), script, "nests deeper"},
		{"parallel without end", body("for i in range(1000000):\n    parallel(lambda: 1, lambda: 2)"), budget, "steps"},
		{"sleeping without end", body("for i in range(1000000):\n    sleep(1)"), budget, "calls that wait"},
		{"sleeping for no time without end", body("for i in range(1000000):\n    sleep(0)"), budget, "between two calls that wait"},
		{"parallel of nothing without end", body("for i in range(1000000):\n    parallel()"), budget, "between two calls that wait"},
		{"attempt of attempt of attempt", body("attempt(*([attempt] * 90000))"), script, "nests deeper"},
		{"working between sleeps without end", body("for i in range(900):\n    sleep(1)\n    for j in range(50000):\n        pass"), budget, "whole run"},
		{"attempt around a spent budget", body("def f():\n    return 'a' * 1000000000\nattempt(f)\nattempt(f)\nreturn 'alive'"), budget, "bytes"},
		{"deep brackets", "X = " + strings.Repeat("(", 200000) + "\ndef work(d):\n    pass\n", script, "nest deeper"},
		{"deep brackets behind texts", "X = " + strings.Repeat(`[")",`, 40000) + "\ndef work(d):\n    pass\n", script, "nest deeper"},
		{"a chain of operators", "X = 1" + strings.Repeat("+1", 100000) + "\ndef work(d):\n    pass\n", script, "nests deeper"},
		{"a chain of minus signs", "X = " + strings.Repeat("-", 200000) + "1\ndef work(d):\n    pass\n", script, "nest"},
		{"a chain of not", "X = " + strings.Repeat("not ", 50000) + "1\ndef work(d):\n    pass\n", script, "nest"},
		{"a chain of lambda", "X = " + strings.Repeat("lambda:", 30000) + "1\ndef work(d):\n    pass\n", script, "nest"},
		{"a chain of conditions", "X = " + strings.Repeat("1 if 1 else ", 20000) + "1\ndef work(d):\n    pass\n", script, "nest"},
		{"a chain of fields", "X = d" + strings.Repeat(".a", 100000) + "\ndef work(d):\n    pass\n", script, "nests deeper"},
		{"a source that is too large", strings.Repeat("# comment\n", 30000), script, "bytes"},
		{"a source that is no text", "def work(d):\n    return '\xff'\n", script, "UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			// The budgets alone have to end it, also on a machine so slow that
			// the watchdog would be first.
			_, err := runWith(tt.source, newTestCase(), Limits{Watchdog: time.Minute})
			took := time.Since(began)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, tt.kind, e.Type, e.Error())
			require.Contains(t, e.Msg, tt.says)
			require.False(t, errors.Is(err, errStalled))
			require.NotEmpty(t, e.At.File, e.Error())
			require.Less(t, len(e.Error()), 4096)
			require.Less(t, took, 10*time.Second)
		})
	}
}

func TestABudgetIsSpentAtTheSamePlaceEveryTime(t *testing.T) {
	source := body("x = []\nfor i in range(1000000):\n    x.append(str(i) + 'a' * i)")
	_, first := runSource(source)
	for range 3 {
		_, again := runSource(source)
		require.EqualError(t, again, first.Error())
	}
	require.ErrorContains(t, first, "r.py:4")
}

func TestTheWatchdogEndsASegmentThatTakesTooLong(t *testing.T) {
	limits := Limits{SegmentSteps: 1 << 40, TotalSteps: 1 << 40, Watchdog: 20 * time.Millisecond}
	began := time.Now()
	_, err := runWith(body("for i in range(10000000000):\n    pass"), newTestCase(), limits)
	require.ErrorIs(t, err, errStalled)
	require.Less(t, time.Since(began), 5*time.Second)
}
