package toolchain

import (
	"context"
	"os"
)

// TB is the part of testing.TB that ForTest needs.
type TB interface {
	Helper()
	Context() context.Context
	Fatal(args ...any)
}

// ForTest returns a tool to a test of this repository. When it is missing, the
// test fails and says how to build it; with CI=true it is built.
func ForTest(t TB, name string) string {
	t.Helper()
	root, err := Root(".")
	if err != nil {
		t.Fatal(err)
	}
	var path string
	if os.Getenv("CI") == "true" {
		path, err = Ensure(t.Context(), root, name, os.Stderr)
	} else {
		path, err = Find(root, name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
