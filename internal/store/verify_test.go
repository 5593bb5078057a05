package store

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// dropFence takes the triggers away, as somebody would who owns the database.
func dropFence(t *testing.T, p place, db *sql.DB) {
	for _, stmt := range map[string][]string{
		"sqlite":   {`DROP TRIGGER ledger_no_update`, `DROP TRIGGER ledger_no_delete`, `DROP TRIGGER ledger_head_no_delete`},
		"postgres": {`DROP TRIGGER ledger_no_change ON ledger`, `DROP TRIGGER ledger_head_no_delete ON ledger_head`},
	}[p.kind] {
		_, err := db.Exec(stmt)
		require.NoError(t, err)
	}
}

func TestDatabaseRefusesToChangeTheLedger(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		appendEvents(t, p.open(t, Options{}), 2)
		stmts := []string{
			`UPDATE ledger SET actor = 'nobody' WHERE seq = 1`, `DELETE FROM ledger`, `DELETE FROM ledger_head`,
		}
		if p.kind == "sqlite" {
			stmts = append(stmts, `REPLACE INTO ledger SELECT * FROM ledger WHERE seq = 1`)
		} else {
			stmts = append(stmts, `TRUNCATE ledger`)
		}
		for _, stmt := range stmts {
			_, err := p.raw(t).Exec(stmt)
			require.ErrorContains(t, err, "the ledger is append-only", stmt)
		}
	})
}

// tampering is something that somebody with access to the database does to a
// ledger of ten entries, of which the fifth stands in the middle.
type tampering struct {
	rule string
	do   []string
	// unkeyed and keyed are what Verify has to find without and with a key;
	// empty is nothing.
	unkeyed, keyed string
	seq            int64
	// anchored is what it finds given an anchor of before, where that differs
	// from the above.
	anchored string
}

