package engine_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the engine's database, spoilt from outside

	"edgefleet/dev/engine"
)

func TestOptionsThatCanNotWorkAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		o    engine.Options
		want string
	}{
		"a data folder is needed": {
			engine.Options{}, "the engine needs a data folder: give one with --data-dir"},
		"an address has a port": {
			engine.Options{DataDir: "x", FrontendAddr: "127.0.0.1"},
			`Temporal address "127.0.0.1" is not host:port, such as 127.0.0.1:7233`},
		"a port is a number": {
			engine.Options{DataDir: "x", UIAddr: "127.0.0.1:web"},
			`Web UI address "127.0.0.1:web": the port is a number from 0 to 65535, where 0 means any free one`},
		"only loopback is served": {
			engine.Options{DataDir: "x", FrontendAddr: "0.0.0.0:7233"},
			`Temporal address "0.0.0.0:7233" is not loopback: the embedded engine authenticates nobody, so use 127.0.0.1 here, or a Temporal cluster`},
		"a host name is not loopback": {
			engine.Options{DataDir: "x", FrontendAddr: "host.example:7233"},
			`Temporal address "host.example:7233" is not loopback: the embedded engine authenticates nobody, so use 127.0.0.1 here, or a Temporal cluster`},
		"retention has a minimum": {
			engine.Options{DataDir: "x", Retention: time.Hour},
			"a retention of 1h0m0s is too short: Temporal keeps closed workflows for at least 24h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := engine.New(c.o)
			require.EqualError(t, err, c.want)
		})
	}
}

// refusedStart starts on the folder and returns the error, one line.
func refusedStart(t *testing.T, dir string) string {
	t.Helper()
	e, err := engine.New(engine.Options{DataDir: dir, FrontendAddr: "127.0.0.1:0", NoUI: true})
	require.NoError(t, err)
	err = e.Start(context.Background())
	require.Error(t, err)
	require.NotContains(t, err.Error(), "\n")
	return err.Error()
}

func TestAFolderThatCanNotBeMadeIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	dir := filepath.Join(file, "data")
	require.Equal(t, "data folder "+dir+" can't be made (mkdir "+file+": not a directory): use another one with --data-dir", refusedStart(t, dir))
}

func TestADatabaseThatCanNotBeTrustedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string)
		want  string
	}{
		"not a database at all": {
			func(t *testing.T, path string) {
				require.NoError(t, os.WriteFile(path, []byte("this is a text file, and a long one so that there is a header to misread: "+string(make([]byte, 200))), 0o600))
			},
			"is damaged (file is not a database (26)): restore a copy of it, or move it away to begin without the workflows in it"},
		"a page that was overwritten": {
			func(t *testing.T, path string) {
				execute(t, path, `CREATE TABLE edgefleet_engine (x)`, `CREATE TABLE fill (x)`,
					`INSERT INTO fill SELECT randomblob(2000) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 50) SELECT i FROM n)`)
				f, err := os.OpenFile(path, os.O_WRONLY, 0)
				require.NoError(t, err)
				_, err = f.WriteAt(make([]byte, 4096), 3*4096)
				require.NoError(t, err)
				require.NoError(t, f.Close())
			},
			"is damaged ("},
		"a database of another program": {
			func(t *testing.T, path string) { execute(t, path, `CREATE TABLE namespaces (x)`) },
			"was made by another program: move it away, or use another data folder"},
		"a newer format": {
			func(t *testing.T, path string) {
				execute(t, path, `CREATE TABLE edgefleet_engine (format INTEGER)`, `INSERT INTO edgefleet_engine VALUES (9)`)
			},
			"is newer than this program (format 9, known 1): use the newer edgefleet again, or move the file away"},
		"another version of Temporal's schema": {
			func(t *testing.T, path string) {
				execute(t, path, `CREATE TABLE edgefleet_engine (format INTEGER, schema_version TEXT, shards INTEGER)`,
					`INSERT INTO edgefleet_engine VALUES (1, '0.1/0.1', 4)`)
			},
			"was made by another version of edgefleet (Temporal schema 0.1/0.1 with 4 shards, this one needs "},
		"a folder in its place": {
			func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) },
			"is a folder: move it away"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "temporal.db")
			c.spoil(t, path)
			got := refusedStart(t, dir)
			require.Contains(t, got, "engine database "+path+" "+c.want)
		})
	}
}

func execute(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	for _, s := range statements {
		_, err := db.Exec(s)
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
}
