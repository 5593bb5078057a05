package store

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/zap"
)

const (
	// pgTimeout bounds one write transaction, the wait for others included.
	pgTimeout = 30 * time.Second
	pgConns   = 10
	// pgStartLock is the advisory lock under which a process migrates: "EFLT".
	pgStartLock = 0x45464c54
)

// openPostgres opens a database. The tables stand in the first schema of the
// connection's search_path, which the URL can set (?search_path=edgefleet).
func (s *Store) openPostgres(ctx context.Context, url string) error {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return invalidf("the PostgreSQL URL cannot be read (%v): want postgres://user:password@host:port/database", err)
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "edgefleet"
	}
	s.name = fmt.Sprintf("postgres://%s@%s/%s", cfg.User, net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))), cfg.Database)
	s.dialect = dialect{name: "postgres", lockHead: true, timeout: pgTimeout, snapshot: sql.LevelRepeatableRead}
	s.db = stdlib.OpenDB(*cfg)
	s.db.SetMaxOpenConns(pgConns)
	s.db.SetMaxIdleConns(pgConns)
	s.db.SetConnMaxIdleTime(5 * time.Minute)
	s.readers = s.db
	if err = s.startPostgres(ctx); err != nil {
		_ = s.closeDB()
	}
	return err
}

func (s *Store) startPostgres(ctx context.Context) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return s.explain(err)
	}
	defer func() { _ = conn.Close() }()
	s.warnIfNotDurable(ctx, conn)
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, pgStartLock); err != nil {
		return s.explain(err)
	}
	defer func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, pgStartLock)
	}()
	return s.migrate(ctx)
}

// warnIfNotDurable says when the server may lose what it has confirmed: a
// device could then have been changed without a trace in the ledger.
func (s *Store) warnIfNotDurable(ctx context.Context, conn *sql.Conn) {
	for _, name := range []string{"fsync", "full_page_writes"} {
		var value string
		err := conn.QueryRowContext(ctx, `SELECT current_setting($1)`, name).Scan(&value)
		if err == nil && value == "off" {
			s.opts.Logger.Warn("the database may lose confirmed ledger entries in a crash: switch this setting on",
				zap.String("store", s.name), zap.String("setting", name))
		}
	}
}
