package sshhost_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/sshhost"
)

var _ devices.Enroller = (*sshhost.Driver)(nil)

func TestWriteWithinIsNoLessThanTheCommandsAndTheirSecondRun(t *testing.T) {
	command := func(name string, timeout, health time.Duration) *devices.HostCommand {
		return &devices.HostCommand{Name: name, Args: []string{name}, Timeout: timeout, HealthWithin: health}
	}
	validate := &devices.HostCommand{Name: "validate", Args: []string{"validate", "%s"}, Timeout: 40 * time.Second}
	restart, health := command("restart", time.Minute, 0), command("health", time.Second, 2*time.Minute)
	file := func(path string) devices.Setting {
		return devices.Setting{Value: "a: 1\n", Point: devices.Point{Name: path, Type: devices.String,
			Host: &devices.HostAddress{Kind: devices.HostFile, Path: path, Validate: validate, Restart: restart, Health: health}}}
	}
	one := sshhost.WriteWithin([]devices.Setting{file("/etc/a")})
	// Validation; restart and health check; both again, to put back.
	least := 40*time.Second + 2*(time.Minute+2*time.Minute)
	require.GreaterOrEqual(t, one, least)
	require.Less(t, one, least+5*time.Minute)

	two := sshhost.WriteWithin([]devices.Setting{file("/etc/a"), file("/etc/b")})
	require.GreaterOrEqual(t, two, one+40*time.Second, "each file is validated")
	require.Less(t, two, one+3*time.Minute, "the restart is run once for both")

	run := devices.Setting{Value: devices.RunValue, Point: devices.Point{Name: "reboot", Type: devices.String,
		Host: &devices.HostAddress{Kind: devices.HostRun, Command: command("reboot", 3*time.Minute, 0)}}}
	plain := sshhost.WriteWithin([]devices.Setting{run})
	require.GreaterOrEqual(t, plain, 3*time.Minute)
	require.Less(t, plain, 5*time.Minute, "nothing is put back after a command")
	require.Equal(t, one+3*time.Minute, sshhost.WriteWithin([]devices.Setting{file("/etc/a"), run}))

	service := devices.Setting{Value: "masked inactive", Point: devices.Point{Name: "telnet", Type: devices.String,
		Host: &devices.HostAddress{Kind: devices.HostService, Key: "telnet.socket"}}}
	require.GreaterOrEqual(t, sshhost.WriteWithin([]devices.Setting{service}), 4*sshhost.DefaultCommandTimeout)

	mode := devices.Setting{Value: "0640 root:root", Point: devices.Point{Name: "mode", Type: devices.String,
		Host: &devices.HostAddress{Kind: devices.HostMode, Path: "/etc/a"}}}
	require.Greater(t, sshhost.WriteWithin([]devices.Setting{mode}), 30*time.Second)
}

func TestWriteWithinOfWhatIsNotWrittenIsNothing(t *testing.T) {
	require.Zero(t, sshhost.WriteWithin(nil))
	require.Zero(t, sshhost.WriteWithin([]devices.Setting{{Point: devices.Point{Name: "x", Type: devices.Int16}, Value: int64(1)}}))
}
