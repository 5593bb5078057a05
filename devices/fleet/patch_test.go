package fleet_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/devices/patch"
)

func TestAPatchIsInstalledOnceAndTheLedgerSaysSo(t *testing.T) {
	s := newPatchSite(t)
	j := newMemory()
	report, err := s.apply(j)
	require.NoError(t, err)
	require.Equal(t, fleet.PatchReport{DeviceID: "gw-1", From: "edge 3.2.1", To: "3.3.0", Now: "edge 3.3.0", Installed: true,
		Detail: "it runs edge 3.3.0 and is well"}, report)
	require.Equal(t, map[string]int{"stage": 1, "install": 1, "restart": 1, "check": 1, "confirm": 1}, s.box.calls)
	require.Equal(t, "edge 3.3.0", s.box.running)
	require.Equal(t, []string{"intent", "result", "intent", "result"}, j.steps)
	require.Equal(t, []fleet.Outcome{fleet.Applied, fleet.Applied}, j.outcomes())
	again, err := s.apply(j)
	require.NoError(t, err)
	require.True(t, again.Installed)
	require.Equal(t, 1, s.box.calls["install"], "what has its result is not looked at again")
}

func TestADeviceThatRunsThePatchIsLeftAlone(t *testing.T) {
	s := newPatchSite(t)
	s.box.disk = "edge v3.3.0"
	j := newMemory()
	report, err := s.apply(j)
	require.NoError(t, err)
	require.False(t, report.Installed)
	require.Empty(t, s.box.calls)
	require.Empty(t, j.steps)
}

func TestWhatKeepsAPatchFromADevice(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *patchSite, w *fleet.PatchWork)
		kind   devices.Kind
		is     error
		says   string
	}{
		"it does not run what was planned with": {change: func(s *patchSite, _ *fleet.PatchWork) { s.box.disk = "edge 3.2.9" },
			kind: devices.Rejected, is: fleet.ErrChanged, says: "it runs edge 3.2.9, and ran edge 3.2.1"},
		"a downgrade": {change: func(s *patchSite, w *fleet.PatchWork) { s.box.disk, w.From = "edge 4.0.0", "edge 4.0.0" },
			kind: devices.Rejected, says: "which is newer than 3.3.0; allow downgrades"},
		"versions that cannot be compared": {change: func(s *patchSite, w *fleet.PatchWork) { s.box.disk, w.From = "edge R12", "edge R12" },
			kind: devices.Rejected, says: "cannot be said"},
		"an artifact that was changed": {change: func(s *patchSite, _ *fleet.PatchWork) { s.spoil() },
			kind: devices.Unsupported, is: patch.ErrRefused, says: "SHA-256"},
		"nobody allows it": {change: func(_ *patchSite, w *fleet.PatchWork) {
			w.Allow = func(context.Context) error { return errRefused }
		}, is: errRefused},
		"another device at its address": {change: func(s *patchSite, _ *fleet.PatchWork) { s.box.set("maker", "plan9") },
			kind: devices.Rejected, says: "is not a small-gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newPatchSite(t)
			o := s.operator(s.box)
			w := s.work(o)
			c.change(s, &w)
			j := newMemory()
			_, err := o.ApplyPatch(t.Context(), w, j, nil)
			require.Error(t, err)
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			require.ErrorContains(t, err, c.says)
			require.Empty(t, s.box.calls)
			require.Empty(t, j.steps)
		})
	}
}

func TestALedgerThatIsAwayKeepsAPatchFromADevice(t *testing.T) {
	s := newPatchSite(t)
	j := newMemory()
	j.refuse = "intent"
	_, err := s.apply(j)
	require.ErrorIs(t, err, errRefused)
	require.Empty(t, s.box.calls)
}

func TestAnInterlockKeepsAPatchFromADevice(t *testing.T) {
	s := newPatchSite(t)
	s.profile(hostInstall + "interlock:\n  - {point: log_level, equals: maintenance, tell: ask on site}\n")
	s.box.set("log_level", "maintenance")
	_, err := s.apply(newMemory())
	require.ErrorContains(t, err, "ask on site")
	require.Empty(t, s.box.calls)
}

func TestADowngradeIsMadeWhereItIsAllowed(t *testing.T) {
	s := newPatchSite(t)
	s.box.disk = "edge 4.0.0"
	o := s.operator(s.box)
	w := s.work(o)
	w.From, w.Downgrade = "edge 4.0.0", true
	report, err := o.ApplyPatch(t.Context(), w, newMemory(), nil)
	require.NoError(t, err)
	require.Equal(t, "edge 3.3.0", report.Now)
}

