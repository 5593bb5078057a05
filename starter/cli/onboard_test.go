package cli_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

// onboarded is the end of an onboarding of ten devices.
func onboarded(failures ...contract.OnboardFailure) contract.OnboardProgress {
	done := 10 - len(failures)
	return contract.OnboardProgress{Total: 10, Done: done, Failed: len(failures), Skipped: 2, Failures: failures, Began: at(0), Revision: "c0ffee",
		Phases: []contract.PhaseTime{
			{Phase: contract.PhaseReach, Took: 400 * time.Millisecond, Devices: 10},
			{Phase: contract.PhaseApply, Took: 15 * time.Second, Devices: done},
			{Phase: contract.PhaseVerify, Took: 123456 * time.Microsecond, Devices: done},
		}}
}

func twoFailures() []contract.OnboardFailure {
	return []contract.OnboardFailure{
		{DeviceID: "edge-003", Phase: contract.PhaseIdentify, Reason: contract.ErrRejected, Detail: "the device at 10.1.2.3:502 is not a feeder-rtu:\nits model is \"XX\x1b[2J\""},
		{DeviceID: "edge-007", Reason: contract.ErrTimeout, Detail: "time ran out"},
	}
}

// looks are what four looks at it see: nothing, the start, the middle, the end.
func looks(end contract.OnboardProgress) []contract.OnboardProgress {
	start := contract.OnboardProgress{Total: 10, Began: at(0), Revision: "c0ffee", Running: []string{"edge-001", "edge-002"}}
	middle := start
	middle.Done, middle.Failed = 4, min(1, end.Failed)
	return []contract.OnboardProgress{{Began: at(0)}, start, middle, end}
}

// notHealthy is how an onboarding ends of which devices failed.
func notHealthy(p contract.OnboardProgress) error {
	return temporal.NewNonRetryableApplicationError("2 of 10 devices were not onboarded", contract.ErrNotHealthy, nil, p)
}

// onboarding is a session twenty seconds after the beginning, in which every
// look is told.
func onboarding(t *testing.T, f *fakeTemporal) *session {
	s := newSession(t, f)
	s.options.Every = time.Nanosecond
	s.options.Clock = func() time.Time { return at(20) }
	return s
}

func TestAnOnboardingIsFollowedToItsEnd(t *testing.T) {
	some, all := onboarded(twoFailures()...), onboarded()
	many := onboarded(twoFailures()...)
	many.Failed, many.Done = 9, 1
	for _, c := range []goldenCase{
		{"onboard", "onboard edge-001 edge-002 --reason commissioning", &fakeTemporal{onboarded: all, onboards: looks(all)}},
		{"onboard-json", "onboard --all -o json", &fakeTemporal{onboarded: all}},
		{"onboard-failures", "onboard --site substation-7", &fakeTemporal{onboards: looks(some), ends: []error{notHealthy(some)}}},
		{"onboard-failures-json", "onboard --region us-east-1 -o json", &fakeTemporal{ends: []error{notHealthy(some)}}},
		{"onboard-many-failures", "onboard --all", &fakeTemporal{ends: []error{notHealthy(many)}}},
		{"onboard-nothing-left", "onboard --all", &fakeTemporal{onboarded: contract.OnboardProgress{Skipped: 12, Began: at(0), Revision: "c0ffee"}}},
		{"onboard-detach", "onboard --all --detach", &fakeTemporal{}},
		{"onboard-detach-json", "onboard --all --detach -o json", &fakeTemporal{}},
		{"onboard-watch", "onboard --watch onboard/17", &fakeTemporal{onboarded: all, onboards: looks(all)}},
		{"onboard-watch-unknown", "onboard --watch onboard/18", &fakeTemporal{ends: []error{serviceerror.NewNotFound("workflow not found")}}},
		{"onboard-unknown-devices", "onboard edge-00l edge-00m", &fakeTemporal{ends: []error{appError(contract.ErrUnknownDevice, "the fleet does not declare edge-00l, edge-00m; declare them, or correct the names")}}},
		{"onboard-cancelled", "onboard --all", &fakeTemporal{ends: []error{temporal.NewCanceledError()}}},
		{"onboard-terminated", "onboard --all", &fakeTemporal{ends: []error{&temporal.TerminatedError{}}}},
		{"onboard-timed-out", "onboard --all", &fakeTemporal{ends: []error{temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil)}}},
		{"onboard-temporal-away-for-a-moment", "onboard --all", &fakeTemporal{onboarded: all,
			ends: []error{serviceerror.NewUnavailable("restarting"), serviceerror.NewUnavailable("restarting"), nil}}},
		{"onboard-refused-by-temporal", "onboard --all", &fakeTemporal{startErr: serviceerror.NewPermissionDenied("not yours", "")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onboarding(t, c.f).golden(c.name, strings.Fields(c.args)...)
			require.Equal(t, 1, c.f.closed)
			for _, run := range c.f.queried {
				require.Empty(t, run, "it continues as new, and the newest run is asked")
			}
		})
	}
}

