package alertmanager_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/dev/tools/toolchain"
	"edgefleet/integration/alertmanager"
	"edgefleet/workflows/contract"
)

func amtool(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), toolchain.ForTest(t, "amtool"), args...).CombinedOutput()
	require.NoError(t, err, "amtool %v:\n%s", args, out)
}

func TestAlertmanagerAcceptsTheConfiguration(t *testing.T) {
	amtool(t, "check-config", alertmanager.ConfigFile)
}

func TestAlertsGoToTheRightReceiver(t *testing.T) {
	for name, c := range map[string]struct {
		labels   []string
		receiver string
	}{
		"a dark device is edgefleet's": {
			[]string{"alertname=EdgeDeviceOffline", "severity=critical", "device_id=edge-001", "site=substation-7"}, "edgefleet"},
		"a drifted device is edgefleet's": {
			[]string{"alertname=EdgeConfigDrift", "severity=warning", "device_id=edge-001"}, "edgefleet"},
		"what edgefleet could not cure is for people, and never goes back to it": {
			[]string{"alertname=" + contract.AlertRemediationFailed, "device_id=edge-001", "severity=critical"}, "on-call"},
		"a dead worker is for people": {
			[]string{"alertname=EdgeWorkerDown", "worker=worker:9464"}, "on-call"},
		"a dark site is for people": {
			[]string{"alertname=EdgeSiteOffline", "site=substation-7", "region=us-east-1"}, "on-call"},
		"a spent budget is for people": {
			[]string{"alertname=SLOBudgetBurn", "severity=warning"}, "on-call"},
		"unauthorised drift is for people": {
			[]string{"alertname=EdgeDriftUnauthorised", "region=us-east-1"}, "on-call"},
		"an alert that nobody claims is for people": {
			[]string{"alertname=DiskFull", "instance=db-1"}, "on-call"},
		"a name that only begins like ours is for people": {
			[]string{"alertname=EdgeDeviceOfflineForDays"}, "on-call"},
	} {
		t.Run(name, func(t *testing.T) {
			amtool(t, append([]string{"config", "routes", "test", "--config.file=" + alertmanager.ConfigFile, "--verify.receivers=" + c.receiver}, c.labels...)...)
		})
	}
}
