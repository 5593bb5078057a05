package cli_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/workflows/contract"
)

func somePatches() []contract.PatchStatus {
	return []contract.PatchStatus{
		{DeviceID: "gw-1", Site: "substation-7", Region: "us-east-1", Profile: "linux-gateway", Version: "edge-agent 3.3.0", SeenAt: timePtr(at(5)),
			State: contract.PatchCurrent, Patch: "edge-agent-3.3.0", PatchVersion: "3.3.0"},
		{DeviceID: "gw-2", Site: "substation-7", Region: "us-east-1", Profile: "linux-gateway", Version: "edge-agent 3.2.1\x1b[2J", SeenAt: timePtr(at(-3 * 86400)),
			State: contract.PatchOwed, Patch: "edge-agent-3.3.0", PatchVersion: "3.3.0", OwedSince: timePtr(at(-40 * 86400))},
		{DeviceID: "gw-3", Site: "substation-9", Region: "us-east-1", Profile: "linux-gateway", State: contract.PatchExcepted, Patch: "edge-agent-3.3.0",
			PatchVersion: "3.3.0", OwedSince: timePtr(at(-40 * 86400)), ExceptedBy: "J. Doe", ExceptedUntil: timePtr(at(60 * 86400)), Detail: "isolated"},
		{DeviceID: "rtu-1", Site: "substation-9", Region: "us-east-1", Profile: "feeder-rtu", Version: "2.0", SeenAt: timePtr(at(5)), State: contract.PatchNone},
	}
}

// pagesOfPatches answers with a device on each page.
func pagesOfPatches(in contract.InspectInput) (contract.InspectResult, error) {
	all := somePatches()
	for i, d := range all {
		if d.DeviceID > in.Patch.After {
			page := contract.PatchPage{Devices: all[i : i+1]}
			if i+1 < len(all) {
				page.Next = d.DeviceID
			}
			return contract.InspectResult{Patches: &page}, nil
		}
	}
	return contract.InspectResult{Patches: &contract.PatchPage{}}, nil
}

func TestThePatchReportIsATableAndJSON(t *testing.T) {
	none := func(contract.InspectInput) (contract.InspectResult, error) {
		return contract.InspectResult{Patches: &contract.PatchPage{}}, nil
	}
	for _, c := range []goldenCase{
		{"patch-report", "patch report", &fakeTemporal{answer: pagesOfPatches}},
		{"patch-report-json", "patch report -o json", &fakeTemporal{answer: pagesOfPatches}},
		{"patch-report-none", "patch report --owed", &fakeTemporal{answer: none}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSession(t, c.f)
			s.options.Clock = func() time.Time { return at(3600) }
			s.golden(c.name, strings.Fields(c.args)...)
		})
	}
}

func TestThePatchReportIsAskedForWhatIsWanted(t *testing.T) {
	f := &fakeTemporal{answer: pagesOfPatches}
	require.Zero(t, newSession(t, f).run(strings.Fields("patch report --owed --older-than 35d --site substation-7")...))
	require.Equal(t, contract.PatchQuery{Site: "substation-7", Owed: true, OlderThan: 35 * 24 * 3600 * 1e9}, *f.asked[0].Patch)
}

func TestWhatIsWrongWithAPatchCommandIsSaidBeforeAnybodyIsAsked(t *testing.T) {
	for args, says := range map[string]string{
		"patch plan":                        "want exactly one name of a patch",
		"patch plan agent --select class":   "--select",
		"patch plan agent --on-breach sing": "the strategy",
		"patch start":                       "make a plan with edgefleet patch plan",
		"patch report --older-than soon":    "--older-than",
		"patch report extra":                "extra",
	} {
		t.Run(args, func(t *testing.T) {
			f := &fakeTemporal{}
			s := newSession(t, f)
			require.Equal(t, 2, s.run(strings.Fields(args)...))
			require.Contains(t, s.err.String(), says)
			require.Empty(t, f.asked)
		})
	}
}
