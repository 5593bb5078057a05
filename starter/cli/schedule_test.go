package cli_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/starter/cli"
	"edgefleet/workflows/contract"
)

// fakeSchedules keeps what was created, and names two times for each.
type fakeSchedules struct {
	client.ScheduleClient
	kept []*fakeSchedule
}

type fakeSchedule struct {
	client.ScheduleHandle
	of        *fakeSchedules
	o         client.ScheduleOptions
	triggered int
	noteErr   error
}

var firstDue = time.Date(2026, 11, 24, 2, 30, 0, 0, time.UTC)

func (f *fakeSchedules) find(id string) int {
	return slices.IndexFunc(f.kept, func(s *fakeSchedule) bool { return s.o.ID == id })
}

func (f *fakeSchedules) Create(_ context.Context, o client.ScheduleOptions) (client.ScheduleHandle, error) {
	if f.find(o.ID) >= 0 {
		return nil, temporal.ErrScheduleAlreadyRunning
	}
	s := &fakeSchedule{of: f, o: o}
	f.kept = append(f.kept, s)
	return s, nil
}

func (f *fakeSchedules) GetHandle(_ context.Context, id string) client.ScheduleHandle {
	if i := f.find(id); i >= 0 {
		return f.kept[i]
	}
	return &fakeSchedule{of: f, o: client.ScheduleOptions{ID: id}}
}

func (f *fakeSchedules) List(context.Context, client.ScheduleListOptions) (client.ScheduleListIterator, error) {
	return &fakeEntries{f.kept}, nil
}

type fakeEntries struct{ left []*fakeSchedule }

func (e *fakeEntries) HasNext() bool { return len(e.left) > 0 }

func (e *fakeEntries) Next() (*client.ScheduleListEntry, error) {
	s := e.left[0]
	e.left = e.left[1:]
	d, err := s.Describe(context.Background())
	if err != nil {
		return nil, err
	}
	out := &client.ScheduleListEntry{ID: s.o.ID, Spec: &s.o.Spec, Note: s.o.Note, Paused: s.o.Paused,
		NextActionTimes: d.Info.NextActionTimes, RecentActions: d.Info.RecentActions}
	out.WorkflowType.Name = s.o.Action.(*client.ScheduleWorkflowAction).Workflow.(string)
	return out, nil
}

func (s *fakeSchedule) Describe(context.Context) (*client.ScheduleDescription, error) {
	if s.of.find(s.o.ID) < 0 {
		return nil, serviceerror.NewNotFound("no such schedule")
	}
	return &client.ScheduleDescription{
		Schedule: client.Schedule{Action: s.o.Action, Spec: &s.o.Spec, State: &client.ScheduleState{Note: s.o.Note, Paused: s.o.Paused}},
		Info: client.ScheduleInfo{NextActionTimes: []time.Time{firstDue, firstDue.AddDate(0, 0, 1)},
			RecentActions: []client.ScheduleActionResult{{ActualTime: firstDue.AddDate(0, 0, -1),
				StartWorkflowResult: &client.ScheduleWorkflowExecution{WorkflowID: "drift-scan/nightly-2026-11-23T02:30:00Z"}}}},
	}, nil
}

func (s *fakeSchedule) Pause(_ context.Context, o client.SchedulePauseOptions) error {
	if s.noteErr == nil {
		s.o.Paused, s.o.Note = true, o.Note
	}
	return s.noteErr
}

func (s *fakeSchedule) Unpause(_ context.Context, o client.ScheduleUnpauseOptions) error {
	if s.noteErr == nil {
		s.o.Paused, s.o.Note = false, o.Note
	}
	return s.noteErr
}

func (s *fakeSchedule) Trigger(context.Context, client.ScheduleTriggerOptions) error {
	s.triggered++
	return nil
}

func (s *fakeSchedule) Delete(context.Context) error {
	i := s.of.find(s.o.ID)
	s.of.kept = slices.Delete(s.of.kept, i, i+1)
	return nil
}

func withSchedule(o client.ScheduleOptions) *fakeTemporal {
	f := &fakeTemporal{schedules: &fakeSchedules{}}
	f.schedules.kept = append(f.schedules.kept, &fakeSchedule{of: f.schedules, o: o})
	return f
}

