package cli_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

func TestAPlanIsShownAsADiff(t *testing.T) {
	frozen := contract.PlanProgress{Devices: 4, Looked: 4, Changing: 3, Plan: &contract.RolloutPlan{Hash: planHash}}
	for _, c := range []goldenCase{
		{"rollout-plan", "rollout plan --baseline testdata/feeder.yaml --select region=north --reason spring", nil},
		{"rollout-plan-detail", "rollout plan --baseline testdata/feeder.yaml --detail", nil},
		{"rollout-show-json", "rollout show 01234567 -o json", nil},
		{"rollout-show-unknown", "rollout show ffffffff", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFolder(t)
			rolloutSession(t, &rolling{result: frozen}).golden(c.name, strings.Fields(c.args)...)
		})
	}
}

// inFolder is a working directory with a baseline.
func inFolder(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	require.NoError(t, os.MkdirAll("testdata", 0o700))
	require.NoError(t, os.WriteFile(filepath.Join("testdata", "feeder.yaml"), []byte("name: feeder-standard\n"), 0o600))
}

func TestWhatAPlanIsMadeOf(t *testing.T) {
	inFolder(t)
	require.NoError(t, os.WriteFile("strategy.yaml", []byte(`
canary: {label: ring=canary}
waves: [10%, 50]
limits: {wave: {count: 3, percent: 2.5}, allow_unsafe: true}
checks: {soak: 10m, passes: 3, runbook: {path: check.py, function: looks}}
deadlines: {device: 1m}
windows: [{select: region=north, zone: Europe/Berlin, days: mon, from: "22:00", to: "05:00"}]
freezes: [{name: xmas, zone: UTC, from: 2026-12-20, to: 2027-01-06}]
silences: false
on_breach: abort
`), 0o600))
	r := &rolling{result: contract.PlanProgress{Plan: &contract.RolloutPlan{Hash: planHash}}}
	s := rolloutSession(t, r)
	code := s.run("rollout", "plan", "--baseline", "testdata/feeder.yaml", "--strategy", "strategy.yaml", "--on-breach", "rollback", "--max-failed-total", "7,3%",
		"--window", "mon,tue 08:00-16:00 UTC", "--window", "sat-mon 00:00-00:00 UTC", "--rate", "30", "--at-once", "9")
	require.Zero(t, code, s.err.String())
	in := r.started[0].(contract.PlanRolloutInput)
	require.Equal(t, []string{"feeder.yaml", "name: feeder-standard\n", "started by hand", "operator:kim"}, []string{in.File, in.Text, in.Reason, in.Actor.String()})
	strategy := in.Strategy
	require.Equal(t, contract.RolloutCanary{Label: "ring=canary"}, strategy.Canary)
	require.Equal(t, []string{"10%", "50"}, strategy.Waves)
	require.Equal(t, []any{3, 2.5, 7, 3.0}, []any{*strategy.WaveLimit.Count, *strategy.WaveLimit.Percent, *strategy.TotalLimit.Count, *strategy.TotalLimit.Percent})
	require.Equal(t, contract.BreachRollBack, strategy.OnBreach, "a flag goes before the file")
	require.Equal(t, []string{"mon", "tue"}, strategy.Windows[0].Days)
	require.Equal(t, []string{"sat", "sun", "mon"}, strategy.Windows[1].Days)
	require.Equal(t, "xmas", strategy.Freezes[0].Name)
	require.Equal(t, []any{true, true, 30.0, 9, 4, time.Minute, 10 * time.Minute, 3}, []any{strategy.AllowUnsafe, strategy.NoSilences, strategy.Rate,
		strategy.Bounds.Total, strategy.Bounds.PerSite, strategy.DeviceDeadline, strategy.Checks.Soak, strategy.Checks.Passes})
	require.Equal(t, "looks", strategy.Checks.Runbook.Function)
}

