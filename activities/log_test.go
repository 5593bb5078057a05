package activities

import (
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/workflows/contract"
)

func TestTheDeviceOfAnInputIsFoundForTheLog(t *testing.T) {
	require.Equal(t, "edge-001", deviceOf(contract.ActionInput{Scope: contract.Scope{DeviceID: "edge-001"}}))
	require.Empty(t, deviceOf(contract.ScanDriftInput{Region: "north"}), "it is about many")
	require.Empty(t, deviceOf(nil))
	require.Empty(t, deviceOf("edge-001"))
}

func TestWhatChangesADeviceIsToldWithoutBeingAsked(t *testing.T) {
	require.True(t, changesADevice(contract.ActionTriggerNetworkReset))
	require.True(t, changesADevice(contract.ActionApplyBaselineConfig))
	require.False(t, changesADevice(contract.ActionCheckNetwork))
	require.False(t, changesADevice(contract.ActionDetectConfigDrift))
}
