package store

import (
	"fmt"
	"strings"
)

// MaxBulk is how many devices one call for bulk work can have.
const MaxBulk = 1000

// bulkSizes are the numbers of rows or keys that one statement takes, largest
// first. They are few, because every prepared statement is kept.
var bulkSizes = [...]int{128, 16, 1}

// valuesList builds the VALUES of an INSERT of several rows.
type valuesList struct {
	rows []string
	args []any
}

func (v *valuesList) add(args ...any) {
	marks := make([]string, len(args))
	for i := range args {
		marks[i] = fmt.Sprintf("$%d", len(v.args)+i+1)
	}
	v.args = append(v.args, args...)
	v.rows = append(v.rows, "("+strings.Join(marks, ", ")+")")
}

func (v *valuesList) String() string { return strings.Join(v.rows, ", ") }

// insertRows runs "insert VALUES rows tail" in as few statements as there can
// be.
func (t *txn) insertRows(insert string, rows [][]any, tail string) error {
	for _, size := range bulkSizes {
		for ; len(rows) >= size; rows = rows[size:] {
			var v valuesList
			for _, row := range rows[:size] {
				v.add(row...)
			}
			if _, err := t.exec(insert+" VALUES "+v.String()+tail, v.args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// inKeys calls do with "IN (...)" and its arguments for parts of the keys, until
// all had their turn. The placeholders begin after those of args, which stand
// before the keys.
func inKeys(keys []string, args []any, do func(in string, args []any) error) error {
	for len(keys) > 0 {
		n := min(len(keys), bulkSizes[0])
		size := n
		for _, s := range bulkSizes {
			if s >= n {
				size = s
			}
		}
		marks, all := make([]string, size), append([]any(nil), args...)
		for i := range size {
			// What is missing to a whole statement is filled up with the last
			// key: once more in the list, it selects nothing more.
			all = append(all, keys[min(i, n-1)])
			marks[i] = fmt.Sprintf("$%d", len(all))
		}
		if err := do("IN ("+strings.Join(marks, ", ")+")", all); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}
