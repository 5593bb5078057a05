package filelock

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOneHolderAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Take(path)
	require.NoError(t, err)

	_, err = Take(path)
	var held *HeldError
	require.ErrorAs(t, err, &held)
	require.Equal(t, os.Getpid(), held.PID)

	require.NoError(t, first.Release())
	require.NoError(t, first.Release(), "releasing twice is harmless")
	second, err := Take(path)
	require.NoError(t, err)
	require.NoError(t, second.Release())
}

func TestAnUnreadableHolderIsStillReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Take(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, first.Release()) }()
	require.NoError(t, os.WriteFile(path, []byte("not a number"), 0o600))

	_, err = Take(path)
	require.EqualError(t, err, path+" is locked by another process")
}
