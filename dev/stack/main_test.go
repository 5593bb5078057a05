package stack_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"

	"edgefleet/dev/app"
	"edgefleet/dev/monitor"
)

const (
	// playDev tells this program to be the dev program instead of its test.
	playDev = "EDGEFLEET_TEST_PLAY_DEV"
	// lifelineEnv is an address at which the test process listens as long as
	// it lives, however it ends.
	lifelineEnv = "EDGEFLEET_TEST_LIFELINE"
)

// TestMain lets the test program play five parts: the supervisor of
// Alertmanager, the dev program that is killed, an engine with a worker that
// is, the simulated fleet that outlives both, and the tests.
func TestMain(m *testing.M) {
	monitor.Supervise()
	if dir := os.Getenv(playPlant); dir != "" {
		endWithTheTest()
		os.Exit(beThePlant(dir))
	}
	if os.Getenv(playDev) != "" || (len(os.Args) > 1 && os.Args[1] == "simulate") {
		endWithTheTest()
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := app.Main(ctx, os.Args, os.Stdout, os.Stderr)
		stop()
		os.Exit(code)
	}
	close, err := offerLifeline()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	close()
	os.Exit(code)
}

// offerLifeline listens for the processes that this one starts. A test that
// panics or runs out of time runs no cleanup; its processes end all the same.
func offerLifeline() (end func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var held []net.Conn
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			held = append(held, conn)
			mu.Unlock()
		}
	}()
	return func() {
		_ = listener.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range held {
			_ = conn.Close()
		}
	}, os.Setenv(lifelineEnv, listener.Addr().String())
}

func endWithTheTest() {
	conn, err := net.Dial("tcp", os.Getenv(lifelineEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, "the test is gone:", err)
		os.Exit(3)
	}
	go func() {
		_, _ = io.Copy(io.Discard, conn)
		os.Exit(3)
	}()
}