func nightly() client.ScheduleOptions {
	return client.ScheduleOptions{ID: "nightly", Note: "before the shift",
		Spec: client.ScheduleSpec{TimeZoneName: "Europe/Berlin", Calendars: []client.ScheduleCalendarSpec{{
			Hour: []client.ScheduleRange{{Start: 3}}, Minute: []client.ScheduleRange{{Start: 30}}, DayOfWeek: []client.ScheduleRange{{Start: 1, End: 5}}}}},
		Action: &client.ScheduleWorkflowAction{Workflow: contract.WorkflowDriftScan}}
}

func TestSchedulesAreShown(t *testing.T) {
	for name, args := range map[string][]string{
		"schedule-create": {"schedule", "create", "nightly", "--run", "drift-scan", "--at", "03:30", "--on", "mon-fri", "--zone", "Europe/Berlin", "--note", "before the shift"},
		"schedule-list":   {"schedule", "list"}, "schedule-list-json": {"schedule", "list", "--output", "json"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeTemporal{schedules: &fakeSchedules{}}
			if args[1] == "list" {
				f = withSchedule(nightly())
			}
			newSession(t, f).golden(name, args...)
		})
	}
}

func TestAScheduledScanIsTheScanOfTheCommandLine(t *testing.T) {
	f := &fakeTemporal{schedules: &fakeSchedules{}}
	s := newSession(t, f)
	require.Equal(t, cli.ExitDone, s.run("schedule", "create", "nightly", "--run", "drift-scan", "--site", "substation-7", "--spread", "6h",
		"--cron", "0 2 * * *", "--zone", "Europe/Berlin", "--jitter", "10m", "--overlap", "buffer-one", "--catch-up", "2h", "--skip", "2026-12-24", "--paused"), s.err.String())
	o := f.schedules.kept[0].o
	action := o.Action.(*client.ScheduleWorkflowAction)
	require.Equal(t, contract.WorkflowDriftScan, action.Workflow)
	require.Equal(t, []any{contract.DriftScanInput{Selection: contract.Selection{Site: "substation-7"}, Spread: 6 * time.Hour,
		Actor: contract.Actor{Kind: contract.ActorSchedule, Name: "nightly"}, Reason: "schedule nightly"}}, action.Args)
	require.Equal(t, 30*time.Hour, action.WorkflowExecutionTimeout)
	require.Equal(t, enumspb.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE, o.Overlap)
	require.Equal(t, 2*time.Hour, o.CatchupWindow)
	require.Equal(t, []string{"0 2 * * *"}, o.Spec.CronExpressions)
	require.Equal(t, 10*time.Minute, o.Spec.Jitter)
	require.True(t, o.Paused)
	require.Equal(t, []client.ScheduleRange{{Start: 2026}}, o.Spec.Skip[0].Year)
	require.Equal(t, []client.ScheduleRange{{Start: 0, End: 23}}, o.Spec.Skip[0].Hour, "a freeze is the whole day")
}

func TestADrillRemediatesItsDevice(t *testing.T) {
	f := &fakeTemporal{schedules: &fakeSchedules{}}
	s := newSession(t, f)
	require.Equal(t, cli.ExitDone, s.run("schedule", "create", "drill-7", "--run", "drill", "--device", "edge-007", "--every", "168h"), s.err.String())
	action := f.schedules.kept[0].o.Action.(*client.ScheduleWorkflowAction)
	require.Equal(t, contract.WorkflowRemediate, action.Workflow)
	require.Equal(t, contract.ManualRemediateID("edge-007", "drill-drill-7"), action.ID)
	in := action.Args[0].(contract.RemediateInput)
	require.Equal(t, "edge-007", in.DeviceID)
	require.Equal(t, contract.ActorSchedule, in.Actor.Kind)
}

