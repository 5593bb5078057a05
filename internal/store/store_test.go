package store

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var pgServer postgresServer

func TestMain(m *testing.M) {
	flag.Parse()
	if runAsChild() {
		return
	}
	code := m.Run()
	pgServer.Stop()
	if errors.Is(pgServer.err, errNoPostgres) {
		fmt.Fprintln(os.Stderr, "store:", errNoPostgres)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "store: goroutines left over:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// clock is a time that tests move.
type clock struct{ us atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.us.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) Now() time.Time          { return time.UnixMicro(c.us.Load()) }
func (c *clock) Advance(d time.Duration) { c.us.Add(d.Microseconds()) }

var testKey = []byte("0123456789abcdef0123456789abcdef")

// place is where a test's store is: opened twice, it is the same store.
type place struct {
	kind, url string
	// raw opens the database beside the store.
	raw func(t testing.TB) *sql.DB
}

func (p place) open(t testing.TB, opts Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), p.url, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func sqlitePlace(t testing.TB) place {
	path := filepath.Join(t.TempDir(), "store.db")
	return place{kind: "sqlite", url: "sqlite:" + path, raw: func(t testing.TB) *sql.DB { return openRaw(t, "sqlite", sqliteDSN(path, time.Second)) }}
}

var schemaNumber atomic.Int64

func postgresPlace(t testing.TB, base string) place {
	schema := fmt.Sprintf("test_%d_%d", os.Getpid(), schemaNumber.Add(1))
	admin, err := sql.Open("pgx", base)
	require.NoError(t, err)
	_, err = admin.Exec("CREATE SCHEMA " + schema)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := admin.Exec("DROP SCHEMA " + schema + " CASCADE")
		require.NoError(t, err)
		require.NoError(t, admin.Close())
	})
	u, err := url.Parse(base)
	require.NoError(t, err)
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return place{kind: "postgres", url: u.String(), raw: func(t testing.TB) *sql.DB { return openRaw(t, "pgx", u.String()) }}
}

func openRaw(t testing.TB, driver, dsn string) *sql.DB {
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// eachPlace runs a test on both databases. Without PostgreSQL it runs on SQLite
// alone, except in CI, where both have to be there.
func eachPlace(t *testing.T, test func(t *testing.T, p place)) {
	t.Run("sqlite", func(t *testing.T) { test(t, sqlitePlace(t)) })
	base, err := pgServer.URL()
	if errors.Is(err, errNoPostgres) && os.Getenv("CI") == "" {
		return
	}
	t.Run("postgres", func(t *testing.T) {
		require.NoError(t, err)
		test(t, postgresPlace(t, base))
	})
}

var bg = context.Background()

func record(i int) Record {
	return Record{
		Actor: "alert:EdgeDeviceOffline", DeviceID: fmt.Sprintf("edge-%03d", i%8), Action: "apply_baseline_config",
		Item: "WMax", Before: "4000", After: "5000", Reason: "drift", IncidentID: "inc-1",
		WorkflowID: "remediate/edge", RunID: "run-1", ActivityID: fmt.Sprint(i), PlanHash: "abc",
	}
}

func appendEvents(t testing.TB, s *Store, n int) []LedgerEntry {
	entries := make([]LedgerEntry, n)
	for i := range entries {
		e, err := s.AppendEvent(bg, record(i))
		require.NoError(t, err)
		entries[i] = e
	}
	return entries
}

func TestOpen(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		t.Run("a store that is opened again has what it had", func(t *testing.T) {
			s, err := Open(bg, p.url, Options{LedgerKey: testKey})
			require.NoError(t, err)
			e, err := s.AppendEvent(bg, record(1))
			require.NoError(t, err)
			require.NoError(t, s.Ping(bg))
			require.NoError(t, s.Close())
			require.NoError(t, s.Close(), "a second close does nothing")
			_, err = s.AppendEvent(bg, record(2))
			require.ErrorIs(t, err, ErrClosed)

			page, err := p.open(t, Options{LedgerKey: testKey}).ListLedger(bg, LedgerQuery{})
			require.NoError(t, err)
			require.Equal(t, []LedgerEntry{e}, page.Entries)
		})
		t.Run("another key is refused with the names of both", func(t *testing.T) {
			_, err := Open(bg, p.url, Options{LedgerKey: []byte("another key of sixteen and more")})
			require.ErrorIs(t, err, ErrLedgerKey)
			require.Regexp(t, `begun with key [0-9a-f]{16} and key [0-9a-f]{16} is given`, err.Error())
			_, err = Open(bg, p.url, Options{})
			require.ErrorIs(t, err, ErrLedgerKey)
			require.ErrorContains(t, err, "no key is given")
		})
		t.Run("a newer schema is refused", func(t *testing.T) {
			db := p.raw(t)
			_, err := db.Exec(`INSERT INTO schema_version (version_id, is_applied) VALUES (99, ` +
				map[string]string{"sqlite": "1", "postgres": "true"}[p.kind] + `)`)
			require.NoError(t, err)
			_, err = Open(bg, p.url, Options{LedgerKey: testKey})
			require.ErrorIs(t, err, ErrNewerSchema)
			require.ErrorContains(t, err, "its schema is version 99, this program knows up to 5: upgrade this program")
		})
	})
}

