package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
				Flags: []cli.Flag{outputFlag(),
					&cli.StringFlag{Name: "device", Usage: "only of this device"},
					&cli.StringFlag{Name: "workflow", Usage: "only of this workflow ID"},
					&cli.Int64Flag{Name: "after", Usage: "the first entries after this sequence number, instead of the newest"},
					&cli.IntFlag{Name: "limit", Value: 50, Usage: "at most this many"}}},
			{Name: "verify", Usage: "verify the whole chain; exit code 1 when anything was edited, deleted, reordered or cut", Action: a.auditVerify,
				Flags: []cli.Flag{outputFlag(),
					&cli.StringFlag{Name: "anchor", Usage: "SEQ:HASH that an earlier verification printed; finds a ledger that was replaced as a whole"}}},
			{Name: "export", Usage: "write the whole ledger as JSON, one entry a line", Action: a.auditExport,
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "file", Usage: "write to this file, which appears only when complete, instead of stdout"},
					&cli.StringFlag{Name: "device", Usage: "only of this device"}}},
		},
	}
}

func (a *App) auditList(c *cli.Context) error {
	if err := firstError(noArgs(c), checkOutput(c)); err != nil {
		return err
	}
	out, err := a.ask(c, contract.InspectInput{Question: contract.AskAuditList, Audit: &contract.AuditQuery{
		DeviceID: c.String("device"), WorkflowID: c.String("workflow"),
		After: c.Int64("after"), Limit: c.Int("limit"), Newest: !c.IsSet("after")}})
	if err != nil {
		return err
	}
	return a.show(c, nonNil(out.Audit.Entries), func(w io.Writer) { ledgerTable(w, out.Audit.Entries) })
}

func ledgerTable(w io.Writer, entries []contract.LedgerEntry) {
	rows := make([][]string, 0, len(entries))
	for _, e := range entries {
		what := e.Action
		if e.Item != "" {
			what += " " + e.Item
		}
		change := e.After
		if e.Before != "" && e.Before != e.After {
			change = e.Before + " -> " + e.After
		}
		rows = append(rows, []string{itoa(e.Seq), stamp(e.Time), e.DeviceID, e.Phase, what, change, dash(e.Outcome), e.Actor})
	}
	table(w, "SEQ|TIME (UTC)|DEVICE|PHASE|ACTION|CHANGE|OUTCOME|ACTOR", rows)
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
	if err := noArgs(c); err != nil {
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
	enc := json.NewEncoder(buf)
	var count int64
	for after := int64(0); ; {
		out, err := a.askOver(c.Context, t, contract.InspectInput{Question: contract.AskAuditList,
			Audit: &contract.AuditQuery{DeviceID: c.String("device"), After: after, Limit: exportPage}})
		if err != nil {
			return err
		}
		for _, e := range out.Audit.Entries {
			if err := enc.Encode(e); err != nil {
				return err
			}
		}
		count += int64(len(out.Audit.Entries))
		fmt.Fprintf(a.opts.Err, "%d entries\n", count)
		if after = out.Audit.Next; after == 0 {
			return buf.Flush()
		}
	}
}

// writeFile writes beside the file and renames, so that a half export never
// passes for a whole one.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".export-*")
	if err != nil {
		return usagef("--file: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // after the rename there is nothing to remove
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
