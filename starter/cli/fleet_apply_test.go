package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"edgefleet/devices/fleetdir"
	"edgefleet/workflows/contract"
)

// registry answers with these devices, page by page, as a worker with the
// directory "fleet" of the working directory.
func registry(t *testing.T, devices ...contract.RegisteredDevice) *fakeTemporal {
	t.Helper()
	declared, err := fleetdir.Load("fleet")
	require.NoError(t, err)
	return &fakeTemporal{answer: func(in contract.InspectInput) (contract.InspectResult, error) {
		page := &contract.RegistryPage{Revision: declared.Revision(), Commit: strings.Repeat("c0ffee00", 5)}
		for _, d := range devices {
			if d.DeviceID > in.Registry.After && len(page.Devices) < 2 {
				page.Devices = append(page.Devices, d)
			}
		}
		if n := len(page.Devices); n == 2 {
			page.Next = page.Devices[1].DeviceID
		}
		return contract.InspectResult{Registry: page}, nil
	}}
}

// asDeclared is what the registry has of a device that is onboarded as the
// directory declares it.
func asDeclared(t *testing.T, id string) contract.RegisteredDevice {
	t.Helper()
	f, err := fleetdir.Load("fleet")
	require.NoError(t, err)
	d, _, err := f.Device(id)
	require.NoError(t, err)
	r := contract.RegisteredDevice{DeviceID: id, State: contract.RegistryOnboarded, DeclaredHash: f.DeclaredHash(d), Revision: f.Revision(),
		Site: d.Site, Region: d.Region, Profile: d.Profile, OnboardedAt: timePtr(at(5)), ChangedAt: at(5)}
	if b, ok := f.Baseline(d); ok {
		r.Baseline, r.BaselineVersion = b.Baseline, b.Version
	}
	return r
}

// everyKind is a registry beside which the directory has a device of every kind.
func everyKind(t *testing.T) []contract.RegisteredDevice {
	changed, failed := asDeclared(t, "edge-001"), asDeclared(t, "switch-07")
	changed.DeclaredHash, changed.BaselineVersion = "before", "2026.9"
	removed, gone := changed, changed
	removed.DeviceID, gone.DeviceID, gone.State, gone.ChangedAt = "edge-099", "edge-098", contract.RegistryDecommissioned, at(9)
	failed.State, failed.OnboardedAt, failed.ChangedAt, failed.Detail = contract.RegistryFailed, nil, at(7), "reach: it does not\x1b[2J answer\nat all"
	return []contract.RegisteredDevice{changed, gone, removed, failed}
}

func allAsDeclared(t *testing.T) []contract.RegisteredDevice {
	return []contract.RegisteredDevice{asDeclared(t, "edge-001"), asDeclared(t, "edge-100"), asDeclared(t, "switch-07")}
}

const brokenDevice = "devices:\n  - {id: edge-100, site: s, region: mars, profile: capacitor-bank, address: 10.9.9.9:502, plaintext_exception: lab}\n"

// another makes the worker run another revision.
func another(f *fakeTemporal) *fakeTemporal {
	answer := f.answer
	f.answer = func(in contract.InspectInput) (contract.InspectResult, error) {
		out, err := answer(in)
		out.Registry.Revision, out.Registry.Commit = strings.Repeat("0ddba11", 9)+"0", strings.Repeat("decaf", 8)
		return out, err
	}
	return f
}