func TestAPlanThatCannotBeMadeIsRefused(t *testing.T) {
	inFolder(t)
	require.NoError(t, os.WriteFile("bad.yaml", []byte("waves: [5%]\nwindow: {}\nlimits:\n  wave: {percent: many}\n"), 0o600))
	require.NoError(t, os.WriteFile("zone.yaml", []byte("windows:\n  - {zone: Mars, from: \"22:00\", to: \"05:00\"}\n"), 0o600))
	require.NoError(t, os.WriteFile("big.yaml", []byte(strings.Repeat("#", contract.MaxBaseline+1)), 0o600))
	for _, c := range []struct{ args, says string }{
		{"", "--baseline is missing"},
		{"--baseline absent.yaml", "absent.yaml"},
		{"--baseline big.yaml", "has more than 262144 bytes"},
		{"--baseline testdata/feeder.yaml --select class", `"class": want key=value`},
		{"--baseline testdata/feeder.yaml --waves 25%,5%", "comes after more devices than it has"},
		{"--baseline testdata/feeder.yaml --max-failed few", `--max-failed "few": want a number`},
		{"--baseline testdata/feeder.yaml --on-breach panic", `on breach "panic": want one of pause, abort, rollback`},
		{"--baseline testdata/feeder.yaml --per-site 0", "--per-site 0: want 1 to 256"},
		{"--baseline testdata/feeder.yaml --check-runbook check.py", "want FILE:FUNCTION"},
		{"--baseline testdata/feeder.yaml --strategy bad.yaml", `bad.yaml:2: unknown field "window"`},
		{"--baseline testdata/feeder.yaml --strategy bad.yaml", `bad.yaml:4: percent: "many" is not a number`},
		{"--baseline testdata/feeder.yaml --strategy zone.yaml", `zone.yaml:2: window 1: zone "Mars"`},
		{"--baseline testdata/feeder.yaml surplus", "takes no argument"},
	} {
		t.Run(c.args, func(t *testing.T) {
			r := &rolling{}
			s := rolloutSession(t, r)
			require.Equal(t, 2, s.run(append([]string{"rollout", "plan"}, strings.Fields(c.args)...)...))
			require.Contains(t, s.err.String(), c.says)
			require.Empty(t, r.started)
		})
	}
	s := rolloutSession(t, &rolling{})
	require.Equal(t, 2, s.run("rollout", "plan", "--baseline", "testdata/feeder.yaml", "--window", "mon 22:00 UTC"))
	require.Contains(t, s.err.String(), "want DAYS FROM-TO ZONE")
}

func TestAPlanIsMadeOnceMoreWhenTheFleetDirectoryChangesUnderIt(t *testing.T) {
	inFolder(t)
	changed := appError(contract.ErrFleetChanged, "the fleet directory was changed while it was planned; plan again")
	plan := func(r *rolling) (int, *session) {
		r.result = contract.PlanProgress{Plan: &contract.RolloutPlan{Hash: planHash}}
		s := rolloutSession(t, r)
		nonces := 0
		s.options.Nonce = func() string { nonces++; return fmt.Sprint(nonces) }
		return s.run("rollout", "plan", "--baseline", "testdata/feeder.yaml"), s
	}
	r := &rolling{fails: []error{changed}}
	code, s := plan(r)
	require.Zero(t, code, s.err.String())
	require.Contains(t, s.err.String(), "the fleet directory was changed while it was planned; planning once more…\n")
	require.Len(t, r.started, 2)
	require.Equal(t, r.started[0], r.started[1])
	require.NotEqual(t, r.options[0].ID, r.options[1].ID, "the plan that does not hold keeps its ID")

	r = &rolling{fails: []error{changed, changed}}
	code, s = plan(r)
	require.Equal(t, 1, code, "not for ever")
	require.Contains(t, s.err.String(), "was changed again while it was planned; plan again when it stays as it is")
	require.Len(t, r.started, 2)

	r = &rolling{fails: []error{appError(contract.ErrConfig, "the patch is refused")}}
	code, _ = plan(r)
	require.Equal(t, 2, code)
	require.Len(t, r.started, 1, "what is wrong with the input stays wrong")
}

