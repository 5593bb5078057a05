package inventory_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const testKey = "RWRYA0EvkHuu6S4Nsniw5dX0B4IoxgxDTrz1GFLaKrsRStNNh3cb14Hm"

func TestDevicesOfARedundancyGroupArePartners(t *testing.T) {
	inv, err := parse(t, "testdata/good.yaml",
		"    plaintext_exception: own VLAN\n", "    plaintext_exception: own VLAN\n    redundancy: pair-7\n")
	require.NoError(t, err)
	first, _ := inv.Device("edge-1")
	partners := inv.Partners(first)
	require.Len(t, partners, 1)
	require.Equal(t, "switch-1", partners[0].ID)
	require.Equal(t, "edge-1", inv.Partners(partners[0])[0].ID)
}

func TestDevicesWithoutAGroupHaveNoPartners(t *testing.T) {
	inv, err := parse(t, "testdata/good.yaml")
	require.NoError(t, err)
	first, _ := inv.Device("edge-1")
	require.Empty(t, inv.Partners(first))
}

func TestThePatchKeysOfAFleetAreKept(t *testing.T) {
	inv, err := parse(t, "testdata/good.yaml",
		"    enable_encryption: true\n", "    enable_encryption: true\n    patch_keys: [\""+testKey+"\"]\n")
	require.NoError(t, err)
	require.Equal(t, []string{testKey}, inv.Security.PatchKeys)
}
