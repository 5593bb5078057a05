package engine

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/server/common/log/tag"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestAPortTakenInTheLastMomentIsAnErrorAndNotTheEndOfTheProcess(t *testing.T) {
	e, err := New(Options{DataDir: t.TempDir(), FrontendAddr: "127.0.0.1:0", NoUI: true})
	require.NoError(t, err)
	require.NoError(t, prepareDatabase(context.Background(), e.database, zap.NewNop()))
	r, err := reservePorts(e.opts.FrontendAddr)
	require.NoError(t, err)
	r.release()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	r.ports.history = taken.Addr().(*net.TCPAddr).Port

	err = e.startServerOn(context.Background(), r.ports)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.NoError(t, e.Stop())
}

func TestAFatalErrorWhileRunningEndsTheEngineWithAReason(t *testing.T) {
	e, err := New(Options{DataDir: t.TempDir()})
	require.NoError(t, err)
	go e.watch()
	core, logged := observer.New(zap.DebugLevel)
	logger := (&serverLogger{zap: zap.New(core), fatal: e.fatal}).With(tag.NewStringTag("service", "history"))

	cause := errors.New("listener closed")
	go logger.Fatal("Failed to serve", tag.Error(cause))
	<-e.Done()
	require.ErrorIs(t, e.Err(), cause)
	require.EqualError(t, e.Err(), "the Temporal server failed: Failed to serve: listener closed")
	require.Equal(t, "history", logged.All()[0].ContextMap()["service"])
	require.NoError(t, e.Stop())
	require.Error(t, e.Err(), "stopping afterwards doesn't hide the reason")
}

func TestWhatServicesSayWhileTheyStopIsNotLogged(t *testing.T) {
	core, logged := observer.New(zap.DebugLevel)
	f := newFatal()
	logger := &serverLogger{zap: zap.New(core), fatal: f}
	logger.Info("not worth a line")
	logger.Warn("worth a line")
	f.stopping.Store(true)
	logger.Error("connection refused")
	require.Equal(t, 1, logged.Len())
}

func TestADatabaseWhoseSetUpWasCutOffIsMadeAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "with ? and # and %41", databaseFile)
	e, err := New(Options{DataDir: filepath.Dir(path)})
	require.NoError(t, err)
	require.NoError(t, e.takeFolder())
	db, err := openDatabase(path, "rwc")
	require.NoError(t, err)
	require.NoError(t, db.Ping())
	require.NoError(t, db.Close())
	require.FileExists(t, path)

	for range 2 { // once to make it, once to find it whole
		require.NoError(t, prepareDatabase(context.Background(), path, zap.NewNop()))
	}
	require.NoError(t, createNamespace(path, e.opts))
	require.NoError(t, createNamespace(path, e.opts), "a namespace is made once")
	require.NoError(t, e.Stop())
}

func TestAStopInTheMiddleOfAStartLeavesNothingBehind(t *testing.T) {
	e, err := New(Options{DataDir: t.TempDir(), NoUI: true})
	require.NoError(t, err)
	require.NoError(t, e.Stop())
	require.NoError(t, e.takeFolder(), "a step of a start that was already under way")
	second, err := New(Options{DataDir: e.opts.DataDir, NoUI: true})
	require.NoError(t, err)
	require.NoError(t, second.takeFolder(), "its lock was given back")
	require.NoError(t, second.Stop())
	require.Error(t, e.Start(context.Background()), "an engine that was stopped is not started")
}
