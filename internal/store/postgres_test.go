package store

import (
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// postgresURLEnv names a server to test against, instead of one that the tests
// start themselves. Its user has to be allowed to create schemas.
const postgresURLEnv = "EDGEFLEET_TEST_POSTGRES"

var errNoPostgres = errors.New("PostgreSQL is not installed, so its tests do not run: " +
	"install it (Debian: apt-get install postgresql; macOS: brew install postgresql), " +
	"or name a server with " + postgresURLEnv + "=postgres://user:password@host:port/database")

// postgresServer is the server that the tests of this package share. It starts
// when the first test asks for it.
type postgresServer struct {
	once sync.Once
	url  string
	err  error
	stop func()
}

func (p *postgresServer) URL() (string, error) {
	p.once.Do(func() {
		if p.url = os.Getenv(postgresURLEnv); p.url == "" {
			p.err = p.start()
		}
	})
	return p.url, p.err
}

func (p *postgresServer) Stop() {
	if p.stop != nil {
		p.stop()
	}
}

// onPostgres runs a test on PostgreSQL alone, on the terms of eachPlace.
func onPostgres(t *testing.T, test func(t *testing.T, p place)) {
	base, err := pgServer.URL()
	if errors.Is(err, errNoPostgres) && os.Getenv("CI") == "" {
		return
	}
	require.NoError(t, err)
	test(t, postgresPlace(t, base))
}

func TestCommitsAreDurableWhateverTheServersDefaultIs(t *testing.T) {
	onPostgres(t, func(t *testing.T, p place) {
		p.url += "&options=-c%20synchronous_commit%3Doff"
		s := p.open(t, Options{})
		_, err := write(bg, s, func(t *txn) (struct{}, error) {
			var commit, idle string
			_, err := t.row([]any{&commit, &idle}, `SELECT current_setting('synchronous_commit'), current_setting('idle_in_transaction_session_timeout')`)
			if err == nil && (commit != "on" || idle != "30s") {
				err = errors.New(commit + " " + idle)
			}
			return struct{}{}, err
		})
		require.NoError(t, err)
	})
}

func TestStoreOutlivesItsConnections(t *testing.T) {
	onPostgres(t, func(t *testing.T, p place) {
		raw := p.raw(t)
		p.url += "&application_name=edgefleet-outlives"
		s := p.open(t, Options{LedgerKey: testKey})
		appendEvents(t, s, 3)
		_, err := raw.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'edgefleet-outlives'`)
		require.NoError(t, err)
		_, err = retry(func() (LedgerEntry, error) { return s.AppendEvent(bg, record(4)) })
		require.NoError(t, err)
		v, err := retry(func() (Verdict, error) { return s.Verify(bg, Anchor{}) })
		require.NoError(t, err)
		require.True(t, v.OK, v.Detail)
		require.Equal(t, int64(4), v.Entries)
	})
}