func TestAFleetDirectoryIsComparedWithTheDevicesInService(t *testing.T) {
	for _, c := range []struct {
		name, args string
		f          func(t *testing.T) *fakeTemporal
	}{
		{"every-kind", "fleet diff fleet", func(t *testing.T) *fakeTemporal { return registry(t, everyKind(t)...) }},
		{"every-kind-json", "fleet diff fleet -o json", func(t *testing.T) *fakeTemporal { return registry(t, everyKind(t)...) }},
		{"all-new", "fleet diff fleet", func(t *testing.T) *fakeTemporal { return registry(t) }},
		{"nothing-differs", "fleet diff fleet", func(t *testing.T) *fakeTemporal { return registry(t, allAsDeclared(t)...) }},
		{"another-revision", "fleet diff fleet", func(t *testing.T) *fakeTemporal { return another(registry(t, allAsDeclared(t)...)) }},
		{"older-worker", "fleet diff fleet", func(*testing.T) *fakeTemporal {
			return failing(appError(contract.ErrNotFound, `unknown question "registry_list": the worker may be older than the command line`))
		}},
		{"no-answer", "fleet diff fleet", func(*testing.T) *fakeTemporal { return answering(func(*contract.InspectResult) {}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			fleetFolder(t, nil)
			f := c.f(t)
			newSession(t, f).golden("fleet-diff-"+c.name, strings.Fields(c.args)...)
			require.Empty(t, f.onboard)
			require.Equal(t, 1, f.closed)
		})
	}
	t.Run("a terminal shows what comes and goes in colour", func(t *testing.T) {
		fleetFolder(t, nil)
		s := newSession(t, registry(t, everyKind(t)...))
		s.options.Colour = true
		require.Zero(t, s.run("fleet", "diff", "fleet"))
		require.Contains(t, s.out.String(), "\x1b[32m+ edge-100")
		require.Contains(t, s.out.String(), "\x1b[31m- edge-099")
		require.Contains(t, s.out.String(), "\n~ edge-001")
	})
}

func TestAPlanIsMadeOfADirectoryWithoutMistakesOnly(t *testing.T) {
	for _, c := range []struct{ name, args string }{
		{"broken", "fleet diff fleet"}, {"apply-broken", "fleet apply fleet --yes"}, {"absent", "fleet diff nowhere"},
		{"two", "fleet diff fleet fleet"}, {"bad-output", "fleet apply fleet -o yaml"}, {"bad-timeout", "fleet diff fleet --timeout 1ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fleetFolder(t, map[string]string{"fleet/devices/west.yaml": brokenDevice})
			f := &fakeTemporal{}
			newSession(t, f).golden("fleet-mistake-"+c.name, strings.Fields(c.args)...)
			require.Empty(t, f.dialled, "nobody is asked")
		})
	}
}

func TestAPlanIsCarriedOut(t *testing.T) {
	done := contract.OnboardProgress{Total: 3, Done: 3, Began: at(0), Phases: []contract.PhaseTime{{Phase: contract.PhaseReach, Took: 3e6, Devices: 3}}}
	some := done
	some.Done, some.Failed, some.Failures = 1, 2, twoFailures()
	gone := contract.DecommissionProgress{Total: 1, Done: 1, Began: at(0)}
	held := contract.DecommissionProgress{Total: 1, Failed: 1, Began: at(0), Failures: []contract.DecommissionFailure{
		{DeviceID: "edge-099", Reason: contract.ErrLeaseHeld, Detail: "edge-099 is held by remediate/edge-099/manual/1"}}}
	stays := temporal.NewNonRetryableApplicationError("1 of 1 devices are still in service", contract.ErrRejected, nil, held)
	for _, c := range []struct {
		name, args         string
		f                  func(t *testing.T, f *fakeTemporal)
		onboarded, removed int
	}{
		{"done", "fleet apply fleet --yes --reason spring", nil, 1, 1},
		{"done-json", "fleet apply fleet --yes -o json", nil, 1, 1},
		{"progress", "fleet apply fleet --yes", func(_ *testing.T, f *fakeTemporal) { f.onboards = looks(done) }, 1, 1},
		{"failures", "fleet apply fleet --yes", func(_ *testing.T, f *fakeTemporal) { f.ends, f.removalEnds = []error{notHealthy(some)}, []error{stays} }, 1, 1},
		{"failures-json", "fleet apply fleet --yes -o json", func(_ *testing.T, f *fakeTemporal) { f.ends = []error{notHealthy(some)} }, 1, 1},
		{"held", "fleet apply fleet --yes", func(_ *testing.T, f *fakeTemporal) { f.removalEnds = []error{stays} }, 1, 1},
		{"cancelled", "fleet apply fleet --yes", func(_ *testing.T, f *fakeTemporal) { f.removalEnds = []error{temporal.NewCanceledError()} }, 1, 1},
		{"detach", "fleet apply fleet --yes --detach", nil, 1, 1},
		{"detach-json", "fleet apply fleet --yes --detach -o json", nil, 1, 1},
		{"without-yes", "fleet apply fleet", nil, 0, 0},
		{"without-yes-json", "fleet apply fleet -o json", nil, 0, 0},
		{"another-revision", "fleet apply fleet --yes", func(_ *testing.T, f *fakeTemporal) { another(f) }, 0, 0},
		{"revision-taken-up-meanwhile", "fleet apply fleet --yes", func(_ *testing.T, f *fakeTemporal) { f.onboarded.Revision = "0ddba11" }, 1, 1},
		{"only-new-needs-no-yes", "fleet apply fleet", func(t *testing.T, f *fakeTemporal) { f.answer = registry(t).answer }, 1, 0},
		{"nothing-to-do", "fleet apply fleet", func(t *testing.T, f *fakeTemporal) { f.answer = registry(t, allAsDeclared(t)...).answer }, 0, 0},
		{"nothing-to-do-json", "fleet apply fleet -o json", func(t *testing.T, f *fakeTemporal) { f.answer = registry(t, allAsDeclared(t)...).answer }, 0, 0},
		{"refused-by-temporal", "fleet apply fleet --yes", func(_ *testing.T, f *fakeTemporal) { f.startErr = serviceerror.NewPermissionDenied("not yours", "") }, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			fleetFolder(t, nil)
			f := registry(t, everyKind(t)...)
			f.onboarded, f.removals = done, gone
			if c.f != nil {
				c.f(t, f)
			}
			onboarding(t, f).golden("fleet-apply-"+c.name, strings.Fields(c.args)...)
			require.Equal(t, []int{c.onboarded, c.removed, 1}, []int{len(f.onboard), len(f.removed), f.closed})
		})
	}
}