func TestAPlanWithoutADeviceIsNotStarted(t *testing.T) {
	for _, c := range []struct {
		name     string
		excluded []contract.ExcludedCount
		says     string
	}{
		{"each reason is counted", []contract.ExcludedCount{{Reason: contract.ExcludedInSync, Devices: 3}, {Reason: contract.ExcludedUnreachable, Devices: 1}},
			"the plan changes no device, so there is nothing to start; left out are 3 in sync, 1 unreachable; why each of them is says: edgefleet rollout show 0123456789ab --detail\n"},
		{"without one", nil, "left out are none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &rolling{fakeTemporal: &fakeTemporal{answer: func(contract.InspectInput) (contract.InspectResult, error) {
				return contract.InspectResult{RolloutPlan: &contract.RolloutPlanPage{RolloutPlan: contract.RolloutPlan{Hash: planHash, Excluded: c.excluded}}}, nil
			}}}
			s := rolloutSession(t, r)
			require.Equal(t, 2, s.run("rollout", "start", "--plan", planHash))
			require.Contains(t, s.err.String(), c.says)
			require.Empty(t, r.started)
		})
	}
}

func TestNothingIsCountedBeforeTheRolloutKnowsItsDevices(t *testing.T) {
	done := ended(standing(contract.RolloutDone, "3 healthy", contract.RolloutCounts{Healthy: 1}, contract.RolloutCounts{Healthy: 2}))
	young := contract.RolloutProgress{PlanHash: planHash, State: contract.RolloutRunning, Began: at(0)}
	for _, terminal := range []bool{false, true} {
		s := rolloutSession(t, &rolling{result: done, looks: []contract.RolloutProgress{young, done}})
		s.options.Terminal = terminal
		require.Zero(t, s.run("rollout", "watch", "0123456789ab"))
		require.NotContains(t, s.err.String(), "0 of 0")
		require.NotContains(t, s.err.String(), "[--------------------]")
	}
	s := rolloutSession(t, &rolling{looks: []contract.RolloutProgress{young}})
	require.Zero(t, s.run("rollout", "status", "0123456789ab"))
	require.NotContains(t, s.out.String(), "0 of 0")
	require.Contains(t, s.out.String(), "running")
}

