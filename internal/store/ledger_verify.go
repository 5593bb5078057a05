package store

import (
	"context"
	"database/sql"
	"fmt"
)

// What Verify can find.
const (
	FindingEdited    = "edited"
	FindingDeleted   = "deleted"
	FindingReordered = "reordered"
	FindingCutTail   = "cut tail"
	FindingAnchor    = "anchor mismatch"
)

// Anchor is the end of the ledger as an earlier verification saw it; the zero
// value is none.
type Anchor struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// Verdict is the outcome of a check of the ledger.
type Verdict struct {
	OK bool `json:"ok"`
	// Entries is how many entries were found in order, up to the finding.
	Entries int64 `json:"entries"`
	// Keyed says that the chain is an HMAC with a secret key.
	Keyed bool `json:"keyed"`
	// HeadSeq and HeadHash are the anchor to keep for the next verification;
	// they are only set when OK is.
	HeadSeq  int64  `json:"head_seq"`
	HeadHash string `json:"head_hash"`
	// Finding is one of the constants above, with the entry that it names: for
	// a deletion and a cut tail, the first one that is missing.
	Finding string `json:"finding,omitempty"`
	Seq     int64  `json:"seq,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

// Verify reads the whole ledger, in one snapshot, and says whether it is what
// the store has appended. An error says that it could not be read, not that
// something is wrong with it.
func (s *Store) Verify(ctx context.Context, anchor Anchor) (Verdict, error) {
	if (anchor.Seq > 0) != (anchor.Hash != "") || anchor.Seq < 0 {
		return Verdict{}, fmt.Errorf("verify ledger: %w", invalidf("an anchor is a sequence number with its hash"))
	}
	tx, err := s.readers.BeginTx(ctx, &sql.TxOptions{Isolation: s.dialect.snapshot, ReadOnly: true})
	if err != nil {
		return Verdict{}, fmt.Errorf("verify ledger: %w", s.explain(err))
	}
	defer func() { _ = tx.Rollback() }()
	c := &chainCheck{tx: tx, hash: s.hash, anchor: anchor, lastHash: genesisHash}
	if err := c.run(ctx); err != nil {
		if ctx.Err() != nil {
			return Verdict{}, fmt.Errorf("verify ledger: %w", ctx.Err())
		}
		return Verdict{}, fmt.Errorf("verify ledger: %w", s.explain(err))
	}
	v := Verdict{Entries: c.count, Keyed: len(s.hash.key) > 0, Finding: c.finding, Seq: c.seq, Detail: c.detail}
	if v.OK = v.Finding == ""; v.OK {
		v.HeadSeq, v.HeadHash = c.count, c.lastHash
	}
	return v, nil
}

// chainCheck walks the chain until something is wrong.
type chainCheck struct {
	tx     *sql.Tx
	hash   hasher
	anchor Anchor

	count    int64
	lastHash string
	// anchorHash is the hash of the entry at the anchor, once it was seen.
	anchorHash string

	finding, detail string
	seq             int64
}

func (c *chainCheck) found(finding string, seq int64, format string, args ...any) {
	c.finding, c.seq, c.detail = finding, seq, fmt.Sprintf(format, args...)
}

func (c *chainCheck) run(ctx context.Context) error {
	bad, err := c.walk(ctx)
	if err != nil {
		return err
	}
	if bad != nil {
		return c.diagnose(ctx, *bad)
	}
	var head *ledgerHead
	rows, err := c.tx.QueryContext(ctx, selectHead)
	if err == nil {
		err = eachRow(rows, func(scan func(...any) error) error {
			head = &ledgerHead{}
			return scan(&head.Count, &head.LastHash, &head.KeyID, &head.MAC)
		})
	}
	if err != nil {
		return err
	}
	c.checkEnd(head)
	return nil
}

// walk returns the first entry that does not continue the chain.
func (c *chainCheck) walk(ctx context.Context) (bad *LedgerEntry, err error) {
	rows, err := c.tx.QueryContext(ctx, `SELECT `+ledgerColumns+` FROM ledger ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var e LedgerEntry
		if err := scanEntry(&e, rows.Scan); err != nil {
			return nil, err
		}
		if e.Seq != c.count+1 || e.PrevHash != c.lastHash || e.Hash != c.hash.entry(e) {
			return &e, nil
		}
		c.count, c.lastHash = e.Seq, e.Hash
		if e.Seq == c.anchor.Seq {
			c.anchorHash = e.Hash
		}
	}
	return nil, rows.Err()
}

