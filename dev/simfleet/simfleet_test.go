package simfleet_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/dev/simfleet"
)

const (
	quick    = 20 * time.Millisecond
	patience = 20 * time.Second

	// The first argument that turns this test binary into a child.
	asFleet  = "run-as-fleet"  // STATE DEVICES: a simulated fleet
	asParent = "run-as-parent" // STATE DEVICES: spawns one, says so, and waits to be killed
	asBroken = "run-as-broken" // a program that fails at once
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case asFleet:
			exit(simfleet.Main(context.Background(), options(os.Args[2], atoi(os.Args[3]))))
		case asParent:
			exit(parent(os.Args[2], os.Args[3]))
		case asBroken:
			exit(fmt.Errorf("the sky is falling"))
		}
	}
	// Under the race detector a process sleeps for a second before it ends,
	// in which the goroutine that waits for it would look like a leak.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		exit(err)
	}
	goleak.VerifyTestMain(m)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		exit(err)
	}
	return n
}

func parent(stateFile, devices string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	c, err := simfleet.Spawn(context.Background(), exe, []string{asFleet, stateFile, devices}, stateFile)
	if err != nil {
		return err
	}
	fmt.Println(c.PID())
	select {}
}

func options(stateFile string, devices int) simfleet.Options {
	return simfleet.Options{
		Devices: devices, StateFile: stateFile, Boot: quick, Init: quick, Off: quick, SaveEvery: quick,
	}
}

func newStateFile(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), ".edgefleet", "simfleet.json")
}

// start runs a fleet in this process.
func start(t *testing.T, o simfleet.Options) (*simfleet.Fleet, *simfleet.Client) {
	t.Helper()
	f, err := simfleet.Start(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Stop()) })
	c, err := simfleet.Find(t.Context(), o.StateFile)
	require.NoError(t, err)
	return f, c
}

// ask calls a device over a connection of its own.
func ask(addr string, do func(modbus.Client) error) error {
	h := modbus.NewTCPClientHandler(addr)
	h.Timeout = 2 * time.Second
	h.SlaveId = 255
	defer func() { _ = h.Close() }()
	return do(modbus.NewClient(h))
}

func alive(addr string) bool {
	return ask(addr, func(c modbus.Client) error {
		_, err := c.ReadHoldingRegisters(0, 8)
		return err
	}) == nil
}

func write(t *testing.T, addr string, register, value uint16) {
	t.Helper()
	require.NoError(t, ask(addr, func(c modbus.Client) error {
		_, err := c.WriteSingleRegister(register, value)
		return err
	}))
}

func setting(t *testing.T, addr string, register uint16) uint16 {
	t.Helper()
	var value uint16
	require.NoError(t, ask(addr, func(c modbus.Client) error {
		b, err := c.ReadHoldingRegisters(register, 1)
		if err == nil {
			value = uint16(b[0])<<8 | uint16(b[1])
		}
		return err
	}))
	return value
}

func device(t *testing.T, c *simfleet.Client, id string) simfleet.Device {
	t.Helper()
	d, err := c.Device(t.Context(), id)
	require.NoError(t, err)
	return d
}