func TestAPatchThatIsNotWellIsRolledBack(t *testing.T) {
	s := newPatchSite(t)
	s.box.sick["edge 3.3.0"] = true
	j := newMemory()
	report, err := s.apply(j)
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "edge 3.3.0 is sick; it was rolled back, runs edge 3.2.1 and is well")
	require.True(t, report.RolledBack)
	require.False(t, report.Unsafe)
	require.Equal(t, "edge 3.2.1", s.box.running)
	require.ElementsMatch(t, []fleet.Outcome{fleet.Applied, fleet.Failed, fleet.Applied}, j.outcomes())
	again, err := s.apply(j)
	require.Error(t, err)
	require.False(t, again.Unsafe)
	require.Equal(t, 1, s.box.calls["install"], "what failed is not tried again by the same operation")
}

func TestAPatchThatIsNotWellAndCannotGoBackIsAPersons(t *testing.T) {
	s := newPatchSite(t)
	s.profile(strings.Replace(hostInstall, "  rollback: rollback-edge\n", "", 1))
	s.box.sick["edge 3.3.0"] = true
	j := newMemory()
	report, err := s.apply(j)
	require.ErrorContains(t, err, "its profile has no rollback")
	require.True(t, report.Unsafe)
	require.Contains(t, j.outcomes(), fleet.Unknown)
	again, err := s.apply(j)
	require.Error(t, err)
	require.True(t, again.Unsafe)
}

func TestARollbackThatDoesNotHelpIsAPersons(t *testing.T) {
	s := newPatchSite(t)
	s.box.sick["edge 3.3.0"], s.box.sick["edge 3.2.1"] = true, true
	report, err := s.apply(newMemory())
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "could not be rolled back")
	require.True(t, report.Unsafe)
}

func TestAnInstallationThatIsRefusedLeavesTheDeviceAsItWas(t *testing.T) {
	s := newPatchSite(t)
	s.box.hook = failing("install", devices.Rejected, false)
	j := newMemory()
	report, err := s.apply(j)
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "it runs edge 3.2.1 as before, and is well")
	require.False(t, report.Unsafe)
	require.Contains(t, j.outcomes(), fleet.Failed)
	require.Zero(t, s.box.calls["revert"])
}

func TestAnInstallationWhoseAnswerIsLostIsDecidedByTheVersion(t *testing.T) {
	for name, effect := range map[string]bool{"and it was done": true, "and it was not done": false} {
		t.Run(name, func(t *testing.T) {
			s := newPatchSite(t)
			s.box.hook = failing("install", devices.Indeterminate, effect)
			report, err := s.apply(newMemory())
			if effect {
				require.NoError(t, err)
				require.Equal(t, "edge 3.3.0", report.Now)
				return
			}
			require.ErrorContains(t, err, "it runs edge 3.2.1 as before")
		})
	}
}

func TestAnInstallationThatWasNotBegunMayBeTriedAgain(t *testing.T) {
	s := newPatchSite(t)
	s.box.hook = failing("install", devices.Unreachable, false)
	j := newMemory()
	report, err := s.apply(j)
	require.Equal(t, devices.Unreachable, devices.KindOf(err))
	require.False(t, report.Installed)
	s.box.hook = nil
	_, err = s.apply(j)
	require.NoError(t, err)
	require.Equal(t, 1, s.box.calls["install"])
}

func TestAnUploadThatIsCutMayBeTriedAgain(t *testing.T) {
	s := newPatchSite(t)
	s.box.hook = failing("stage", devices.Unreachable, false)
	j := newMemory()
	_, err := s.apply(j)
	require.Equal(t, devices.Unreachable, devices.KindOf(err))
	require.Equal(t, []fleet.Outcome{fleet.NotApplied}, j.outcomes())
	s.box.hook = nil
	_, err = s.apply(j)
	require.NoError(t, err)
}

func TestADeviceThatStaysDarkLeavesTheIntentOpen(t *testing.T) {
	s := newPatchSite(t)
	s.box.hook = func(what string, call func() error) error {
		err := call()
		if what == "install" {
			s.box.host.mu.Lock()
			s.box.dark = true
			s.box.host.mu.Unlock()
		}
		return err
	}
	j := newMemory()
	report, err := s.apply(j)
	require.Equal(t, devices.Indeterminate, devices.KindOf(err), "%v", err)
	require.True(t, report.Installed)
	require.Contains(t, j.outcomes(), fleet.Outcome(""))
	s.box.hook, s.box.dark = nil, false
	report, err = s.apply(j)
	require.NoError(t, err)
	require.True(t, report.Confirmed)
	require.Equal(t, 1, s.box.calls["install"])
}

// lives is how often a process is let die before it is taken for endless.
const lives = 200

