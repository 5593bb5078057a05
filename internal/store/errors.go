package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrNotFound says that what was asked for does not exist.
	ErrNotFound = errors.New("not found")
	// ErrInvalid says that the request itself cannot be carried out, now or
	// later: a field is missing, too long, or has a value that it cannot have.
	ErrInvalid = errors.New("invalid request")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("the store is closed")

	// ErrLeaseHeld says that another workflow holds the device; the error is
	// a *LeaseHeldError.
	ErrLeaseHeld = errors.New("the device is held by another workflow")
	// ErrLeaseLost says that the given token is not the device's present one.
	ErrLeaseLost = errors.New("the lease on the device is lost")
	// ErrLeaseBusy says that a lease cannot be reaped because a write is in
	// flight; the error is a *LeaseBusyError.
	ErrLeaseBusy = errors.New("a write to the device is in flight")
	// ErrIncidentEnded says that an incident has its end and cannot go on.
	ErrIncidentEnded = errors.New("the incident has ended")

	// ErrLedgerConflict says that the ledger has an entry of the same
	// workflow, run, activity, action, item and phase with other content.
	ErrLedgerConflict = errors.New("the ledger has another entry under the same key")
	// ErrNoIntent says that a result has no intent before it.
	ErrNoIntent = errors.New("the ledger has no intent for this result")
	// ErrLedgerDamaged says that the ledger's head is missing or not as the
	// store wrote it; nothing is appended until a person has looked.
	ErrLedgerDamaged = errors.New("the ledger was tampered with or damaged")
	// ErrLedgerKey says that the ledger was begun with another key than the
	// one given, with none where one is given, or the other way round.
	ErrLedgerKey = errors.New("wrong ledger key")

	// ErrDamaged says that the database file is damaged, or no database.
	ErrDamaged = errors.New("the database file is damaged")
	// ErrNewerSchema says that a newer edgefleet has migrated the database.
	ErrNewerSchema = errors.New("the database was migrated by a newer edgefleet")

	// errTimeout is the store's own limit on a transaction.
	errTimeout = errors.New("the database did not answer in time")
)

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// IsTransient says that the same call may succeed later without anybody
// changing anything about it: the database was locked, full, starting,
// stopping, failing over, or could not be reached.
func IsTransient(err error) bool {
	if err == nil || errors.Is(err, ErrDamaged) {
		return false
	}
	if errors.Is(err, errTimeout) {
		return true
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_INTERRUPT:
			return true
		}
		return false
	}
	// The server's own word comes before what the connection made of it: a
	// wrong password is a ConnectError too.
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return transientState(pg.Code)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// transientState sorts the SQLSTATE codes of PostgreSQL (appendix A of its
// manual).
func transientState(code string) bool {
	switch code {
	case "40001", "40P01", // serialization failure, deadlock
		"55P03",                   // lock not available
		"57P01", "57P02", "57P03", // shutdown, crash, starting up
		"25006": // read-only: a standby, during a failover
		return true
	}
	// Connection exceptions; insufficient resources: disk, memory, connections.
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53")
}

// explain says in one line what a person has to do about an error that the
// database gave, where there is something to say.
func (s *Store) explain(err error) error {
	if err == nil || errors.Is(err, ErrDamaged) {
		return err
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
			return fmt.Errorf("store %s: %w (%w): stop the workers and restore the file from a backup", s.name, ErrDamaged, err)
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return fmt.Errorf("store %s: the file is locked by another program (%w): end that program, or wait", s.name, err)
		case sqlite3.SQLITE_READONLY:
			return fmt.Errorf("store %s: the file or its folder cannot be written (%w): give this user write permission on both", s.name, err)
		case sqlite3.SQLITE_FULL:
			return fmt.Errorf("store %s: the disk is full (%w): free some space", s.name, err)
		}
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("store %s: %w (%w)", s.name, errTimeout, err)
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return fmt.Errorf("store %s: cannot connect (%w): check that the server runs, and the URL", s.name, oneLine{connect})
	}
	return fmt.Errorf("store %s: %w", s.name, err)
}

// oneLine is an error of several lines, one for each address that was tried,
// shown by the last one: what comes before says the same.
type oneLine struct{ error }

func (e oneLine) Unwrap() error { return e.error }

func (e oneLine) Error() string {
	lines := strings.Split(strings.TrimSpace(e.error.Error()), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