func TestAScheduledPatchIsPlannedAndAsksForAnApproval(t *testing.T) {
	f := &fakeTemporal{schedules: &fakeSchedules{}}
	s := newSession(t, f)
	file := filepath.Join(t.TempDir(), "slow.yaml")
	require.NoError(t, os.WriteFile(file, []byte("bounds: {total: 3}\napproval: {within: 48h}\nwindows: [{zone: UTC, days: [sat], from: \"22:00\", to: \"05:00\"}]\n"), 0o600))
	require.Equal(t, cli.ExitDone, s.run("schedule", "create", "weekly", "--run", "patch", "--patch", "agent", "--select", "site=a", "--strategy", file,
		"--at", "22:00", "--on", "sat"), s.err.String())
	action := f.schedules.kept[0].o.Action.(*client.ScheduleWorkflowAction)
	require.Equal(t, contract.WorkflowPatch, action.Workflow)
	require.Equal(t, contract.PatchRunID("weekly"), action.ID)
	in := action.Args[0].(contract.PatchInput)
	require.Equal(t, "kim", in.AskedBy, "who asks for it cannot approve it")
	require.Equal(t, contract.Actor{Kind: contract.ActorSchedule, Name: "weekly"}, in.Plan.Actor)
	require.Equal(t, []string{"agent", "site=a", ""}, []string{in.Plan.Patch, in.Plan.Select, in.Plan.Text})
	strategy := in.Plan.Strategy
	require.Equal(t, contract.RolloutApproval{Before: contract.ApproveStart, Within: 48 * time.Hour}, strategy.Approval)
	require.Equal(t, 3, strategy.Bounds.Total)
	require.Equal(t, time.Hour, strategy.DeviceDeadline)
	require.False(t, strategy.AllowDowngrade)
	require.Len(t, strategy.Windows, 1)
}

func TestSchedulesAreKept(t *testing.T) {
	f := withSchedule(nightly())
	s := newSession(t, f)
	require.Equal(t, cli.ExitDone, s.run("schedule", "pause", "nightly", "--note", "storm"), s.err.String())
	kept := f.schedules.kept[0]
	require.True(t, kept.o.Paused)
	require.Equal(t, "storm", kept.o.Note)
	require.Equal(t, cli.ExitDone, s.run("schedule", "resume", "nightly"))
	require.False(t, kept.o.Paused)
	require.Equal(t, "resumed by kim", kept.o.Note)
	require.Equal(t, cli.ExitDone, s.run("schedule", "trigger", "nightly"))
	require.Equal(t, 1, kept.triggered)
	require.Equal(t, cli.ExitDone, s.run("schedule", "delete", "nightly"))
	require.Empty(t, f.schedules.kept)
}

func TestTheNoteOfAScheduleKeepsWhoHasTriggeredIt(t *testing.T) {
	for _, paused := range []bool{false, true} {
		o := nightly()
		o.Paused = paused
		f := withSchedule(o)
		s := newSession(t, f)
		kept := f.schedules.kept[0]
		s.options.Clock = func() time.Time { return at(0) }
		require.Equal(t, cli.ExitDone, s.run("schedule", "trigger", "nightly", "--note", "after the storm"), s.err.String())
		require.Equal(t, "before the shift; triggered by kim at 2026-11-23 12:00:00Z: after the storm", kept.o.Note)
		require.Equal(t, 1, kept.triggered)
		require.Equal(t, paused, kept.o.Paused, "it is triggered, and stays as it is")

		s.options.User = "bob"
		s.options.Clock = func() time.Time { return at(60) }
		require.Equal(t, cli.ExitDone, s.run("schedule", "trigger", "nightly"))
		require.Equal(t, "before the shift; triggered by bob at 2026-11-23 12:01:00Z", kept.o.Note, "the note does not grow")

		kept.o.Note, kept.noteErr = "", errors.New("Temporal is away")
		require.Equal(t, cli.ExitFailed, s.run("schedule", "trigger", "nightly"))
		require.Equal(t, 2, kept.triggered, "nothing is triggered without a name")
		kept.noteErr = nil
		require.Equal(t, cli.ExitDone, s.run("schedule", "trigger", "nightly"))
		require.Equal(t, "triggered by bob at 2026-11-23 12:01:00Z", kept.o.Note)
	}
}

func TestAScheduleOfOthersIsLeftAlone(t *testing.T) {
	f := withSchedule(client.ScheduleOptions{ID: "billing", Action: &client.ScheduleWorkflowAction{Workflow: "invoice"}})
	s := newSession(t, f)
	require.Equal(t, cli.ExitUsage, s.run("schedule", "delete", "billing"))
	require.Contains(t, s.err.String(), "the schedule billing is none of edgefleet's")
	require.Equal(t, cli.ExitDone, s.run("schedule", "list"))
	require.Empty(t, s.out.String())
	require.Len(t, f.schedules.kept, 1)
}

