package profile_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/profile"
)

// TestTheExamplesOfTheReferenceAreProfiles reads the profiles of the reference
// page for which no fleet directory is needed.
func TestTheExamplesOfTheReferenceAreProfiles(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n# [^\n]*: (profiles/\\S+)\n(.*?)```").FindAllSubmatch(page, -1)
	require.Len(t, blocks, 3, "one for each protocol beside plain Modbus")
	for _, b := range blocks {
		_, problems := profile.Parse(string(b[1]), b[2])
		require.NoError(t, problems.Err())
	}
}
