package runbook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"go.starlark.net/starlark"

	"edgefleet/workflows/contract"
)

// TestResult is one test: a function of a test file whose name begins with
// test_.
type TestResult struct {
	File string `json:"file"`
	Name string `json:"name"`
	// Failures are empty when the test passed.
	Failures []*Error `json:"-"`
	// Messages are the failures as text: "file:line:col: message".
	Messages []string `json:"failures,omitempty"`
	// Log is the timeline that the runbook wrote.
	Log []string `json:"log,omitempty"`
}

// Passed tells whether nothing failed.
func (r TestResult) Passed() bool { return len(r.Failures) == 0 }

// Test runs every test of the files, in order, each in a world of its own. An
// error is a file that cannot be read or loaded, as *Error; a test that fails
// is a result. Test files load runbooks of their own folder and below it.
func Test(files ...string) ([]TestResult, error) {
	var all []TestResult
	for _, file := range files {
		results, err := testOnDisk(file)
		all = append(all, results...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// testOnDisk opens the file's folder as a root, so that no link or ".." leads
// out of it.
func testOnDisk(file string) ([]TestResult, error) {
	root, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return TestFS(root.FS(), filepath.Base(file))
}

// TestFS is Test for one file of a file system, by its slash-separated name.
func TestFS(fsys fs.FS, name string) ([]TestResult, error) {
	prog, err := readProgram(fsys, name, inTest)
	if err != nil {
		return nil, err
	}
	var results []TestResult
	for _, fn := range prog.functionNames() {
		if strings.HasPrefix(fn, "test_") {
			results = append(results, runTest(fsys, prog, fn))
		}
	}
	if len(results) == 0 {
		return nil, &Error{Type: contract.ErrNotFound, At: Position{File: name}, Msg: "the file has no function whose name begins with test_"}
	}
	return results, nil
}

func readProgram(fsys fs.FS, name string, d dialect) (*program, error) {
	source, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, &Error{Type: contract.ErrNotFound, At: Position{File: name}, Msg: err.Error(), Cause: err}
	}
	return compile(name, string(source), d)
}

// runTest runs one test. Everything is loaded anew, so that no test sees what
// another did.
func runTest(fsys fs.FS, prog *program, fn string) TestResult {
	c := newTestCase()
	r := newRun("", Limits{}, sources{prog.name: prog.source})
	r.test, r.phase = c, inTestFile
	r.load = loader(r, fsys, path.Dir(prog.name))
	err := func() error {
		globals, err := r.loadModule(prog, testHost{c})
		if err != nil {
			return err
		}
		t := r.task(testHost{c}, fn)
		t.begin()
		_, err = starlark.Call(t.thread, globals[fn], nil, nil)
		return t.ended(err)
	}()
	result := TestResult{File: prog.name, Name: fn, Failures: c.failures, Log: c.log}
	if err == nil && c.fault != nil {
		err = c.fault
	}
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Type: contract.ErrRunbook, At: Position{File: prog.name}, Msg: err.Error()}
		}
		result.Failures = append(result.Failures, e)
	}
	for _, f := range result.Failures {
		result.Messages = append(result.Messages, f.Error())
	}
	return result
}

// loader returns the handler of load for a test file in folder dir.
func loader(r *run, fsys fs.FS, dir string) func(*starlark.Thread, string) (starlark.StringDict, error) {
	loaded := map[string]starlark.StringDict{}
	return func(th *starlark.Thread, module string) (starlark.StringDict, error) {
		if !filepath.IsLocal(module) || strings.Contains(module, `\`) {
			return nil, fmt.Errorf("want a file in the folder of the test or below it")
		}
		name := path.Join(dir, module)
		if globals, ok := loaded[name]; ok {
			return globals, nil
		}
		prog, err := readProgram(fsys, name, inRunbook)
		if err != nil {
			return nil, err
		}
		r.texts[prog.name] = prog.source
		globals, err := r.loadModule(prog, taskOf(th).host)
		if err == nil {
			loaded[name] = globals
		}
		return globals, err
	}
}