// survive runs an operation again and again, each time in a process that dies
// one step later, until one comes to its end.
func survive(t *testing.T, s *patchSite, steps int) error {
	t.Helper()
	j := newMemory()
	l := &life{left: steps}
	s.box.hook = l.do
	o := s.operator(s.box)
	if _, err := o.ApplyPatch(t.Context(), s.work(o), mortalJournal{l, j}, nil); !l.dead {
		return errors.Join(errNoDeath, err)
	}
	s.box.hook = nil
	_, err := s.apply(j)
	return err
}

var errNoDeath = errors.New("it came to its end before")

func TestAProcessThatDiesAnywhereInstallsAPatchOnce(t *testing.T) {
	for steps := range lives {
		s := newPatchSite(t)
		err := survive(t, s, steps)
		require.Equal(t, "edge 3.3.0", s.box.running, "after %d steps", steps)
		require.Zero(t, s.box.twice, "after %d steps what was installed was installed again", steps)
		require.LessOrEqual(t, s.box.calls["install"], 1, "after %d steps", steps)
		if errors.Is(err, errNoDeath) {
			require.Greater(t, steps, 15)
			return
		}
		require.NoError(t, err, "after %d steps", steps)
	}
	t.Fatal("it never came to its end")
}

func TestAProcessThatDiesAnywhereRollsABadPatchBack(t *testing.T) {
	for steps := range lives {
		s := newPatchSite(t)
		s.box.sick["edge 3.3.0"] = true
		err := survive(t, s, steps)
		require.Error(t, err)
		require.Equal(t, "edge 3.2.1", s.box.running, "after %d steps: %v", steps, err)
		require.Equal(t, "edge 3.2.1", s.box.disk)
		require.Zero(t, s.box.twice)
		require.LessOrEqual(t, s.box.calls["install"], 1, "after %d steps", steps)
		if errors.Is(err, errNoDeath) {
			return
		}
		require.Equal(t, devices.Rejected, devices.KindOf(err), "after %d steps: %v", steps, err)
	}
	t.Fatal("it never came to its end")
}

func TestAPatchIsPlannedByWhatTheDeviceRuns(t *testing.T) {
	for name, c := range map[string]struct {
		runs      string
		downgrade bool
		skip      fleet.PatchSkip
	}{
		"an older version":                        {"edge 3.2.1", false, ""},
		"the version itself":                      {"edge 3.3.0", false, fleet.PatchThere},
		"a newer version":                         {"edge 4.0", false, fleet.PatchDowngrade},
		"a newer version, and that is allowed":    {"edge 4.0", true, ""},
		"a version that cannot be compared":       {"edge R12", false, fleet.PatchDowngrade},
		"what cannot be compared, and is allowed": {"edge R12", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newPatchSite(t)
			s.box.disk = c.runs
			plan, err := s.plan(c.downgrade)
			require.NoError(t, err)
			require.Equal(t, c.skip, plan.Skip, plan.Detail)
			require.Equal(t, c.runs, plan.From)
			require.Empty(t, s.box.calls)
		})
	}
}

func TestADarkDeviceCannotBePlanned(t *testing.T) {
	s := newPatchSite(t)
	s.box.dark = true
	_, err := s.plan(false)
	require.Equal(t, devices.Unreachable, devices.KindOf(err))
}

func TestAPatchedDeviceIsTakenBack(t *testing.T) {
	s := newPatchSite(t)
	_, err := s.apply(newMemory())
	require.NoError(t, err)
	o := s.operator(s.box)
	j := newMemory()
	report, err := o.RevertPatch(t.Context(), s.work(o), j, nil)
	require.NoError(t, err)
	require.True(t, report.RolledBack)
	require.Equal(t, "edge 3.2.1", s.box.running)
	require.Equal(t, []fleet.Outcome{fleet.Applied}, j.outcomes())
	report, err = o.RevertPatch(t.Context(), s.work(o), newMemory(), nil)
	require.NoError(t, err)
	require.False(t, report.RolledBack, "it runs what it ran already")
	require.Equal(t, 1, s.box.calls["revert"])
}

func TestADeviceThatSomebodyElsePatchedIsNotTakenBack(t *testing.T) {
	s := newPatchSite(t)
	s.box.disk = "edge 5.0"
	o := s.operator(s.box)
	_, err := o.RevertPatch(t.Context(), s.work(o), newMemory(), nil)
	require.ErrorIs(t, err, fleet.ErrChanged)
	require.Empty(t, s.box.calls)
}

func TestAPartnerIsWellWhateverItsSettingsAre(t *testing.T) {
	s := newPatchSite(t)
	o := s.operator(s.box)
	report, err := o.CheckWell(t.Context(), "gw-1")
	require.NoError(t, err)
	require.True(t, report.Well, report.Detail)
	s.box.dark = true
	report, err = o.CheckWell(t.Context(), "gw-1")
	require.NoError(t, err)
	require.False(t, report.Well)
	require.NotEmpty(t, report.Detail)
}
