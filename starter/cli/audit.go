package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"edgefleet/workflows/contract"
)

// exportPage is how many entries of the ledger travel in one answer: well
// under Temporal's limit of 2 MiB for a payload.
const exportPage = 500

func (a *App) auditCommand() *cli.Command {
	return &cli.Command{
		Name:  "audit",
		Usage: "read and verify the ledger of every change",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list the newest entries", Action: a.auditList,
				Flags: []cli.Flag{outputFlag(), timeoutFlag(),
					&cli.StringFlag{Name: "device", Usage: "only of the device with this `ID`"},
					&cli.StringFlag{Name: "workflow", Usage: "only of the workflow with this `ID`"},
					&cli.Int64Flag{Name: "after", Usage: "the first entries after this sequence number, instead of the newest"},
					&cli.IntFlag{Name: "limit", Value: 50, Usage: "at most this many, 1 to 1000"}}},
			{Name: "verify", Usage: "verify the whole chain; exit code 1 when anything was edited, deleted, reordered or cut", Action: a.auditVerify,
				Flags: []cli.Flag{outputFlag(), timeoutFlag(),
					&cli.StringFlag{Name: "anchor", Usage: "`SEQ:HASH` that an earlier verification printed; finds a ledger that was replaced as a whole"}}},
			{Name: "export", Usage: "write the whole ledger as JSON, one entry a line", Action: a.auditExport,
				Flags: []cli.Flag{timeoutFlag(),
					&cli.StringFlag{Name: "file", Usage: "write to this `FILE`, which appears only when complete, instead of stdout"},
					&cli.StringFlag{Name: "device", Usage: "only of the device with this `ID`"}}},
		},
	}
}

func (a *App) auditList(c *cli.Context) error {
	if err := firstError(noArgs(c), checkOutput(c), limitArg(c), checkAfter(c)); err != nil {
		return err
	}
	out, err := a.ask(c, contract.InspectInput{Question: contract.AskAuditList, Audit: &contract.AuditQuery{
		DeviceID: c.String("device"), WorkflowID: c.String("workflow"),
		After: c.Int64("after"), Limit: c.Int("limit"), Newest: !c.IsSet("after")}})
	if err != nil {
		return err
	}
	err = a.show(c, nonNil(out.Audit.Entries), func(w io.Writer) { a.ledgerTable(w, out.Audit.Entries) })
	if err == nil && out.Audit.Next > 0 {
		fmt.Fprintf(a.opts.Err, "there is more: --after %d\n", out.Audit.Next)
	}
	return err
}

func checkAfter(c *cli.Context) error {
	if n := c.Int64("after"); n < 0 {
		return usagef("--after %d: want a sequence number, or 0 for the first entry", n)
	}
	return nil
}

func (a *App) ledgerTable(w io.Writer, entries []contract.LedgerEntry) {
	rows := make([][]string, 0, len(entries))
	for _, e := range entries {
		what := e.Action
		if e.Item != "" {
			what += " " + e.Item
		}
		rows = append(rows, []string{itoa(e.Seq), stamp(e.Time), e.DeviceID, e.Phase, what, dash(changeText(e.Before, e.After)), dash(e.Outcome), e.Actor})
	}
	a.list(w, "the ledger has no such entry", "SEQ|TIME (UTC)|DEVICE|PHASE|ACTION|CHANGE|OUTCOME|ACTOR", rows)
}

