package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
)

// Options are what Open takes beside the URL. The zero value is usable.
type Options struct {
	// LedgerKey is the secret of the ledger's chain, at least 16 bytes; empty
	// makes a chain without a key. A ledger keeps the kind that it began with.
	LedgerKey []byte
	// Logger hears of migrations and of databases that run without durable
	// commits; nil is silence.
	Logger *zap.Logger
	// Clock gives the time of everything that is stored; nil is time.Now.
	Clock func() time.Time
	// CapturesKept is how many captured settings are kept for each device; 0
	// is 1000. The run that captures never loses its own.
	CapturesKept int
	// MaxBatch is how many callers' writes are committed together at most; 0
	// is 128, 1 gives every write a transaction of its own.
	MaxBatch int
	// BusyTimeout is how long a statement on SQLite waits for another process's
	// write before it fails with a transient error; 0 is 5 s.
	BusyTimeout time.Duration

	// schema is the version to migrate to; 0 is the newest. Tests make the
	// stores of earlier versions with it.
	schema int64
}

const minKeyBytes = 16

func (o Options) withDefaults() (Options, error) {
	if n := len(o.LedgerKey); n > 0 && n < minKeyBytes {
		return o, invalidf("the ledger key has %d bytes, want at least %d", n, minKeyBytes)
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.CapturesKept <= 0 {
		o.CapturesKept = 1000
	}
	if o.MaxBatch <= 0 {
		o.MaxBatch = 128
	}
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = 5 * time.Second
	}
	return o, nil
}

// Store is an open store. It is safe for concurrent use.
type Store struct {
	// name is how errors call the store: the path, or the URL without a
	// password.
	name    string
	dialect dialect
	opts    Options
	hash    hasher
	// db writes; on SQLite it is exactly one connection. readers never write;
	// on PostgreSQL they are the same pool.
	db, readers *sql.DB
	questions   questions
	writer      *writer

	closeOnce sync.Once
	closeErr  error
}

// dialect is where the two databases differ.
type dialect struct {
	name string
	// lockHead locks the ledger's head at the start of every write, which puts
	// the writes of all processes in one order. SQLite has one writer anyway.
	lockHead bool
	// keepConn holds on to one connection and its prepared statements; the
	// PostgreSQL driver keeps its own.
	keepConn bool
	// timeout bounds a write transaction; SQLite's own busy timeout does there.
	timeout time.Duration
	// snapshot is the isolation level under which a long read sees one state.
	snapshot sql.IsolationLevel
}

// Open opens the store at a URL: "sqlite:PATH" for a file that is created when
// it does not exist, or "postgres://user:password@host:port/database?options".
// It migrates the schema, once even when several processes open the store at
// the same moment. Its errors are one line each, with what to do.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{opts: opts, hash: newHasher(opts.LedgerKey)}
	switch scheme, rest, _ := strings.Cut(url, ":"); scheme {
	case "sqlite":
		err = s.openSQLite(ctx, rest)
	case "postgres", "postgresql":
		err = s.openPostgres(ctx, url)
	default:
		// The URL is not quoted as a whole: it may hold a password.
		err = invalidf("the URL begins with %.20q: want sqlite:PATH or postgres://user@host/database", scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.writer = newWriter(s)
	return s, nil
}

// Close finishes the writes that are already accepted and closes the database.
// It can be called more than once.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.writer.close()
		s.closeErr = s.closeDB()
	})
	return s.closeErr
}

func (s *Store) closeDB() error {
	var err error
	if s.readers != nil && s.readers != s.db {
		err = s.readers.Close()
	}
	if s.db != nil {
		if e := s.db.Close(); err == nil {
			err = e
		}
	}
	return err
}

// Ping asks the database whether it answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.readers.QueryRowContext(ctx, `SELECT 1`).Scan(&one); err != nil {
		return fmt.Errorf("ping: %w", s.explain(err))
	}
	return nil
}

// Limits of what one call can store or return.
const (
	maxKeyText   = 500     // bytes of an ID, an action or an item
	maxWorkflow  = 1000    // bytes of a workflow ID, which is Temporal's own limit
	maxText      = 1 << 20 // bytes of any other text
	defaultLimit = 100
	maxLimit     = 1000
)

func limitOf(limit int) int {
	switch {
	case limit <= 0:
		return defaultLimit
	case limit > maxLimit:
		return maxLimit
	}
	return limit
}

// clean makes text storable in both databases alike.
func clean(s string) string {
	if utf8.ValidString(s) && !strings.Contains(s, "\x00") {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// field is a text of a request with what it has to fulfil.
type field struct {
	name     string
	text     *string
	max      int
	required bool
}

// checkFields cleans the fields and refuses what is missing or too long.
func checkFields(fields ...field) error {
	for _, f := range fields {
		*f.text = clean(*f.text)
		if f.required && *f.text == "" {
			return invalidf("%s is empty", f.name)
		}
		if len(*f.text) > f.max {
			return invalidf("%s has %d bytes, want at most %d", f.name, len(*f.text), f.max)
		}
	}
	return nil
}

// micros and fromMicros are how times stand in the database.
func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// nullMicros is a time that may be missing.
type nullMicros = sql.NullInt64

func toNullMicros(t *time.Time) nullMicros {
	if t == nil {
		return nullMicros{}
	}
	return nullMicros{Int64: micros(*t), Valid: true}
}

func fromNullMicros(us nullMicros) *time.Time {
	if !us.Valid {
		return nil
	}
	t := fromMicros(us.Int64)
	return &t
}