func TestWhatAnApplyStarts(t *testing.T) {
	fleetFolder(t, nil)
	f := registry(t, everyKind(t)...)
	require.Zero(t, newSession(t, f).run("fleet", "apply", "fleet", "--yes", "--detach", "--reason", "spring"))
	kim := contract.Actor{Kind: contract.ActorOperator, Name: "kim"}
	require.Equal(t, []contract.OnboardInput{{Selection: contract.Selection{IDs: []string{"edge-001", "edge-100", "switch-07"}}, Actor: kim, Reason: "spring"}}, f.onboard)
	require.Equal(t, []contract.DecommissionInput{{Devices: []contract.DeviceRef{{ID: "edge-099", Site: "substation-7", Region: "us-east-1"}}, Actor: kim, Reason: "spring"}}, f.removed)
	o := f.options[len(f.options)-1]
	require.Equal(t, []any{contract.TaskQueue, contract.DecommissionID("nonce"), "decommission edge-099: spring", enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE},
		[]any{o.TaskQueue, o.ID, o.StaticSummary, o.WorkflowIDReusePolicy})
	require.Positive(t, o.WorkflowExecutionTimeout)
	require.True(t, o.TypedSearchAttributes.ContainsKey(temporal.NewSearchAttributeKeyKeyword(contract.AttrDeviceID)))
}

func TestMoreDevicesThanOneWorkflowIsGivenAreAppliedOneWorkflowAfterAnother(t *testing.T) {
	var text strings.Builder
	text.WriteString("devices:\n")
	for n := range contract.MaxSelection {
		fmt.Fprintf(&text, "  - {id: more-%04d, site: s, region: us-west-2, profile: switched-outlet, address: \"10.9.9.9:%d\", plaintext_exception: lab}\n", n, 1000+n)
	}
	fleetFolder(t, map[string]string{filepath.Join("fleet", "devices", "more.yaml"): text.String()})
	f := registry(t)
	s := newSession(t, f)
	require.Equal(t, 2, s.run("fleet", "apply", "fleet", "--detach"))
	require.Contains(t, s.err.String(), "with more than 5000 devices one workflow follows another; leave out --detach")
	require.Empty(t, f.onboard)

	f.onboarded = onboarded(twoFailures()...)
	f.ends = []error{notHealthy(f.onboarded)}
	s = newSession(t, f)
	require.Equal(t, 1, s.run("fleet", "apply", "fleet", "-o", "json"))
	require.Len(t, f.onboard, 2, "a failure of some does not keep the others waiting")
	require.Len(t, f.onboard[0].Selection.IDs, contract.MaxSelection)
	require.Len(t, f.onboard[1].Selection.IDs, 3)
	var out struct{ Onboarding contract.OnboardProgress }
	require.NoError(t, json.Unmarshal([]byte(s.out.String()), &out))
	require.Equal(t, []int{20, 16, 4, 4}, []int{out.Onboarding.Total, out.Onboarding.Done, out.Onboarding.Failed, len(out.Onboarding.Failures)})
	require.Equal(t, 20, out.Onboarding.Phases[0].Devices)
}

func TestCtrlCLeavesAnApplyRunning(t *testing.T) {
	fleetFolder(t, nil)
	f := registry(t, everyKind(t)...)
	f.onboards = []contract.OnboardProgress{{Total: 3, Began: at(0), Revision: "r"}}
	f.hold = make(chan struct{})
	s := onboarding(t, f)
	ctx, interrupt := context.WithCancel(context.Background())
	code := make(chan int)
	go func() { code <- s.runContext(ctx, "fleet", "apply", "fleet", "--yes") }()
	s.until("0 of 3 devices")
	interrupt()
	require.Equal(t, 1, <-code)
	require.Contains(t, s.err.String(), "started decommission/nonce")
	require.Contains(t, s.err.String(), "edgefleet: interrupted; onboard/nonce goes on; look at it again with: edgefleet onboard --watch onboard/nonce\n")
}