// changeText says what changed into what. Values of several settings stand in
// the ledger as JSON objects; here each is one "name before -> after".
func changeText(before, after string) string {
	var was, is map[string]string
	if json.Unmarshal([]byte(after), &is) != nil || (before != "" && json.Unmarshal([]byte(before), &was) != nil) {
		return arrow(before, after)
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(is)) {
		parts = append(parts, name+" "+arrow(short64(was[name]), short64(is[name])))
	}
	if more := len(parts) - maxChanges; more > 0 {
		parts = append(parts[:maxChanges], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, ", ")
}

// maxChanges bounds what one line of a table says; JSON has all of it. The
// hashes of an onboarding alone are longer than a terminal is wide.
const maxChanges = 4

// short64 is the beginning of a hash of 64 hexadecimal digits, which stands for
// it, and everything else as it is: "sha256:0123456789ab (120 bytes)".
func short64(s string) string {
	return hash64.ReplaceAllString(s, "$1")
}

var hash64 = regexp.MustCompile(`\b([0-9a-f]{12})[0-9a-f]{52}\b`)

func arrow(before, after string) string {
	if before == "" || before == after {
		return after
	}
	return before + " -> " + after
}

func (a *App) auditVerify(c *cli.Context) error {
	if err := firstError(noArgs(c), checkOutput(c)); err != nil {
		return err
	}
	query := &contract.AuditVerifyQuery{}
	if anchor := c.String("anchor"); anchor != "" {
		seq, hash, ok := strings.Cut(anchor, ":")
		n, err := strconv.ParseInt(seq, 10, 64)
		if !ok || err != nil || n < 1 || hash == "" {
			return usagef("--anchor %q: want SEQ:HASH as an earlier verification printed it", anchor)
		}
		query.AnchorSeq, query.AnchorHash = n, hash
	}
	out, err := a.ask(c, contract.InspectInput{Question: contract.AskAuditVerify, Verify: query})
	if err != nil {
		return err
	}
	v := out.Verdict
	if err := a.show(c, v, func(w io.Writer) { verdictText(w, v) }); err != nil {
		return err
	}
	if !v.OK {
		return errQuiet
	}
	return nil
}

func verdictText(w io.Writer, v *contract.AuditVerdict) {
	if !v.OK {
		fmt.Fprintf(w, "BROKEN: %s at entry %d: %s\n", v.Finding, v.Seq, oneLine(v.Detail))
		fmt.Fprintln(w, "Keep the database as it is and compare it with your last export.")
		return
	}
	kind := "SHA-256; without a key, whoever can write the database can forge it (see --ledger-key-file of the worker)"
	if v.Keyed {
		kind = "HMAC-SHA256 with the worker's key"
	}
	fmt.Fprintf(w, "intact: %d entries, chained by %s\n", v.Entries, kind)
	if v.HeadSeq > 0 {
		fmt.Fprintf(w, "anchor for the next verification: %d:%s\n", v.HeadSeq, v.HeadHash)
	}
}

func (a *App) auditExport(c *cli.Context) error {
	if err := firstError(noArgs(c), checkTimeout(c)); err != nil {
		return err
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	write := func(w io.Writer) error { return a.exportTo(c, t, w) }
	if c.String("file") == "" {
		return write(a.opts.Out)
	}
	return writeFile(c.String("file"), write)
}

func (a *App) exportTo(c *cli.Context, t Temporal, w io.Writer) error {
	buf := bufio.NewWriter(w)
	var count int64
	for after := int64(0); ; {
		out, err := a.askOver(c.Context, t, contract.InspectInput{Question: contract.AskAuditList,
			Audit: &contract.AuditQuery{DeviceID: c.String("device"), After: after, Limit: exportPage}}, c.Duration(flagTimeout))
		if err != nil {
			return err
		}
		for _, e := range out.Audit.Entries {
			if err := writeJSON(buf, e, ""); err != nil {
				return err
			}
		}
		count += int64(len(out.Audit.Entries))
		fmt.Fprintf(a.opts.Err, "%d entries\n", count)
		next := out.Audit.Next
		if next == 0 {
			return buf.Flush()
		}
		if next <= after {
			return fmt.Errorf("the worker answered with page %d after page %d; the export would never end", next, after)
		}
		after = next
	}
}

// writeFile writes beside the file and renames, so that a half export never
// passes for a whole one.
func writeFile(path string, write func(io.Writer) error) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return usagef("--file %s: there is something that is not a file", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".export-*")
	if err != nil {
		var at *os.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return usagef("--file %s: cannot write in %s: %w", path, filepath.Dir(path), err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // after the rename there is nothing to remove
	if err := write(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	return os.Rename(f.Name(), path)
}