func tamperings() []tampering {
	tests := []tampering{
		{rule: "nothing done is nothing found"},
		{rule: "a deleted entry", do: []string{`DELETE FROM ledger WHERE seq = 5`}, unkeyed: FindingDeleted, keyed: FindingDeleted, seq: 5},
		{rule: "deleted entries", do: []string{`DELETE FROM ledger WHERE seq IN (5, 6, 7)`}, unkeyed: FindingDeleted, keyed: FindingDeleted, seq: 5},
		{rule: "the first entry deleted", do: []string{`DELETE FROM ledger WHERE seq = 1`}, unkeyed: FindingDeleted, keyed: FindingDeleted, seq: 1},
		{rule: "a deletion that is closed up", do: []string{`DELETE FROM ledger WHERE seq = 5`, `UPDATE ledger SET seq = -(seq - 1) WHERE seq > 5`,
			`UPDATE ledger SET seq = -seq WHERE seq < 0`}, unkeyed: FindingReordered, keyed: FindingReordered, seq: 5},
		{rule: "two entries swapped", do: []string{`UPDATE ledger SET seq = -1 WHERE seq = 5`, `UPDATE ledger SET seq = 5 WHERE seq = 8`,
			`UPDATE ledger SET seq = 8 WHERE seq = -1`}, unkeyed: FindingReordered, keyed: FindingReordered, seq: 5},
		{rule: "an entry moved to the end", do: []string{`UPDATE ledger SET seq = 11 WHERE seq = 5`}, unkeyed: FindingReordered, keyed: FindingReordered, seq: 5},
		{rule: "a cut tail", do: []string{`DELETE FROM ledger WHERE seq > 7`}, unkeyed: FindingCutTail, keyed: FindingCutTail, seq: 8},
		{rule: "all entries deleted", do: []string{`DELETE FROM ledger`}, unkeyed: FindingCutTail, keyed: FindingCutTail, seq: 1},
		{rule: "a cut tail with the head rewritten", do: []string{`DELETE FROM ledger WHERE seq > 7`,
			`UPDATE ledger_head SET count = 7, last_hash = (SELECT hash FROM ledger WHERE seq = 7)`, `FORGE HEAD`},
			unkeyed: "", keyed: FindingCutTail, seq: 8, anchored: FindingCutTail},
		{rule: "the head deleted", do: []string{`DELETE FROM ledger_head`}, unkeyed: FindingDeleted, keyed: FindingDeleted, seq: 0},
		{rule: "the head's count edited", do: []string{`UPDATE ledger_head SET count = 9`}, unkeyed: FindingCutTail, keyed: FindingCutTail, seq: 11},
		{rule: "an entry inserted before the first", do: []string{`INSERT INTO ledger SELECT 0, time, phase, actor, device_id, action, item, before, after, outcome,
			reason, incident_id, workflow_id, run_id, 'x', plan_hash, prev_hash, hash FROM ledger WHERE seq = 1`}, unkeyed: FindingEdited, keyed: FindingEdited, seq: 1},
		{rule: "an entry rewritten with a new hash", do: []string{`UPDATE ledger SET after = '9999' WHERE seq = 5`, `FORGE ENTRY 5`}, unkeyed: FindingEdited, keyed: FindingEdited, seq: 5},
		{rule: "the last entry rewritten with a new hash", do: []string{`UPDATE ledger SET after = '9999' WHERE seq = 10`, `FORGE ENTRY 10`}, unkeyed: FindingEdited, keyed: FindingEdited, seq: 10},
		{rule: "a new entry appended by hand", do: []string{`INSERT INTO ledger SELECT 11, time, phase, actor, device_id, action, item, before, after, outcome,
			reason, incident_id, workflow_id, run_id, 'x', plan_hash, hash, '' FROM ledger WHERE seq = 10`, `FORGE ENTRY 11`}, unkeyed: FindingEdited, keyed: FindingEdited, seq: 11},
		{rule: "the whole ledger rewritten", do: []string{`UPDATE ledger SET actor = 'operator:mallory'`, `FORGE ALL`, `FORGE HEAD`},
			unkeyed: "", keyed: FindingEdited, seq: 1, anchored: FindingAnchor},
	}
	for _, column := range strings.Split(strings.Join(strings.Fields(ledgerColumns), ""), ",") {
		value := `'edited'`
		switch column {
		case "seq":
			continue // moved entries are above
		case "time":
			value = `time + 1`
		case "phase":
			value = `'result'`
		}
		tests = append(tests, tampering{
			rule: "an edited " + column, do: []string{fmt.Sprintf(`UPDATE ledger SET %s = %s WHERE seq = 5`, column, value)},
			unkeyed: FindingEdited, keyed: FindingEdited, seq: 5,
		})
	}
	return tests
}

// forge gives entries and the head hashes that fit, as somebody can who has
// read doc.go but not the key.
func forge(t *testing.T, db *sql.DB, what string) {
	var h hasher
	rows, err := db.Query(`SELECT ` + ledgerColumns + ` FROM ledger ORDER BY seq`)
	require.NoError(t, err)
	var entries []LedgerEntry
	require.NoError(t, eachRow(rows, func(scan func(...any) error) error {
		entries = append(entries, LedgerEntry{})
		return scanEntry(&entries[len(entries)-1], scan)
	}))
	prev := genesisHash
	for _, e := range entries {
		if what == "FORGE ALL" {
			e.PrevHash = prev
		} else if what != fmt.Sprintf("FORGE ENTRY %d", e.Seq) {
			continue
		}
		prev = h.entry(e)
		_, err := db.Exec(`UPDATE ledger SET prev_hash = $1, hash = $2 WHERE seq = $3`, e.PrevHash, prev, e.Seq)
		require.NoError(t, err)
	}
	if what == "FORGE HEAD" {
		var head ledgerHead
		require.NoError(t, db.QueryRow(selectHead).Scan(&head.Count, &head.LastHash, &head.KeyID, &head.MAC))
		head.LastHash = entries[len(entries)-1].Hash
		_, err := db.Exec(`UPDATE ledger_head SET last_hash = $1, mac = $2`, head.LastHash, h.head(head))
		require.NoError(t, err)
	}
}