func TestARolloutIsStartedAndFollowed(t *testing.T) {
	done := ended(standing(contract.RolloutDone, "3 healthy", contract.RolloutCounts{Healthy: 1}, contract.RolloutCounts{Healthy: 2}))
	done.Waves[0].Verdict, done.Waves[1].Verdict = contract.VerdictHealthy, contract.VerdictHealthy
	back := ended(standing(contract.RolloutPartlyBack, "it hums; 1 devices are as before, 1 are not", contract.RolloutCounts{Failed: 1, Unsafe: 1}))
	back.Rollback = &contract.RollbackProgress{Back: 1, Kept: 1, Findings: []contract.RolloutFinding{{DeviceID: "edge-001", State: contract.DeviceKept, Detail: "somebody else has changed it"}}}
	runs := standing(contract.RolloutRunning, "", contract.RolloutCounts{Healthy: 1}, contract.RolloutCounts{})
	runs.WaveID = contract.RolloutWaveID(planHash[:12], 2, 2)
	runs.Events = done.Events[:1]
	wave := &contract.WaveProgress{Wave: 2, Phase: contract.WaveRolling, RolloutCounts: contract.RolloutCounts{Healthy: 1}, Running: []string{"edge-002"}, Began: at(0)}
	opens := at(600)
	closed := &contract.WaveProgress{Wave: 2, Phase: contract.WaveWaiting, RolloutCounts: contract.RolloutCounts{Healthy: 1}, Opens: &opens, Began: at(0)}
	waits := standing(contract.RolloutWaiting, "wave 2 (100%, 2 devices)", contract.RolloutCounts{Healthy: 1})
	heldNow := *wave
	heldNow.Phase, heldNow.Running, heldNow.Held = contract.WaveHeld, nil, 2
	heldNow.LeaseWaits = []contract.LeaseWait{
		{DeviceID: "edge-002", Since: at(10), Until: at(600), Holder: contract.LeaseHolder{DeviceID: "edge-002", WorkflowID: "remediate/edge-002/EdgeDeviceOffline/f-1", RunID: "r", Since: at(5)}},
		{DeviceID: "edge-003", Since: at(10), Until: at(600), Holder: contract.LeaseHolder{DeviceID: "edge-009", WorkflowID: "onboard/x", RunID: "q", Since: at(7)}}}
	approve := at(90)
	waits.Waiting, waits.ApproveBy = "wave 2 (100%, 2 devices)", &approve
	for _, c := range []struct {
		name, args string
		r          *rolling
		code       int
	}{
		{"rollout-start", "rollout start --plan 01234567", &rolling{}, 0},
		{"rollout-start-watch", "rollout start --plan 01234567 --watch", &rolling{result: done, looks: []contract.RolloutProgress{runs, done}, wave: wave}, 0},
		{"rollout-start-twice", "rollout start --plan 01234567", &rolling{startErr: &serviceerror.WorkflowExecutionAlreadyStarted{}}, 2},
		{"rollout-start-expired", "rollout start --plan 01234567 --watch", &rolling{err: appError(contract.ErrConfig, "the plan expired at noon; plan again")}, 2},
		{"rollout-watch-partly-back", "rollout watch 0123456789ab", &rolling{result: back, looks: []contract.RolloutProgress{back}}, 1},
		{"rollout-watch-waiting", "rollout watch 0123456789ab --exit-when-waiting", &rolling{looks: []contract.RolloutProgress{waits, waits, waits, waits}}, 3},
		{"rollout-watch-unknown", "rollout watch 0123456789ab", &rolling{err: serviceerror.NewNotFound("no")}, 2},
		{"rollout-watch-terminated", "rollout watch 0123456789ab", &rolling{err: &temporal.TerminatedError{}}, 1},
		{"rollout-status", "rollout status 0123456789ab", &rolling{looks: []contract.RolloutProgress{runs}, wave: wave}, 0},
		{"rollout-status-held", "rollout status 0123456789ab", &rolling{looks: []contract.RolloutProgress{runs}, wave: &heldNow}, 0},
		{"rollout-watch-held", "rollout watch 0123456789ab", &rolling{result: done, looks: []contract.RolloutProgress{runs, done}, wave: &heldNow}, 0},
		{"rollout-status-outside-of-its-window", "rollout status 0123456789ab", &rolling{looks: []contract.RolloutProgress{runs}, wave: closed}, 0},
		{"rollout-status-paused", "rollout status " + planHash, &rolling{looks: []contract.RolloutProgress{standing(contract.RolloutPaused, "it hums", contract.RolloutCounts{Failed: 1})}}, 0},
		{"rollout-status-gone", "rollout status 0123456789ab", &rolling{}, 2},
		{"rollout-status-devices", "rollout status 0123456789ab --devices --state failed", &rolling{}, 0},
		{"rollout-list", "rollout list", &rolling{}, 0},
		{"rollout-list-json", "rollout list -o json", &rolling{}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			rolloutSession(t, c.r).golden(c.name, strings.Fields(c.args)...)
			text, err := os.ReadFile(filepath.Join(goldenFolder, c.name+".txt"))
			require.NoError(t, err)
			require.Contains(t, string(text), "exit code "+string(rune('0'+c.code))+"\n")
			require.NotContains(t, string(text), "\x1b")
		})
	}
}

func TestOnATerminalARolloutIsABlockThatIsWrittenOver(t *testing.T) {
	done := ended(standing(contract.RolloutDone, "3 healthy", contract.RolloutCounts{Healthy: 1}, contract.RolloutCounts{Healthy: 2}))
	runs := standing(contract.RolloutRunning, "", contract.RolloutCounts{Healthy: 1}, contract.RolloutCounts{})
	s := rolloutSession(t, &rolling{result: done, looks: []contract.RolloutProgress{runs, done}})
	s.options.Terminal = true
	require.Zero(t, s.run("rollout", "watch", "0123456789ab"))
	require.Contains(t, s.err.String(), "[######--------------]  feeder-standard 2026.12.1  rollout 0123456789ab  running\x1b[K\n")
	require.Contains(t, s.err.String(), "\x1b[4A\r[####################]", "it goes up as many lines as there were")
	require.NotContains(t, s.err.String(), "\x1b[2J")
}

