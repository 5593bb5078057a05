package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// childEnv makes the test program a process that writes until it is killed;
// childWorkEnv says what.
const (
	childEnv     = "EDGEFLEET_STORE_TEST_CHILD"
	childWorkEnv = "EDGEFLEET_STORE_TEST_CHILD_WORK"
)

// runAsChild writes to the store that the environment names, from several
// goroutines, and prints what the store has confirmed.
func runAsChild() bool {
	url := os.Getenv(childEnv)
	if url == "" {
		return false
	}
	s, err := Open(context.Background(), url, Options{LedgerKey: testKey})
	if err != nil {
		fmt.Println("error", err)
		return true
	}
	work := map[string]func(*Store, int, chan<- string) error{"append": appendForEver, "register": registerForEver}
	confirmed := make(chan string)
	for g := range 8 {
		go func() { confirmed <- "error " + work[os.Getenv(childWorkEnv)](s, g, confirmed).Error() }()
	}
	for line := range confirmed {
		fmt.Println(line)
	}
	return true
}

// killedChild runs the test program as a child that is killed when it has
// confirmed so many lines, and returns all that it has confirmed.
func killedChild(t *testing.T, p place, work string, after int) []string {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+p.url, childWorkEnv+"="+work)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var confirmed []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		require.NotContains(t, lines.Text(), "error")
		if confirmed = append(confirmed, lines.Text()); len(confirmed) == after {
			// What is in the pipe still counts: it was confirmed.
			require.NoError(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait()
	return confirmed
}

// appendForEver appends intents and results, and confirms the key of each.
func appendForEver(s *Store, g int, confirmed chan<- string) error {
	device := fmt.Sprintf("edge-%d", g)
	l, err := s.AcquireLease(bg, device, Owner{"wf", fmt.Sprint(os.Getpid(), g)})
	for i := 0; err == nil; i++ {
		rec := record(i)
		rec.DeviceID, rec.WorkflowID, rec.RunID = device, "wf", l.RunID
		if _, err = s.AppendIntent(bg, rec, l.Token, s.now().Add(MaxBusy/2)); err != nil {
			break
		}
		confirmed <- fmt.Sprintf("intent %s/%s", rec.RunID, rec.ActivityID)
		if _, err = s.AppendResult(bg, rec); err == nil {
			confirmed <- fmt.Sprintf("result %s/%s", rec.RunID, rec.ActivityID)
		}
	}
	return err
}

func TestKilledWhileAppendingLosesNothingConfirmed(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		confirmed := map[string]bool{}
		for round := range 4 {
			for _, line := range killedChild(t, p, "append", 50+37*round) {
				confirmed[strings.Replace(line, " ", "|", 1)] = true
			}

			s, err := Open(bg, p.url, Options{LedgerKey: testKey})
			require.NoError(t, err)
			v, err := s.Verify(bg, Anchor{})
			require.NoError(t, err)
			require.True(t, v.OK, "%s %d %s", v.Finding, v.Seq, v.Detail)
			require.GreaterOrEqual(t, v.Entries, int64(len(confirmed)))
			there, open := map[string]bool{}, map[string]bool{}
			for e, err := range s.Export(bg, LedgerQuery{}) {
				require.NoError(t, err)
				key := fmt.Sprintf("%s|%s/%s", e.Phase, e.RunID, e.ActivityID)
				require.False(t, there[key], "%s is there twice", key)
				there[key] = true
				if effect := e.DeviceID + "/" + e.RunID + "/" + e.ActivityID; e.Phase == PhaseIntent {
					open[effect] = true
				} else {
					require.True(t, open[effect], "a result without its intent: %s", effect)
					delete(open, effect)
				}
			}
			for key := range confirmed {
				require.True(t, there[key], "confirmed, but lost: %s", key)
			}
			for i := range 8 {
				// An intent without a result is a write that may have happened.
				device := fmt.Sprintf("edge-%d", i)
				l, err := s.LeaseOf(bg, device)
				if err != nil {
					continue
				}
				if l.BusyUntil != nil {
					require.ErrorIs(t, s.Reap(bg, device, l.Token), ErrLeaseBusy)
				}
				db := p.raw(t)
				_, err = db.Exec(`DELETE FROM write_in_flight`)
				require.NoError(t, err)
				require.NoError(t, s.Reap(bg, device, l.Token))
			}
			require.NoError(t, s.Close())
		}
	})
}
