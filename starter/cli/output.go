package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
)

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table",
		EnvVars: []string{"EDGEFLEET_OUTPUT"}, Usage: "table or json"}
}

// show writes v as JSON, or calls table, as --output says.
func (a *App) show(c *cli.Context, v any, table func(w io.Writer)) error {
	switch c.String("output") {
	case "json":
		enc := json.NewEncoder(a.opts.Out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "table":
		table(a.opts.Out)
		return nil
	}
	return usagef("--output %q: want table or json", c.String("output"))
}

// checkOutput refuses a bad --output before anything is asked or started.
func checkOutput(c *cli.Context) error {
	if o := c.String("output"); o != "table" && o != "json" {
		return usagef("--output %q: want table or json", o)
	}
	return nil
}

// table writes rows under headings, aligned.
func table(w io.Writer, headings string, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.ReplaceAll(headings, "|", "\t"))
	for _, row := range rows {
		for i := range row {
			row[i] = oneLine(row[i])
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	_ = tw.Flush()
}

// fields writes "name  value" lines, leaving empty values out.
func fields(w io.Writer, pairs ...string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(tw, "%s\t%s\n", pairs[i], oneLine(pairs[i+1]))
		}
	}
	_ = tw.Flush()
}

// oneLine keeps what came from a device or an alert from moving the cursor of
// the reader's terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

func stampPtr(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return stamp(*t)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// oneArg returns the command's one argument.
func oneArg(c *cli.Context, what string) (string, error) {
	if c.Args().Len() != 1 {
		return "", usagef("%s: want exactly one %s, got %d", c.Command.HelpName, what, c.Args().Len())
	}
	return c.Args().First(), nil
}

func noArgs(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%s: takes no argument, got %q", c.Command.HelpName, c.Args().First())
	}
	return nil
}