func TestBadSchedulesAreRefused(t *testing.T) {
	create := []string{"schedule", "create", "s", "--run", "drift-scan"}
	for name, c := range map[string]struct {
		args []string
		say  string
	}{
		"a schedule that never runs":       {create, "want exactly one of --at, --cron and --every, got 0"},
		"two ways to say when":             {append(create, "--at", "02:00", "--every", "1h"), "got 2 of them"},
		"days without a time":              {append(create, "--every", "1h", "--on", "mon"), "--on goes with --at"},
		"a zone that there is not":         {append(create, "--at", "02:00", "--zone", "Mars/Base"), `--zone "Mars/Base": want an IANA zone`},
		"the zone of some machine":         {append(create, "--at", "02:00", "--zone", "Local"), `--zone "Local": want an IANA zone`},
		"a time that there is not":         {append(create, "--at", "25:00"), `--at "25:00": want HH:MM`},
		"a day that there is not":          {append(create, "--at", "02:00", "--on", "mon-fun"), `--on "mon-fun": want days`},
		"too often":                        {append(create, "--every", "1s"), "--every 1s: want at least 1m"},
		"six fields of cron":               {append(create, "--cron", "0 0 2 * * mon"), "want five fields"},
		"a zone inside cron":               {append(create, "--cron", "TZ=UTC 2 * * mon"), "want five fields"},
		"a date that is none":              {append(create, "--at", "02:00", "--skip", "24.12."), `--skip "24.12.": want a date`},
		"an unknown policy":                {append(create, "--at", "02:00", "--overlap", "all"), `--overlap "all": want one of skip, buffer-one`},
		"a catch-up that cannot be":        {append(create, "--at", "02:00", "--catch-up", "1s"), "--catch-up 1s: want 10s to 8760h"},
		"nothing to run":                   {[]string{"schedule", "create", "s", "--at", "02:00"}, `--run "": want drift-scan, patch or drill`},
		"a drill without a device":         {[]string{"schedule", "create", "s", "--run", "drill", "--at", "02:00"}, "--run drill needs --device"},
		"a drill of a site":                {[]string{"schedule", "create", "s", "--run", "drill", "--at", "02:00", "--site", "a"}, "--site, --region and --spread are of --run drift-scan"},
		"a scan of a device":               {append(create, "--at", "02:00", "--device", "edge-001"), "are of --run drill"},
		"a patch without its name":         {[]string{"schedule", "create", "s", "--run", "patch", "--at", "02:00"}, "--run patch needs --patch"},
		"a patch that nobody approves":     {[]string{"schedule", "create", "s", "--run", "patch", "--patch", "agent", "--at", "02:00", "--approve", "none"}, "somebody has to approve them"},
		"a patch of a site":                {[]string{"schedule", "create", "s", "--run", "patch", "--patch", "agent", "--at", "02:00", "--site", "a"}, "are of --run drift-scan"},
		"a patch by a bad selector":        {[]string{"schedule", "create", "s", "--run", "patch", "--patch", "agent", "--at", "02:00", "--select", "a"}, "--select"},
		"a patch by a strategy not there":  {[]string{"schedule", "create", "s", "--run", "patch", "--patch", "agent", "--at", "02:00", "--strategy", "none.yaml"}, "none.yaml"},
		"a scan that somebody is to allow": {append(create, "--at", "02:00", "--approve", "start"), "--patch, --select, --strategy and --approve are of --run patch"},
		"a name with a slash":              {[]string{"schedule", "create", "a/b", "--run", "drift-scan", "--at", "02:00"}, `schedule "a/b": want 1 to 63 letters`},
		"a schedule that there is":         {append([]string{"schedule", "create", "nightly", "--run", "drift-scan"}, "--at", "02:00"), "there is a schedule nightly; delete it first"},
		"one that there is not":            {[]string{"schedule", "pause", "weekly"}, "there is no schedule weekly; see edgefleet schedule list"},
		"a second argument":                {[]string{"schedule", "delete", "a", "b"}, "schedule delete"},
	} {
		t.Run(name, func(t *testing.T) {
			f := withSchedule(nightly())
			s := newSession(t, f)
			require.Equal(t, cli.ExitUsage, s.run(c.args...))
			require.Contains(t, s.err.String(), c.say)
			require.Len(t, f.schedules.kept, 1, "nothing was changed")
		})
	}
}
