package cli_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/temporalx"
	"edgefleet/starter/cli"
	"edgefleet/workflows/contract"
)

func TestTheReaderIsToldWhatIsWaitedFor(t *testing.T) {
	lately, longAgo := time.Now(), time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name   string
		polled *time.Time
		says   string
	}{
		{"a worker polls", &lately, "still waiting for a worker…\n"},
		{"no worker polls", nil, "still waiting for a worker… none has asked for work lately: start one, or check --temporal-namespace\n"},
		{"a worker polled an hour ago", &longAgo, "still waiting for a worker… none has asked for work lately: start one, or check --temporal-namespace\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := answering(func(*contract.InspectResult) {})
			f.polled, f.hold = c.polled, make(chan struct{})
			s := newSession(t, f)
			s.options.Patience = time.Millisecond
			code := make(chan int)
			go func() { code <- s.run("device", "drift", "edge-003") }()
			s.until("still waiting")
			close(f.hold)
			require.Equal(t, 1, <-code)
			require.Equal(t, c.says, s.err.String(), "it is said once")
			require.Contains(t, s.out.String(), "settings differ")
		})
	}
}

func TestAnAnswerInTimeIsNotTalkedOver(t *testing.T) {
	s := newSession(t, &fakeTemporal{})
	require.Zero(t, s.run("device", "list"))
	require.Empty(t, s.err.String())
}

func TestARemediationThatDoesNotBeginSaysWhatItWaitsFor(t *testing.T) {
	for _, c := range []struct {
		name     string
		progress []contract.Progress
		says     string
	}{
		{"for a worker", nil, "still waiting for a worker…"},
		{"for the lease", []contract.Progress{{Phase: "waiting for the device's lease"}, {Phase: "waiting for the device's lease"}}, "still waiting for the device's lease…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeTemporal{progress: c.progress, hold: make(chan struct{}), result: contract.RemediateResult{Outcome: "resolved"}}
			s := newSession(t, f)
			s.options.Patience = time.Millisecond
			code := make(chan int)
			go func() { code <- s.run("remediate", "edge-003") }()
			s.until(c.says)
			close(f.hold)
			require.Zero(t, <-code)
		})
	}
}

func TestAnOpenGateSaysHowToAnswerIt(t *testing.T) {
	open := timeline("waits for approval")
	for i := range open {
		open[i].Waiting = "reset line's outlet"
	}
	s := newSession(t, &fakeTemporal{progress: open})
	require.Zero(t, s.run("remediate", "edge-003"))
	require.Contains(t, s.err.String(), `to answer: edgefleet runbook approve remediate/edge-003/manual/nonce 'reset line'\''s outlet'`)
}

func TestCtrlC(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"a question is dropped", []string{"device", "drift", "edge-003"}, "edgefleet: interrupted\n"},
		{"a remediation goes on", []string{"remediate", "edge-003"},
			"edgefleet: interrupted; remediate/edge-003/manual/nonce goes on; see how it ends with: edgefleet incident list --device edge-003\n"},
		{"a decision is dropped", []string{"runbook", "approve", "remediate/x", "reset"}, "edgefleet: interrupted\n"},
		{"an export leaves no file", []string{"audit", "export", "--file", "ledger.jsonl"}, "edgefleet: interrupted\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			f := answering(func(*contract.InspectResult) {})
			f.hold = make(chan struct{})
			s := newSession(t, f)
			s.options.Patience = time.Millisecond
			ctx, interrupt := context.WithCancel(context.Background())
			code := make(chan int)
			go func() { code <- s.runContext(ctx, c.args...) }()
			s.until("still waiting")
			interrupt()
			require.Equal(t, 1, <-code)
			require.Contains(t, s.err.String(), c.says)
			require.Empty(t, filesHere(t))
			require.Equal(t, 1, f.closed)
		})
	}
}

func TestADecisionThatNoWorkerTakesIsNotMade(t *testing.T) {
	f := &fakeTemporal{hold: make(chan struct{})}
	s := newSession(t, f)
	require.Equal(t, 1, s.run("runbook", "approve", "remediate/x", "reset", "--timeout", "1s"))
	require.Contains(t, s.err.String(), "no worker took the decision, so nothing is decided")
	require.Empty(t, s.out.String())
}

func TestTemporalAwayAtTheStart(t *testing.T) {
	s := newSession(t, &fakeTemporal{})
	s.options.Dial = func(context.Context, temporalx.Options) (cli.Temporal, error) {
		return nil, errors.New("Temporal at t.example:7233 does not answer")
	}
	for _, args := range [][]string{{"device", "list"}, {"remediate", "edge-003"}, {"runbook", "approve", "w", "g"}, {"audit", "export"}} {
		require.Equal(t, 1, s.run(args...))
	}
	require.Contains(t, s.err.String(), "edgefleet: Temporal at t.example:7233 does not answer\n")
	require.Empty(t, s.out.String())

	// The real way there, to an address at which nothing can listen.
	s = newSession(t, &fakeTemporal{})
	s.options.Dial = nil
	require.Equal(t, 1, s.run("device", "list", "--temporal-address", "127.0.0.1:1"))
	require.Contains(t, s.err.String(), "edgefleet: Temporal at 127.0.0.1:1 does not answer")
	require.Contains(t, s.err.String(), "--temporal-address or TEMPORAL_ADDRESS")
}