func TestStoresThatStartAtOnceMigrateOnce(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		const n = 6
		stores := make([]*Store, n)
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range stores {
			wg.Go(func() { stores[i], errs[i] = Open(bg, p.url, Options{LedgerKey: testKey}) })
		}
		wg.Wait()
		for i, s := range stores {
			require.NoError(t, errs[i])
			_, err := s.AppendEvent(bg, record(i))
			require.NoError(t, err)
			require.NoError(t, s.Close())
		}
		var versions int
		require.NoError(t, p.raw(t).QueryRow(`SELECT count(*) FROM schema_version WHERE version_id = 1`).Scan(&versions))
		require.Equal(t, 1, versions)
	})
}

func TestOpenSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	damaged := filepath.Join(dir, "damaged.db")
	require.NoError(t, os.WriteFile(damaged, []byte(strings.Repeat("no database at all ", 500)), 0o600))
	foreign := filepath.Join(dir, "foreign.db")
	_, err := openRaw(t, "sqlite", sqliteDSN(foreign, time.Second)).Exec(`CREATE TABLE executions (id TEXT)`)
	require.NoError(t, err)

	tests := []struct{ rule, url, want string }{
		{"a damaged file names the remedy", "sqlite:" + damaged, `the database file is damaged .*restore the file from a backup`},
		{"another program's file is refused", "sqlite:" + foreign, `the file is the database of another program: name another file`},
		{"a missing folder is named", "sqlite:" + filepath.Join(dir, "no", "store.db"), `the folder .*/no does not exist: create it`},
		{"a folder is no file", "sqlite:" + dir, `it is a folder: name a file in it`},
		{"a URL names a file", "sqlite:", `names no file`},
		{"memory is no store", "sqlite::memory:", `names no file`},
		{"only two databases are known", "mysql://root:secret@host/db", `the URL begins with "mysql": want sqlite:PATH or postgres://`},
		{"a bad PostgreSQL URL shows its form", "postgres://u:secret@host:port/db", `want postgres://user:password@host:port/database`},
		{"an unreachable server is named", "postgres://u:secret@127.0.0.1:1/db?connect_timeout=2", `store postgres://u@127.0.0.1:1/db: .*connection refused`},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := Open(bg, tt.url, Options{})
			require.Error(t, err)
			require.Regexp(t, tt.want, err.Error())
			require.NotContains(t, err.Error(), "secret")
			require.NotContains(t, strings.TrimSpace(err.Error()), "\n")
		})
	}
	t.Run("a short key is refused", func(t *testing.T) {
		_, err := Open(bg, "sqlite:"+filepath.Join(dir, "s.db"), Options{LedgerKey: []byte("short")})
		require.ErrorContains(t, err, "the ledger key has 5 bytes, want at least 16")
	})
}

