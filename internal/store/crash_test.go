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

// childEnv makes the test program a process that appends until it is killed.
const childEnv = "EDGEFLEET_STORE_TEST_CHILD"

// runAsChild appends intents and results from several goroutines, and prints
// the key of each once the store has confirmed it.
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
	confirmed := make(chan string)
	for g := range 8 {
		go func() {
			device := fmt.Sprintf("edge-%d", g)
			l, err := s.AcquireLease(context.Background(), device, Owner{"wf", fmt.Sprint(os.Getpid(), g)})
			for i := 0; err == nil; i++ {
				rec := record(i)
				rec.DeviceID, rec.WorkflowID, rec.RunID = device, "wf", l.RunID
				if _, err = s.AppendIntent(context.Background(), rec, l.Token, s.now().Add(MaxBusy/2)); err == nil {
					confirmed <- fmt.Sprintf("intent %s/%s", rec.RunID, rec.ActivityID)
					_, err = s.AppendResult(context.Background(), rec)
					confirmed <- fmt.Sprintf("result %s/%s", rec.RunID, rec.ActivityID)
				}
			}
			confirmed <- "error " + err.Error()
		}()
	}
	for line := range confirmed {
		fmt.Println(line)
	}
	return true
}

func TestKilledWhileAppendingLosesNothingConfirmed(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		confirmed := map[string]bool{}
		for round := range 4 {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+p.url)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewScanner(out)
			for n := 0; lines.Scan(); n++ {
				require.NotContains(t, lines.Text(), "error")
				confirmed[strings.Replace(lines.Text(), " ", "|", 1)] = true
				if n == 50+37*round {
					// What is in the pipe still counts: it was confirmed.
					require.NoError(t, cmd.Process.Kill())
				}
			}
			_ = cmd.Wait()

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
