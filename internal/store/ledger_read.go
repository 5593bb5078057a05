package store

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// LedgerQuery selects entries of the ledger in order, after a sequence number.
// Empty fields do not select. Limit 0 is 100; at most 1000 come at once.
type LedgerQuery struct {
	DeviceID   string `json:"device_id,omitempty"`
	WorkflowID string `json:"workflow_id,omitempty"`
	IncidentID string `json:"incident_id,omitempty"`
	After      int64  `json:"after,omitempty"`
	Limit      int    `json:"limit,omitempty"`
	// Newest returns the last Limit entries, oldest first, instead of the
	// first.
	Newest bool `json:"newest,omitempty"`
}

// LedgerPage is a page of the ledger; Next is the After of the next page, or 0
// when there is none.
type LedgerPage struct {
	Entries []LedgerEntry `json:"entries"`
	Next    int64         `json:"next,omitempty"`
}

// where collects the conditions of a query with their arguments.
type where struct {
	conds []string
	args  []any
}

// add adds a condition whose one placeholder is written as $?.
func (w *where) add(cond string, arg any) {
	w.args = append(w.args, arg)
	w.conds = append(w.conds, strings.Replace(cond, "$?", fmt.Sprintf("$%d", len(w.args)), 1))
}

func (w *where) addText(column, text string) {
	if text != "" {
		w.add(column+" = $?", clean(text))
	}
}

func (w *where) String() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conds, " AND ")
}

// ListLedger returns a page of the ledger.
func (s *Store) ListLedger(ctx context.Context, q LedgerQuery) (LedgerPage, error) {
	limit := limitOf(q.Limit)
	var w where
	w.add("seq > $?", q.After)
	w.addText("device_id", q.DeviceID)
	w.addText("workflow_id", q.WorkflowID)
	w.addText("incident_id", q.IncidentID)
	order := "ASC"
	if q.Newest {
		order = "DESC"
	}
	// One more than asked for says whether there is a next page.
	query := fmt.Sprintf(`SELECT %s FROM ledger%s ORDER BY seq %s LIMIT %d`, ledgerColumns, &w, order, limit+1)
	page := LedgerPage{Entries: []LedgerEntry{}}
	err := s.read(ctx, func(scan func(...any) error) error {
		var e LedgerEntry
		err := scanEntry(&e, scan)
		page.Entries = append(page.Entries, e)
		return err
	}, query, w.args...)
	if err != nil {
		return LedgerPage{}, fmt.Errorf("list ledger: %w", err)
	}
	more := len(page.Entries) > limit
	if more {
		page.Entries = page.Entries[:limit]
	}
	if q.Newest {
		slices.Reverse(page.Entries)
	} else if more {
		page.Next = page.Entries[limit-1].Seq
	}
	return page, nil
}

// Export gives every entry that the query selects, in order, however many
// there are; its Limit and Newest do not count. It ends after the first error.
func (s *Store) Export(ctx context.Context, q LedgerQuery) iter.Seq2[LedgerEntry, error] {
	q.Limit, q.Newest = maxLimit, false
	return func(yield func(LedgerEntry, error) bool) {
		for {
			page, err := s.ListLedger(ctx, q)
			if err != nil {
				yield(LedgerEntry{}, fmt.Errorf("export: %w", err))
				return
			}
			for _, e := range page.Entries {
				if !yield(e, nil) {
					return
				}
			}
			if q.After = page.Next; page.Next == 0 {
				return
			}
		}
	}
}

// FindIntent returns the intent that was appended under the key, or
// ErrNotFound.
func (s *Store) FindIntent(ctx context.Context, k EffectKey) (LedgerEntry, error) {
	return s.findEntry(ctx, PhaseIntent, k)
}

// FindResult returns the result that was appended under the key, or
// ErrNotFound. An intent without a result says that a write may or may not
// have happened: the device has to be read back.
func (s *Store) FindResult(ctx context.Context, k EffectKey) (LedgerEntry, error) {
	return s.findEntry(ctx, PhaseResult, k)
}

func (k EffectKey) cleaned() EffectKey {
	return EffectKey{clean(k.WorkflowID), clean(k.RunID), clean(k.ActivityID), clean(k.Action), clean(k.Item)}
}

func (s *Store) findEntry(ctx context.Context, phase string, k EffectKey) (LedgerEntry, error) {
	var e LedgerEntry
	found := false
	err := s.read(ctx, func(scan func(...any) error) error {
		found = true
		return scanEntry(&e, scan)
	}, selectByKey+` AND phase = $6`, append(k.cleaned().args(), phase)...)
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return LedgerEntry{}, fmt.Errorf("find %s of %s: %w", phase, k, err)
	}
	return e, nil
}
