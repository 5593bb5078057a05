package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"go.uber.org/zap"
)

//go:embed migrations
var migrations embed.FS

// versionTable is where the migrations that were run are noted.
const versionTable = "schema_version"

// migrate brings the schema to the version of this binary and makes sure that
// the ledger has its head. The caller holds the lock that makes one process do
// it.
func (s *Store) migrate(ctx context.Context) error {
	dialects := map[string]goose.Dialect{"sqlite": goose.DialectSQLite3, "postgres": goose.DialectPostgres}
	files, err := fs.Sub(migrations, "migrations/"+s.dialect.name)
	if err != nil {
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	provider, err := goose.NewProvider(dialects[s.dialect.name], s.db, files,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("store %s: read migrations: %w", s.name, err)
	}
	have, want, err := provider.GetVersions(ctx)
	if err != nil {
		return s.explain(err)
	}
	if have > want {
		return fmt.Errorf("store %s: %w: its schema is version %d, this program knows up to %d: upgrade this program",
			s.name, ErrNewerSchema, have, want)
	}
	if s.opts.schema > 0 {
		want = s.opts.schema
	}
	results, err := provider.UpTo(ctx, want)
	if err != nil {
		return s.explain(err)
	}
	for _, r := range results {
		s.opts.Logger.Info("migrated the store", zap.String("store", s.name), zap.Int64("version", r.Source.Version))
	}
	return s.ensureHead(ctx)
}

// ensureHead begins the ledger of a new store, and otherwise checks that the
// key is the ledger's. A head that was tampered with does not keep the store
// from opening, since audit verify needs it open; it keeps it from appending.
func (s *Store) ensureHead(ctx context.Context) error {
	head := ledgerHead{LastHash: genesisHash, KeyID: s.hash.keyID}
	head.MAC = s.hash.head(head)
	_, err := s.db.ExecContext(ctx, `INSERT INTO ledger_head (id, count, last_hash, key_id, mac)
		SELECT 1, $1, $2, $3, $4 WHERE NOT EXISTS (SELECT 1 FROM ledger) ON CONFLICT DO NOTHING`,
		head.Count, head.LastHash, head.KeyID, head.MAC)
	if err != nil {
		return s.explain(err)
	}
	found := false
	err = s.read(ctx, func(scan func(...any) error) error {
		found = true
		return scan(&head.Count, &head.LastHash, &head.KeyID, &head.MAC)
	}, selectHead)
	if err != nil {
		return err
	}
	if !found {
		s.opts.Logger.Error("the ledger's head is gone and nothing will be appended: run audit verify", zap.String("store", s.name))
		return nil
	}
	if err = s.hash.checkHead(head); errors.Is(err, ErrLedgerKey) {
		return fmt.Errorf("store %s: %w", s.name, err)
	} else if err != nil {
		s.opts.Logger.Error("nothing will be appended to the ledger", zap.String("store", s.name), zap.Error(err))
	}
	return nil
}
