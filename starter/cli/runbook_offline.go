package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"edgefleet/workflows/runbook"
)

// What can be said of a runbook without asking anybody: lint, plan and test.

func (a *App) lintCommand() *cli.Command {
	return &cli.Command{
		Name: "lint", Usage: "find mistakes in runbooks; exit code 2 when there are any", ArgsUsage: "FILE...",
		Flags: []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			if err := firstError(someArgs(c), checkOutput(c)); err != nil {
				return err
			}
			findings, files := []runbook.Finding{}, 0
			for _, file := range c.Args().Slice() {
				source, err := os.ReadFile(file)
				if err != nil {
					return usageError{err}
				}
				findings = append(findings, runbook.Lint(file, string(source))...)
				files++
			}
			if err := a.show(c, findings, func(w io.Writer) {
				for _, f := range findings {
					fmt.Fprintln(w, oneLine(f.String()))
				}
				if len(findings) == 0 {
					fmt.Fprintf(w, "no findings in %s\n", plural(files, "file"))
				}
			}); err != nil {
				return err
			}
			if hasErrors(findings) {
				return usagef("%s; a runbook with an error is not run", plural(len(findings), "finding"))
			}
			return nil
		},
	}
}

func hasErrors(findings []runbook.Finding) bool {
	for _, f := range findings {
		if f.Severity == runbook.SeverityError {
			return true
		}
	}
	return false
}

// lintOrRefuse keeps a runbook with mistakes from being started.
func (a *App) lintOrRefuse(file, source, function string) error {
	findings := runbook.Lint(file, source, function)
	for _, f := range findings {
		fmt.Fprintln(a.opts.Err, oneLine(f.String()))
	}
	if hasErrors(findings) {
		return usagef("%s is not run; correct it first", file)
	}
	return nil
}

func (a *App) planCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "show every path that a runbook can take, without touching anything", ArgsUsage: "FILE FUNCTION",
		Flags: []cli.Flag{outputFlag(), &cli.StringFlag{Name: "device", Value: "edge-001", Usage: "`ID` of the device to plan for"}},
		Action: func(c *cli.Context) error {
			if err := firstError(wantArgs(c, 2), checkOutput(c)); err != nil {
				return err
			}
			file := c.Args().Get(0)
			source, err := os.ReadFile(file)
			if err != nil {
				return usageError{err}
			}
			tree, err := runbook.Plan(filepath.Base(file), string(source), c.Args().Get(1), c.String("device"))
			if err != nil {
				return usageError{err}
			}
			return a.show(c, tree, func(w io.Writer) { fmt.Fprint(w, lines(tree.String())) })
		},
	}
}

func (a *App) testCommand() *cli.Command {
	return &cli.Command{
		Name: "test", Usage: "run the test_* functions of runbook tests; exit code 1 when one fails", ArgsUsage: "FILE...",
		Flags: []cli.Flag{outputFlag(), &cli.BoolFlag{Name: "v", Usage: "show what each test logged"}},
		Action: func(c *cli.Context) error {
			if err := firstError(someArgs(c), checkOutput(c)); err != nil {
				return err
			}
			results, err := runbook.Test(c.Args().Slice()...)
			if err != nil {
				return usageError{err}
			}
			if len(results) == 0 {
				return usageError{errors.New("no function test_* in these files")}
			}
			failed := 0
			for _, r := range results {
				if !r.Passed() {
					failed++
				}
			}
			if err := a.show(c, results, func(w io.Writer) { testReport(w, results, failed, c.Bool("v")) }); err != nil {
				return err
			}
			if failed > 0 {
				return errQuiet
			}
			return nil
		},
	}
}

func testReport(w io.Writer, results []runbook.TestResult, failed int, verbose bool) {
	for _, r := range results {
		word := "ok  "
		if !r.Passed() {
			word = "FAIL"
		}
		fmt.Fprintf(w, "%s  %s %s\n", word, r.File, r.Name)
		for _, m := range r.Messages {
			fmt.Fprintf(w, "      %s\n", strings.ReplaceAll(lines(m), "\n", "\n      "))
		}
		if verbose {
			for _, line := range r.Log {
				fmt.Fprintf(w, "      %s\n", oneLine(line))
			}
		}
	}
	fmt.Fprintf(w, "%d passed, %d failed\n", len(results)-failed, failed)
}
