package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"go.temporal.io/server/common/persistence/sql/sqlplugin"
	sqliteschema "go.temporal.io/server/schema/sqlite"
	"go.uber.org/zap"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	databaseFile = "temporal.db"
	lockFile     = "engine.lock"

	// databaseFormat counts what this package itself puts into the file and
	// relies on, beside Temporal's schema: the table below and the number of
	// history shards, which can't be changed once workflows exist.
	databaseFormat = 1
	historyShards  = 1

	// checkedBytes is up to which size a database is checked page by page at
	// the start; beyond, that would keep people waiting.
	checkedBytes = 512 << 20
)

// schemaVersion names the version of Temporal's SQLite schema. The server
// itself doesn't record it in SQLite, and has no migrations for it.
var schemaVersion = sqliteschema.Version + "/" + sqliteschema.VisibilityVersion

// prepareDatabase creates the database when there is none, or else checks that
// it is whole and of this version. The caller holds the folder's lock.
func prepareDatabase(ctx context.Context, path string, log *zap.Logger) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return createDatabase(ctx, path)
	case err != nil:
		return fmt.Errorf("engine database: %w", err)
	case info.IsDir():
		return fmt.Errorf("engine database %s is a folder: move it away", path)
	}
	return checkDatabase(ctx, path, info.Size(), log)
}

// openDatabase opens the file beside the server, before it starts or after it
// has stopped.
func openDatabase(path, mode string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+uriPath(path)+
		"?mode="+mode+"&_pragma=journal_mode(wal)&_pragma=synchronous(2)&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// uriPath escapes a path for SQLite's file: URIs.
func uriPath(path string) string {
	return (&url.URL{Path: path}).EscapedPath()
}

// createDatabase makes the schema in one transaction, so that a power cut in
// the middle leaves an empty file rather than half a schema.
func createDatabase(ctx context.Context, path string) (err error) {
	db, err := openDatabase(path, "rwc")
	if err != nil {
		return fmt.Errorf("create engine database %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return explain(path, "create", err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := sqliteschema.SetupSchemaOnDB(schemaTarget{ctx: ctx, tx: tx}); err != nil {
		return explain(path, "create", err)
	}
	for _, statement := range []string{
		`CREATE TABLE edgefleet_engine (one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL, schema_version TEXT NOT NULL, shards INTEGER NOT NULL)`,
		fmt.Sprintf(`INSERT INTO edgefleet_engine VALUES (1, %d, '%s', %d)`, databaseFormat, schemaVersion, historyShards),
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return explain(path, "create", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return explain(path, "create", err)
	}
	return nil
}

// schemaTarget lets the server's own set-up write into a transaction; Exec is
// the one method of the interface that it calls.
type schemaTarget struct {
	sqlplugin.AdminDB
	ctx context.Context
	tx  *sql.Tx
}

func (t schemaTarget) Exec(statement string, args ...any) error {
	_, err := t.tx.ExecContext(t.ctx, statement, args...)
	return err
}

func checkDatabase(ctx context.Context, path string, size int64, log *zap.Logger) (err error) {
	db, err := openDatabase(path, "rw")
	if err != nil {
		return explain(path, "open", err)
	}
	closed := false
	closeDB := func() error {
		if closed {
			return nil
		}
		closed = true
		return db.Close()
	}
	defer func() { err = errors.Join(err, closeDB()) }()

	var tables int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master`).Scan(&tables); err != nil {
		return explain(path, "open", err)
	}
	if tables == 0 { // The set-up was cut off before it committed.
		if err := closeDB(); err != nil {
			return explain(path, "open", err)
		}
		return createDatabase(ctx, path)
	}
	if size <= checkedBytes {
		var finding string
		if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&finding); err != nil {
			return explain(path, "check", err)
		}
		if finding != "ok" {
			return damaged(path, finding)
		}
	} else {
		log.Warn("the engine's database is too large to be checked at every start",
			zap.String("file", path), zap.Int64("bytes", size))
	}
	return checkVersion(ctx, db, path)
}

func checkVersion(ctx context.Context, db *sql.DB, path string) error {
	var ours int
	err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'edgefleet_engine'`).Scan(&ours)
	if err != nil {
		return explain(path, "open", err)
	}
	if ours == 0 {
		return fmt.Errorf("engine database %s was made by another program: move it away, or use another data folder", path)
	}
	// Only the format is sure to exist in every version of the table.
	var format int
	if err := db.QueryRowContext(ctx, `SELECT format FROM edgefleet_engine`).Scan(&format); err != nil {
		return explain(path, "read the version of", err)
	}
	if format > databaseFormat {
		return fmt.Errorf("engine database %s is newer than this program (format %d, known %d): use the newer edgefleet again, or move the file away", path, format, databaseFormat)
	}
	var schema string
	var shards int
	if err := db.QueryRowContext(ctx, `SELECT schema_version, shards FROM edgefleet_engine`).Scan(&schema, &shards); err != nil {
		return explain(path, "read the version of", err)
	}
	if schema != schemaVersion || shards != historyShards {
		return fmt.Errorf("engine database %s was made by another version of edgefleet (Temporal schema %s with %d shards, this one needs %s with %d): use that version until its workflows have ended, then move the file away", path, schema, shards, schemaVersion, historyShards)
	}
	return nil
}

// foldWAL moves what stands in the write-ahead log into the database itself,
// so that a copy of the one file is a whole backup. The server's connection
// pool never closes its connection, which would have done that.
func foldWAL(ctx context.Context, path string) (err error) {
	db, err := openDatabase(path, "rw")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	return err
}

func damaged(path, finding string) error {
	return fmt.Errorf("engine database %s is damaged (%s): restore a copy of it, or move it away to begin without the workflows in it",
		path, strings.ReplaceAll(finding, "\n", "; "))
}

// explain turns SQLite's errors into what to do about them.
func explain(path, doing string, err error) error {
	var sqliteErr *sqlite.Error
	if errors.As(err, &sqliteErr) {
		switch sqliteErr.Code() & 0xff {
		case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
			return damaged(path, sqliteErr.Error())
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
			return fmt.Errorf("engine database %s can't be written (%w): give this user the folder, or use another one with --data-dir", path, err)
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return fmt.Errorf("engine database %s is in use by another program: stop that one first", path)
		case sqlite3.SQLITE_FULL:
			return fmt.Errorf("engine database %s: the disk is full: make room and start again", path)
		}
	}
	return fmt.Errorf("%s engine database %s: %w", doing, path, err)
}
