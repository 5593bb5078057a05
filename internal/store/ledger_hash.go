package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// Domains keep a hash of one kind from being taken for another.
const (
	domainEntry = "edgefleet ledger v1"
	domainHead  = "edgefleet ledger head v1"
	domainKey   = "edgefleet ledger key"
)

// genesisHash is what the first entry has as the hash before it.
var genesisHash = strings.Repeat("0", 2*sha256.Size)

// hasher computes the hashes that doc.go describes.
type hasher struct {
	key []byte
	// keyID names the key without giving it away; empty without a key.
	keyID string
}

func newHasher(key []byte) hasher {
	if len(key) == 0 {
		return hasher{}
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(domainKey))
	return hasher{key: append([]byte(nil), key...), keyID: hex.EncodeToString(mac.Sum(nil))[:16]}
}

// sum returns the hash over length-prefixed fields, in hexadecimal.
func (h hasher) sum(fields ...string) string {
	size := 0
	for _, f := range fields {
		size += 8 + len(f)
	}
	buf := make([]byte, 0, size)
	for _, f := range fields {
		buf = binary.BigEndian.AppendUint64(buf, uint64(len(f)))
		buf = append(buf, f...)
	}
	var d hash.Hash
	if len(h.key) > 0 {
		d = hmac.New(sha256.New, h.key)
	} else {
		d = sha256.New()
	}
	d.Write(buf)
	return hex.EncodeToString(d.Sum(nil))
}

// entry returns the hash that e has to have; its own Hash does not count.
func (h hasher) entry(e LedgerEntry) string {
	return h.sum(domainEntry,
		strconv.FormatInt(e.Seq, 10), strconv.FormatInt(micros(e.Time), 10), e.Phase,
		e.Actor, e.DeviceID, e.Action, e.Item, e.Before, e.After, e.Outcome, e.Reason,
		e.IncidentID, e.WorkflowID, e.RunID, e.ActivityID, e.PlanHash, e.PrevHash)
}

// ledgerHead is the row that says where the chain ends.
type ledgerHead struct {
	Count    int64
	LastHash string
	KeyID    string
	MAC      string
}

func (h hasher) head(head ledgerHead) string {
	return h.sum(domainHead, strconv.FormatInt(head.Count, 10), head.LastHash, head.KeyID)
}

// checkHead tells a wrong key from a head that somebody else has written.
func (h hasher) checkHead(head ledgerHead) error {
	if head.KeyID != h.keyID {
		switch {
		case h.keyID == "":
			return fmt.Errorf("%w: the ledger was begun with key %s and no key is given: give the key", ErrLedgerKey, head.KeyID)
		case head.KeyID == "":
			return fmt.Errorf("%w: the ledger was begun without a key and key %s is given: go on without a key, or begin a new store", ErrLedgerKey, h.keyID)
		}
		return fmt.Errorf("%w: the ledger was begun with key %s and key %s is given: give the first one", ErrLedgerKey, head.KeyID, h.keyID)
	}
	if !hmac.Equal([]byte(h.head(head)), []byte(head.MAC)) {
		return fmt.Errorf("%w: its head (%d entries) was not written by edgefleet: run audit verify", ErrLedgerDamaged, head.Count)
	}
	return nil
}

const selectHead = `SELECT count, last_hash, key_id, mac FROM ledger_head WHERE id = 1`

// lockHead puts the writers on PostgreSQL in one order. In the same round trip
// it sees to it, for this transaction, that a commit is durable whatever the
// server's default is, and that a worker which vanishes with the lock in its
// hands gives it back before TCP notices.
const lockHead = `SELECT set_config('idle_in_transaction_session_timeout', '30s', true),
	CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END,
	count, last_hash, key_id, mac FROM ledger_head WHERE id = 1 FOR UPDATE`

// loadHead reads the head for this transaction. That the head is missing or
// not ours is kept for the jobs that append; the others go on.
func (b *batch) loadHead() error {
	if b.head != nil || b.headErr != nil {
		return nil
	}
	var head *ledgerHead
	var set [2]sql.NullString
	query, dest := selectHead, []any{}
	if b.w.s.dialect.lockHead {
		query, dest = lockHead, []any{&set[0], &set[1]}
	}
	rows, err := b.query(query)
	if err != nil {
		return err
	}
	err = eachRow(rows, func(scan func(...any) error) error {
		head = &ledgerHead{}
		return scan(append(dest, &head.Count, &head.LastHash, &head.KeyID, &head.MAC)...)
	})
	if err != nil {
		return err
	}
	if head == nil {
		b.headErr = fmt.Errorf("%w: its head is gone: run audit verify", ErrLedgerDamaged)
		return nil
	}
	if b.headErr = b.w.s.hash.checkHead(*head); b.headErr == nil {
		b.head = head
	}
	return nil
}

// saveHead writes the head back when the batch has appended.
func (b *batch) saveHead() error {
	if !b.headDirty {
		return nil
	}
	b.head.MAC = b.w.s.hash.head(*b.head)
	n, err := b.exec(`UPDATE ledger_head SET count = $1, last_hash = $2, mac = $3 WHERE id = 1`,
		b.head.Count, b.head.LastHash, b.head.MAC)
	if err == nil && n != 1 {
		err = fmt.Errorf("%w: its head is gone", ErrLedgerDamaged)
	}
	return err
}