func TestOnATerminalTheProgressIsWrittenOver(t *testing.T) {
	f := &fakeTemporal{onboarded: onboarded(), onboards: looks(onboarded())}
	s := onboarding(t, f)
	s.options.Terminal = true
	require.Zero(t, s.run("onboard", "--all"))
	require.Contains(t, s.err.String(), "\r[--------------------]  0 of 10 devices, 0 failed, 2 in work\x1b[K")
	require.Contains(t, s.err.String(), "\r[########------------]  4 of 10 devices, 0 failed, 2 in work, 0.2/s, 30s left\x1b[K")
	require.True(t, strings.HasSuffix(s.err.String(), "\r[####################]  10 of 10 devices, 0 failed, 0.5/s\x1b[K\n"), s.err.String())
	require.NotContains(t, s.out.String(), "\x1b")
}

func TestDevicesThatAreOutOfReachAreSaidToBeTriedAgain(t *testing.T) {
	f := &fakeTemporal{onboarded: onboarded(), onboards: []contract.OnboardProgress{{Total: 10, Done: 8, Waiting: 2, Began: at(0), Revision: "r"}, onboarded()}}
	s := onboarding(t, f)
	require.Zero(t, s.run("onboard", "--all"))
	require.Contains(t, s.err.String(), "8 of 10 devices, 0 failed, 2 out of reach and tried again")
}

func TestElsewhereTheProgressIsALineNowAndThen(t *testing.T) {
	f := &fakeTemporal{onboarded: onboarded(), onboards: slices.Repeat(looks(onboarded())[1:3], 20)}
	f.onboards = append(f.onboards, onboarded())
	s := onboarding(t, f)
	s.options.Every = time.Hour
	require.Zero(t, s.run("onboard", "--all"))
	require.Equal(t, []string{"started onboard/nonce (run the-run)", "0 of 10 devices, 0 failed, 2 in work", "10 of 10 devices, 0 failed, 0.5/s", ""},
		strings.Split(s.err.String(), "\n"), "the first and the last")
}

func TestWhatAnOnboardingIsStartedWith(t *testing.T) {
	kim := contract.Actor{Kind: contract.ActorOperator, Name: "kim"}
	bounds := contract.Bounds{}.WithDefaults()
	for _, c := range []struct {
		args    string
		want    contract.OnboardInput
		summary string
		attr    string
	}{
		{"edge-001", contract.OnboardInput{Selection: contract.Selection{IDs: []string{"edge-001"}}, Bounds: bounds}, "onboard edge-001: started by hand", contract.AttrDeviceID},
		{"edge-001 edge-002 --again", contract.OnboardInput{Selection: contract.Selection{IDs: []string{"edge-001", "edge-002"}, Again: true}, Bounds: bounds},
			"onboard 2 devices: started by hand", ""},
		{"--all --per-site 1 --per-region 2 --at-once 3", contract.OnboardInput{Selection: contract.Selection{All: true},
			Bounds: contract.Bounds{PerSite: 1, PerRegion: 2, Total: 3}}, "onboard all devices: started by hand", ""},
		{"--site s7 --reason spring", contract.OnboardInput{Selection: contract.Selection{Site: "s7"}, Reason: "spring", Bounds: bounds}, "onboard site s7: spring", contract.AttrSite},
		{"gw-1 --trust-first-use --accept-replacement", contract.OnboardInput{Selection: contract.Selection{IDs: []string{"gw-1"}}, Bounds: bounds,
			Trust: contract.Trust{TrustFirstUse: true, AcceptReplacement: true}}, "onboard gw-1: started by hand", contract.AttrDeviceID},
		{"--region north", contract.OnboardInput{Selection: contract.Selection{Region: "north"}, Bounds: bounds}, "onboard region north: started by hand", contract.AttrRegion},
	} {
		t.Run(c.args, func(t *testing.T) {
			f := &fakeTemporal{}
			require.Zero(t, newSession(t, f).run(append([]string{"onboard", "--detach"}, strings.Fields(c.args)...)...))
			c.want.Actor = kim
			if c.want.Reason == "" {
				c.want.Reason = "started by hand"
			}
			if c.want.Selection.IDs == nil {
				c.want.Selection.IDs = []string{}
			}
			require.Equal(t, []contract.OnboardInput{c.want}, f.onboard)
			o := f.options[0]
			require.Equal(t, []any{contract.TaskQueue, contract.OnboardID("nonce"), 7 * 24 * time.Hour, c.summary, enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE},
				[]any{o.TaskQueue, o.ID, o.WorkflowExecutionTimeout, o.StaticSummary, o.WorkflowIDReusePolicy})
			if c.attr == "" {
				require.Zero(t, o.TypedSearchAttributes.Size())
			} else {
				require.True(t, o.TypedSearchAttributes.ContainsKey(temporal.NewSearchAttributeKeyKeyword(c.attr)))
			}
		})
	}
}