func TestARolloutIsTold(t *testing.T) {
	kim := contract.RolloutCommand{By: "kim", Note: "so"}
	named := kim
	named.Devices = []string{"edge-001", "edge-002"}
	for _, c := range []struct {
		args, update string
		arg          any
	}{
		{"pause 0123456789ab", contract.UpdateRolloutPause, kim}, {"resume 0123456789ab", contract.UpdateRolloutResume, kim},
		{"abort 0123456789ab", contract.UpdateRolloutAbort, kim}, {"rollback 0123456789ab", contract.UpdateRolloutRollBack, kim},
		{"skip 0123456789ab edge-001 edge-002", contract.UpdateRolloutSkip, named}, {"retry 0123456789ab", contract.UpdateRolloutRetry, kim},
		{"retry 0123456789ab edge-001 edge-002", contract.UpdateRolloutRetry, named},
		{"approve 0123456789ab", contract.UpdateRolloutApprove, contract.RolloutDecision{By: "kim", Approved: true, PlanHash: planHash, Note: "so"}},
		{"approve 0123456789ab --refuse --plan " + planHash, contract.UpdateRolloutApprove, contract.RolloutDecision{By: "kim", PlanHash: planHash, Note: "so"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			r := &rolling{text: "it is so\x1b[2J"}
			s := rolloutSession(t, r)
			require.Zero(t, s.run(append([]string{"rollout"}, append(strings.Fields(c.args), "--note", "so")...)...), s.err.String())
			require.Len(t, r.told, 1)
			require.Equal(t, []any{"rollout/0123456789ab", c.update, c.arg}, []any{r.told[0].WorkflowID, r.told[0].UpdateName, r.told[0].Args[0]})
			require.Contains(t, s.out.String()+s.err.String(), "rollout 0123456789ab: it is so [2J")
		})
	}
	t.Run("a refusal is said", func(t *testing.T) {
		s := rolloutSession(t, &rolling{refusal: errors.New("the rollout is not paused")})
		require.Equal(t, 1, s.run("rollout", "resume", "0123456789ab"))
		require.Contains(t, s.err.String(), "edgefleet: the rollout is not paused\n")
	})
	t.Run("one that has ended cannot be told", func(t *testing.T) {
		s := rolloutSession(t, &rolling{gone: true})
		require.Equal(t, 2, s.run("rollout", "pause", "0123456789ab"))
		require.Contains(t, s.err.String(), "rollout 0123456789ab does not run")
	})
	for _, c := range []struct{ args, says string }{
		{"pause", "want the ID of a rollout"}, {"pause x", "want the 12 hexadecimal digits"}, {"skip 0123456789ab", "at least one device"},
		{"pause 0123456789ab edge-001", "want ID, got 2 arguments"}, {"skip 0123456789ab ../x", "device ID"}, {"approve 0123456789ab --plan 01", "want the whole hash"},
		{"start", "--plan is missing"}, {"status 0123456789ab --state failed", "--state goes with --devices"},
	} {
		t.Run(c.args, func(t *testing.T) {
			r := &rolling{}
			s := rolloutSession(t, r)
			require.Equal(t, 2, s.run(append([]string{"rollout"}, strings.Fields(c.args)...)...))
			require.Contains(t, s.err.String(), c.says)
			require.Empty(t, r.told)
		})
	}
}

func TestARolloutThatHasEndedIsTakenBack(t *testing.T) {
	r := &rolling{gone: true, result: contract.RollbackProgress{RolloutID: planHash[:12], Back: 2, Kept: 1,
		Findings: []contract.RolloutFinding{{DeviceID: "edge-001", State: contract.DeviceKept, Detail: "somebody else has changed it"}}}}
	s := rolloutSession(t, r)
	require.Equal(t, 1, s.run("rollout", "rollback", "0123456789ab", "--watch", "--note", "it hums"))
	require.Equal(t, contract.RollbackInput{RolloutID: planHash[:12], Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"},
		Reason: "rolled back by kim: it hums", Silence: true, Own: true}, r.started[0])
	require.Equal(t, "rollback/0123456789ab", r.options[0].ID)
	require.Contains(t, s.out.String(), "2 devices as before, 1 not\n")
	require.Contains(t, s.out.String(), "edge-001  not rolled back  somebody else has changed it")
}