// diagnose names what was done, given the first entry that does not fit.
func (c *chainCheck) diagnose(ctx context.Context, bad LedgerEntry) error {
	want := c.count + 1
	genuine := bad.Hash == c.hash.entry(bad)
	if bad.Seq == want && genuine {
		// Both this entry and the one before are whole, but they do not belong
		// together: one was rewritten with a new hash. What this one remembers
		// of the one before speaks against that one.
		if c.count == 0 {
			c.found(FindingEdited, want, "entry %d does not begin the chain", want)
			return nil
		}
		c.found(FindingEdited, c.count, "entry %d was rewritten: entry %d was appended to another one", c.count, want)
		return nil
	}
	// Does the entry that belongs here stand somewhere else, or did the entry
	// that stands here belong somewhere else?
	movedTo, wasAt, err := c.search(ctx, bad, want)
	switch {
	case err != nil:
		return err
	case movedTo != 0:
		c.found(FindingReordered, want, "entry %d now stands at %d", want, movedTo)
	case bad.Seq == want && wasAt != 0:
		c.found(FindingReordered, want, "what stands at %d was appended as entry %d", want, wasAt)
	case bad.Seq == want:
		c.found(FindingEdited, want, "entry %d (%s %s on %s) does not match its hash", want, bad.Phase, bad.Action, bad.DeviceID)
	case bad.Seq == want+1:
		c.found(FindingDeleted, want, "entry %d is missing", want)
	case bad.Seq > want:
		c.found(FindingDeleted, want, "entries %d to %d are missing", want, bad.Seq-1)
	default:
		c.found(FindingEdited, want, "entry %d was inserted", bad.Seq)
	}
	return nil
}

// search looks through the whole ledger for the entry that was appended as
// number want, and for the number under which bad was appended.
func (c *chainCheck) search(ctx context.Context, bad LedgerEntry, want int64) (movedTo, wasAt int64, err error) {
	rows, err := c.tx.QueryContext(ctx, `SELECT `+ledgerColumns+` FROM ledger ORDER BY seq`)
	if err != nil {
		return 0, 0, err
	}
	err = eachRow(rows, func(scan func(...any) error) error {
		var e LedgerEntry
		if err := scanEntry(&e, scan); err != nil {
			return err
		}
		at := e.Seq
		if e.Seq = want; at != want && movedTo == 0 && e.PrevHash == c.lastHash && e.Hash == c.hash.entry(e) {
			movedTo = at
		}
		moved := bad
		if moved.Seq = at; at != bad.Seq && wasAt == 0 && moved.Hash == c.hash.entry(moved) {
			wasAt = at
		}
		return nil
	})
	return movedTo, wasAt, err
}

// checkEnd holds a chain that is whole against its head and the anchor.
func (c *chainCheck) checkEnd(head *ledgerHead) {
	next := c.count + 1
	switch {
	case head == nil:
		c.found(FindingDeleted, 0, "the ledger's head is gone; entries after %d may be, too", c.count)
	case head.Count > c.count:
		c.found(FindingCutTail, next, "the ledger ends at %d, its head says %d", c.count, head.Count)
	case c.anchor.Seq > c.count:
		c.found(FindingCutTail, next, "the ledger ends at %d, the anchor is entry %d", c.count, c.anchor.Seq)
	case c.hash.checkHead(*head) != nil:
		c.found(FindingCutTail, next, "the ledger's head was rewritten by somebody else; entries after %d may have been cut off", c.count)
	case head.Count < c.count:
		c.found(FindingEdited, head.Count+1, "entry %d and what follows was inserted: the head says %d", head.Count+1, head.Count)
	case head.LastHash != c.lastHash:
		c.found(FindingEdited, c.count, "entry %d was rewritten: the head remembers another one", c.count)
	case c.anchor.Seq > 0 && c.anchorHash != c.anchor.Hash:
		c.found(FindingAnchor, c.anchor.Seq, "entry %d is not the one that the anchor was taken from: the ledger was replaced", c.anchor.Seq)
	}
}
