package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"
)

const flagOutput = "output"

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: flagOutput, Aliases: []string{"o"}, Value: "table",
		EnvVars: []string{"EDGEFLEET_OUTPUT"}, Usage: "`FORMAT`: table or json"}
}

// show writes v as JSON, or calls table, as --output says.
func (a *App) show(c *cli.Context, v any, table func(w io.Writer)) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	if c.String(flagOutput) == "json" {
		return writeJSON(a.opts.Out, v, "  ")
	}
	table(a.opts.Out)
	return nil
}

// checkOutput refuses a bad --output before anything is asked or started. An
// empty one comes from an environment variable that was emptied, not unset.
func checkOutput(c *cli.Context) error {
	switch o := c.String(flagOutput); o {
	case "", "table", "json":
		return nil
	default:
		return usagef("--output %q: want table or json", o)
	}
}

// writeJSON writes v and a line break. JSON lets DEL, the C1 controls and the
// marks that turn a line around stand as they are; here they are escaped, so
// that JSON on a terminal is as harmless as a table. Its meaning is the same.
func writeJSON(w io.Writer, v any, indent string) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	var out strings.Builder
	for _, r := range buf.String() {
		if steers(r) && r != '\n' {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	_, err := io.WriteString(w, out.String())
	return err
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

// list is table for what may be empty: then it says so where progress is said,
// and data stays nothing.
func (a *App) list(w io.Writer, none, headings string, rows [][]string) {
	if len(rows) == 0 {
		fmt.Fprintln(a.opts.Err, none)
		return
	}
	table(w, headings, rows)
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

// steers says that a rune moves a terminal's cursor, or turns the direction of
// what follows, instead of being shown.
func steers(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

// oneLine keeps what came from a device, an alert or a runbook from steering
// the reader's terminal, and on one line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if steers(r) {
			return ' '
		}
		return r
	}, s)
}

// lines is oneLine for text of several lines.
func lines(s string) string {
	parts := strings.Split(s, "\n")
	for i, p := range parts {
		parts[i] = oneLine(p)
	}
	return strings.Join(parts, "\n")
}

// firstLine leaves out the lines of a runbook that its errors show.
func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}

// shellWord quotes s for a command line that the reader may copy.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("/._-:@+,", r))
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
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
	if n := c.Args().Len(); n != 1 {
		return "", usagef("%s: want exactly one %s, got %d", commandName(c), what, n)
	}
	return c.Args().First(), nil
}

func noArgs(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%s: takes no argument, got %q", commandName(c), c.Args().First())
	}
	return nil
}

// wantArgs refuses another number of arguments than the command's usage names.
func wantArgs(c *cli.Context, n int) error {
	if c.Args().Len() != n {
		return usagef("%s: want %s, got %s", commandName(c), c.Command.ArgsUsage, plural(c.Args().Len(), "argument"))
	}
	return nil
}

// someArgs refuses no argument.
func someArgs(c *cli.Context) error {
	if !c.Args().Present() {
		return usagef("%s: want at least one %s", commandName(c), strings.TrimSuffix(c.Command.ArgsUsage, "..."))
	}
	return nil
}

func commandName(c *cli.Context) string {
	return strings.TrimPrefix(c.Command.HelpName, c.App.Name+" ")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// limitArg refuses a --limit that the store would silently take for another.
func limitArg(c *cli.Context) error {
	if n := c.Int("limit"); n < 1 || n > maxLimit {
		return usagef("--limit %d: want 1 to %d", n, maxLimit)
	}
	return nil
}

// maxLimit is the most rows that one answer has.
const maxLimit = 1000