func TestAnOnboardingThatIsNotToBeStartedIsRefused(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"", "want exactly one of ID..., --all, --site, --region and --watch, got 0 of them"},
		{"edge-001 --all", "got 2 of them"},
		{"--site a --region b", "got 2 of them"},
		{"--all --watch onboard/1", "got 2 of them"},
		{"--site=", "--site is empty"},
		{"--watch=", "--watch is empty"},
		{"edge/003", "edge/003"},
		{"--all --per-site 0", "--per-site 0: want 1 to 256"},
		{"--all --per-region -1", "--per-region -1: want 1 to 256"},
		{"--all --at-once 257", "--at-once 257: want 1 to 256"},
		{"--all --output yaml", "want table or json"},
	} {
		t.Run(c.args, func(t *testing.T) {
			f := &fakeTemporal{}
			s := newSession(t, f)
			require.Equal(t, 2, s.run(append([]string{"onboard"}, strings.Fields(c.args)...)...))
			require.Contains(t, s.err.String(), c.says)
			require.Empty(t, f.options)
		})
	}
}

func TestCtrlCLeavesAnOnboardingRunning(t *testing.T) {
	f := &fakeTemporal{hold: make(chan struct{}), onboards: []contract.OnboardProgress{{Total: 2, Began: at(0), Revision: "r"}}}
	s := onboarding(t, f)
	ctx, interrupt := context.WithCancel(context.Background())
	code := make(chan int)
	go func() { code <- s.runContext(ctx, "onboard", "--all") }()
	s.until("0 of 2 devices")
	interrupt()
	require.Equal(t, 1, <-code)
	require.Contains(t, s.err.String(), "edgefleet: interrupted; onboard/nonce goes on; look at it again with: edgefleet onboard --watch onboard/nonce\n")
	require.Equal(t, 1, f.closed)
}

func TestAnOnboardingWithoutAWorkerSaysWhatItWaitsFor(t *testing.T) {
	for name, c := range map[string]struct {
		looks []contract.OnboardProgress
		says  string
	}{
		"nobody answers":           {nil, "still waiting for a worker…"},
		"the selection is to come": {[]contract.OnboardProgress{{Began: at(0)}, {Began: at(0)}}, "still selecting devices…"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeTemporal{hold: make(chan struct{}), onboards: c.looks, onboarded: onboarded()}
			s := onboarding(t, f)
			s.options.Patience = time.Millisecond
			code := make(chan int)
			go func() { code <- s.run("onboard", "--all") }()
			s.until(c.says)
			close(f.hold)
			require.Zero(t, <-code)
			require.Equal(t, 1, strings.Count(s.err.String(), "still "), "it is said once")
		})
	}
}

func TestAListOfDevicesIsAskedForUntilThereIsNoMore(t *testing.T) {
	const many = 10_000
	f := &fakeTemporal{answer: func(in contract.InspectInput) (contract.InspectResult, error) {
		var page []contract.DeviceStatus
		for n := range many {
			if id := fmt.Sprintf("edge-%05d", n); id > in.Device.After && len(page) < contract.MaxDeviceList {
				page = append(page, contract.DeviceStatus{Device: contract.Device{ID: id, Site: in.Device.Site}, State: "unknown"})
			}
		}
		if last := len(page) - 1; last >= 0 {
			page[last].More = page[last].ID < fmt.Sprintf("edge-%05d", many-1)
		}
		return contract.InspectResult{Devices: page}, nil
	}}
	s := newSession(t, f)
	require.Zero(t, s.run("device", "list", "--site", "s7", "-o", "json"))
	require.Len(t, f.asked, many/contract.MaxDeviceList)
	require.Equal(t, many, strings.Count(s.out.String(), `"site": "s7"`))
	require.NotContains(t, s.out.String(), `"more"`, "how it came is not the reader's")
	require.Equal(t, 1, f.closed)
}
