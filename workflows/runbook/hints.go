package runbook

import (
	"regexp"
	"strings"
	"sync"
)

// hint is what to say to someone who writes Python where the runbook language
// differs. A hint applies when both patterns match; a nil pattern always does.
type hint struct {
	message *regexp.Regexp // the error's message
	code    *regexp.Regexp // the source line, without comments
	text    string
}

// hints are tried in order; the first that applies is given.
var hints = sync.OnceValue(func() []hint {
	return []hint{
		{code: re(`^\s*(try|except|finally)\b`), text: "there is no try in runbooks; use attempt(fn, ...) and look at the outcome's .ok, .error and .kind"},
		{code: re(`^\s*(import|from)\b`), text: "runbooks import nothing; every action and builtin is already there"},
		{code: re(`^\s*class\b`), text: "there are no classes; use functions and dicts"},
		{code: re(`^\s*(async\b|await\b)|\bawait\b`), message: re(`got (async|await)`), text: "there is no async; an action waits by itself, and parallel(fn, ...) runs several"},
		{code: re(`\bwhile\b`), message: re(`while`), text: "there are no while loops; use for i in range(n), with break, so that every loop has a bound"},
		{code: re(`^\s*with\b`), message: re(`got with`), text: "there is no with; use on_exit(fn, ...) for what has to happen at the end"},
		{code: re(`\braise\b`), message: re(`got raise|undefined: raise`), text: `there are no exceptions; use fail("message")`},
		{code: re(`\bassert\b`), message: re(`got (identifier|assert)|got .*, want newline|undefined: assert`), text: `there is no assert; use if not condition: fail("message")`},
		{code: re(`^\s*(global|nonlocal)\b`), text: "a function cannot assign to an outer variable; return the value instead"},
		{code: re(`^\s*del\b`), message: re(`got del`), text: "there is no del; use list.pop(i) or dict.pop(key)"},
		{code: re(`\byield\b`), message: re(`got yield`), text: "there are no generators; build a list and return it"},
		{code: re(`^\s*@`), text: "there are no decorators; call the function that wraps instead"},
		{code: re(`\b[fF]["']`), message: re(`string literal`), text: `there are no f-strings; use "... {}".format(x) or "... %s" % x`},
		{message: re(`got string literal, want newline`), code: re(`^\s*print\s+["']`), text: "print is a function: print(x)"},
		{message: re(`got string literal, want`), text: `adjacent texts are not joined; put + between them`},
		{message: re(`got is\b`), text: "there is no is; use == or !="},
		{message: re(`\*\*`), code: re(`\*\*`), text: "there is no power operator; multiply instead"},
		{message: re(`want ':'`), code: re(`\{`), text: "there are no set literals; use a list, or a dict with True as the values"},
		{message: re(`support sets`), text: "there are no sets; use a list, or a dict with True as the values"},
		{message: re(`got for, want '\)'`), text: "there are no generator expressions; use a list: [x for x in y]"},
		{message: re(`got ':'`), code: re(`:=`), text: "there is no := ; assign on a line of its own"},
		{message: re(`got ':'|got '->'|got '-'`), code: re(`^\s*def\b.*(\w\s*:\s*\w|->)|^\s*\w+\s*:\s*\w+\s*=`), text: "there are no type annotations"},
		{message: re(`(if|for) (statement|loop) not within a function`), text: "if and for stand inside functions only"},
		{message: re(`recursively`), text: "a function cannot call itself; use a for loop"},
		{message: re(`cannot reassign (global|top-level)|cannot reassign \w+ \w+ declared`), text: "a name at the top of the file is given one value, once"},
		{message: re(`does not associate with`), text: "comparisons do not chain: write a < b and b < c"},
		{message: re(`unexpected input character '!'|want primary expression`), code: re(`&&|\|\||!\w`), text: "use and, or, not"},
		{message: re(`want primary expression`), code: re(`\+\+|--`), text: "there is no ++; use x += 1"},
		{message: re(`keyword argument may not follow \*args`), text: "write the named arguments first: parallel(limit=3, *functions)"},
		{message: re(`got else`), text: "loops have no else"},
		{message: re(`want indent`), text: "indent the body of the line above"},
		{message: re(`undefined: (sum|map|filter|round|pow|divmod|iter|next|isinstance|object|super|open|eval|exec|input|globals|locals|vars|callable|format|frozenset|memoryview|bytearray|complex|id|slice|__import__)\b`), text: "this builtin of Python does not exist here; the README of the runbook language lists those that do"},
		{message: re(`undefined: (os|sys|time|datetime|json|re|subprocess|logging|requests|math|random)\b`), text: "runbooks import nothing; use now(), sleep(), print() and the actions"},
		{message: re(`undefined: (Exception|ValueError|RuntimeError|KeyError|TypeError)\b`), text: `there are no exceptions; use fail("message") and attempt(fn, ...)`},
		{message: re(`frozen|cannot (insert|append|delete|clear|apply).*(hash table|list)`), text: "values at the top of the file and answers of actions cannot be changed; make a copy with list(x) or dict(x)"},
		{message: re(`string \+ int|int \+ string|string \+ \w+ not|unknown binary op: (string \+|\w+ \+ string)`), text: "use str(x), or \"... {}\".format(x)"},
		{message: re(`string value is not iterable|string is not iterable`), text: "a text is not iterated over by itself; use text.elems()"},
		{message: re(`obsolete form of octal|got identifier, want newline`), code: re(`\d_\d`), text: "numbers have no underscores"},
	}
})

func re(pattern string) *regexp.Regexp { return regexp.MustCompile(pattern) }

// hintFor returns the hint for an error, or "".
func hintFor(message, line string) string {
	code, _, _ := strings.Cut(line, "#")
	for _, h := range hints() {
		if (h.message == nil || h.message.MatchString(message)) && (h.code == nil || h.code.MatchString(code)) {
			return h.text
		}
	}
	return ""
}
