package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

const (
	// sqliteAppID marks a database file as ours ("EFLT"), so that a store is
	// never built into another program's file.
	sqliteAppID = 0x45464c54
	// sqliteStartWait bounds the wait for another process that is migrating.
	sqliteStartWait = time.Minute
	sqliteReaders   = 4
)

// openSQLite opens the file of a URL like "sqlite:PATH", given what follows the
// first colon.
func (s *Store) openSQLite(ctx context.Context, path string) error {
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		path = rest // sqlite:///absolute/path, as URLs are often written
	}
	if path == "" || path == ":memory:" {
		return invalidf("the URL sqlite:%s names no file", path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("store %s: %w", path, err)
	}
	s.name = path
	s.dialect = dialect{name: "sqlite", keepConn: true, snapshot: sql.LevelDefault}
	if err := prepareFile(path); err != nil {
		return err
	}
	// Two processes that start at once would otherwise both convert the file
	// and both migrate it.
	unlock, err := lockStart(ctx, path+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	// A write takes its lock when it begins, not when it first writes: a lock
	// that has to be upgraded can fail half-way.
	s.db, err = sql.Open("sqlite", sqliteDSN(path, s.opts.BusyTimeout, "_txlock=immediate"))
	if err != nil {
		return s.explain(err)
	}
	s.db.SetMaxOpenConns(1)
	s.readers, err = sql.Open("sqlite", sqliteDSN(path, s.opts.BusyTimeout, "_pragma=query_only(1)"))
	if err != nil {
		return s.explain(err)
	}
	s.readers.SetMaxOpenConns(sqliteReaders)
	s.readers.SetMaxIdleConns(sqliteReaders)
	if err = s.claimFile(ctx); err == nil {
		err = s.migrate(ctx)
	}
	if err != nil {
		_ = s.closeDB()
	}
	return err
}

// prepareFile creates a new file for the eyes of its owner only; SQLite would
// leave that to the umask.
func prepareFile(path string) error {
	switch info, err := os.Stat(filepath.Dir(path)); {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("store %s: the folder %s does not exist: create it", path, filepath.Dir(path))
	case err != nil:
		return fmt.Errorf("store %s: %w", path, err)
	case !info.IsDir():
		return fmt.Errorf("store %s: %s is not a folder", path, filepath.Dir(path))
	}
	switch info, err := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("store %s: cannot create the file (%w): give this user write permission on the folder", path, err)
		}
		return f.Close()
	case err != nil:
		return fmt.Errorf("store %s: %w", path, err)
	case info.IsDir():
		return fmt.Errorf("store %s: it is a folder: name a file in it", path)
	}
	return nil
}

func sqliteDSN(path string, busy time.Duration, more ...string) string {
	params := append([]string{
		fmt.Sprintf("_pragma=busy_timeout(%d)", busy.Milliseconds()),
		"_pragma=journal_mode(WAL)", "_pragma=synchronous(FULL)", "_pragma=foreign_keys(1)",
		// A long verification keeps the log from being folded in; afterwards it
		// shrinks again.
		"_pragma=journal_size_limit(67108864)",
	}, more...)
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + strings.Join(params, "&")
}

// lockStart holds the lock under which a process opens and migrates a store.
// It is an exclusive transaction on an empty database file beside the store's:
// the same on every operating system, and gone with the process that held it.
func lockStart(ctx context.Context, path string) (unlock func(), err error) {
	fail := func(err error) (func(), error) {
		return nil, fmt.Errorf("store lock %s: cannot be taken (%w): is another process starting on the same store, or the folder not writable?", path, err)
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=busy_timeout(100)&_txlock=exclusive")
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, sqliteStartWait)
	defer cancel()
	for {
		tx, err := db.BeginTx(context.Background(), nil)
		if err == nil {
			return func() { _ = tx.Rollback(); _ = db.Close() }, nil
		}
		if !IsTransient(err) || ctx.Err() != nil {
			_ = db.Close()
			return fail(errors.Join(err, ctx.Err()))
		}
	}
}

// claimFile makes an empty file ours, and refuses one of another program.
func (s *Store) claimFile(ctx context.Context) error {
	var id, tables int64
	err := s.db.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&id)
	if err == nil {
		err = s.db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master`).Scan(&tables)
	}
	if err != nil {
		return s.explain(err)
	}
	switch {
	case id == sqliteAppID:
		return nil
	case id != 0 || tables > 0:
		return fmt.Errorf("store %s: the file is the database of another program: name another file", s.name)
	}
	if _, err := s.db.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d`, sqliteAppID)); err != nil {
		return s.explain(err)
	}
	return nil
}