func TestVerifyFindsAndNames(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		for name, key := range map[string][]byte{"keyed": testKey, "unkeyed": nil} {
			for _, tt := range tamperings() {
				t.Run(name+"/"+tt.rule, func(t *testing.T) {
					p := anotherPlace(t, p)
					s := p.open(t, Options{LedgerKey: key})
					appendEvents(t, s, 10)
					before, err := s.Verify(bg, Anchor{})
					require.NoError(t, err)
					require.True(t, before.OK, before.Detail)
					require.Equal(t, key != nil, before.Keyed)
					require.Equal(t, int64(10), before.HeadSeq)
					anchor := Anchor{before.HeadSeq, before.HeadHash}

					db := p.raw(t)
					dropFence(t, p, db)
					for _, stmt := range tt.do {
						if strings.HasPrefix(stmt, "FORGE") {
							forge(t, db, stmt)
							continue
						}
						_, err := db.Exec(stmt)
						require.NoError(t, err, stmt)
					}
					want := tt.unkeyed
					if key != nil {
						want = tt.keyed
					}
					v, err := s.Verify(bg, Anchor{})
					require.NoError(t, err)
					require.Equal(t, want, v.Finding, v.Detail)
					require.Equal(t, want == "", v.OK)
					if want != "" {
						require.Equal(t, tt.seq, v.Seq, v.Detail)
						require.NotEmpty(t, v.Detail)
						require.Zero(t, v.HeadSeq, "no anchor is given out for a ledger that is not whole")
						require.Empty(t, v.HeadHash)
					}
					v, err = s.Verify(bg, anchor)
					require.NoError(t, err)
					if want == "" {
						want = tt.anchored
					}
					require.Equal(t, want, v.Finding, v.Detail)
				})
			}
		}
	})
}

// anotherPlace is a fresh database of the same kind.
func anotherPlace(t *testing.T, p place) place {
	if p.kind == "sqlite" {
		return sqlitePlace(t)
	}
	base, err := pgServer.URL()
	require.NoError(t, err)
	return postgresPlace(t, base)
}

func TestAnchorOfAnEarlierLedgerStaysGood(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		s := p.open(t, Options{LedgerKey: testKey})
		early := appendEvents(t, s, 4)[2]
		v, err := s.Verify(bg, Anchor{early.Seq, early.Hash})
		require.NoError(t, err)
		require.True(t, v.OK, v.Detail)
		_, err = s.Verify(bg, Anchor{Seq: 2})
		require.ErrorIs(t, err, ErrInvalid, "half an anchor")
	})
}

func TestNothingIsAppendedToAHeadThatIsNotOurs(t *testing.T) {
	for rule, stmt := range map[string]string{
		"an edited head": `UPDATE ledger_head SET count = count - 1`,
		"no head":        `DELETE FROM ledger_head`,
	} {
		t.Run(rule, func(t *testing.T) {
			eachPlace(t, func(t *testing.T, p place) {
				s := p.open(t, Options{LedgerKey: testKey})
				appendEvents(t, s, 2)
				db := p.raw(t)
				dropFence(t, p, db)
				_, err := db.Exec(stmt)
				require.NoError(t, err)
				_, err = s.AppendEvent(bg, record(5))
				require.ErrorIs(t, err, ErrLedgerDamaged)
				require.False(t, IsTransient(err))
				_, err = s.AcquireLease(bg, "edge-1", Owner{"wf", "run"})
				require.NoError(t, err, "what does not append goes on")

				again := p.open(t, Options{LedgerKey: testKey})
				v, err := again.Verify(bg, Anchor{})
				require.NoError(t, err, "a damaged ledger still opens, to be looked at")
				require.False(t, v.OK)
			})
		})
	}
}