func TestFileThatWasDamagedLaterNamesTheRemedy(t *testing.T) {
	p := sqlitePlace(t)
	s, err := Open(bg, p.url, Options{})
	require.NoError(t, err)
	appendEvents(t, s, 20)
	require.NoError(t, s.Close())
	path := strings.TrimPrefix(p.url, "sqlite:")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := 4096; i < len(data); i++ {
		data[i] ^= 0x5a
	}
	require.NoError(t, os.WriteFile(path, data, 0o600))
	_, err = Open(bg, p.url, Options{})
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "restore the file from a backup")
	require.False(t, IsTransient(err))
}

func TestFileIsForItsOwnerOnly(t *testing.T) {
	p := sqlitePlace(t)
	p.open(t, Options{})
	info, err := os.Stat(strings.TrimPrefix(p.url, "sqlite:"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestPathsWithOddCharacters(t *testing.T) {
	for _, name := range []string{"a b.db", "50%.db", "what?.db", "a#b.db", "ü.db"} {
		path := filepath.Join(t.TempDir(), name)
		place{url: "sqlite://" + path}.open(t, Options{})
		require.FileExists(t, path)
	}
}

func TestLockedFileIsTransientAndSaysSo(t *testing.T) {
	p := sqlitePlace(t)
	s := p.open(t, Options{BusyTimeout: 50 * time.Millisecond})
	conn, err := p.raw(t).Conn(bg)
	require.NoError(t, err)
	_, err = conn.ExecContext(bg, `BEGIN EXCLUSIVE`)
	require.NoError(t, err)
	_, err = s.AppendEvent(bg, record(1))
	require.ErrorContains(t, err, "the file is locked by another program")
	require.True(t, IsTransient(err))
	_, err = conn.ExecContext(bg, `ROLLBACK`)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	_, err = s.AppendEvent(bg, record(1))
	require.NoError(t, err, "the writer goes on afterwards")
}

func TestIsTransient(t *testing.T) {
	_, refused := Open(bg, "postgres://u@127.0.0.1:1/db?connect_timeout=2", Options{})
	require.Error(t, refused)
	require.True(t, IsTransient(refused), "a server that is not there may come back")
	for _, err := range []error{nil, ErrNotFound, ErrLeaseLost, ErrLedgerConflict, ErrDamaged, ErrClosed, context.Canceled, &LeaseHeldError{}} {
		require.False(t, IsTransient(err), "%v", err)
	}
	for code, want := range map[string]bool{
		"40P01": true, "57P03": true, "08006": true, "53300": true, "53100": true,
		"28P01": false, "42P01": false, "23505": false, "P0001": false,
	} {
		require.Equal(t, want, transientState(code), code)
	}
}

func TestTextThatNoDatabaseTakesIsReplaced(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		s := p.open(t, Options{})
		rec := record(1)
		rec.Before, rec.After = "a\x00b", "c\xffd"
		first, err := s.AppendEvent(bg, rec)
		require.NoError(t, err)
		require.Equal(t, "a\uFFFDb", first.Before)
		require.Equal(t, "c\uFFFDd", first.After)
		again, err := s.AppendEvent(bg, rec)
		require.NoError(t, err)
		require.Equal(t, first, again)
		v, err := s.Verify(bg, Anchor{})
		require.NoError(t, err)
		require.True(t, v.OK, v.Detail)
	})
}

func TestCancelledCallerReturns(t *testing.T) {
	s := sqlitePlace(t).open(t, Options{})
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_, err := s.AppendEvent(ctx, record(1))
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, IsTransient(err))
}

func FuzzCleanTextIsStorable(f *testing.F) {
	for _, s := range []string{"", "WMax", "a\x00b", "\xff\xfe", "\uFFFD", "ü\xc3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := clean(s)
		require.True(t, utf8.ValidString(c))
		require.NotContains(t, c, "\x00")
		require.Equal(t, c, clean(c))
		if utf8.ValidString(s) && !strings.Contains(s, "\x00") {
			require.Equal(t, s, c)
		}
	})
}
