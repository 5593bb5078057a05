package app

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"edgefleet/dev/simfleet"
	"edgefleet/dev/stack"
	"edgefleet/devices/sim"
)

func (a *app) breakDevice(c *cli.Context) error {
	args := trailing(c)
	if len(args) != 2 {
		return usageError{fmt.Errorf("break: want DEVICE and one of offline, drift, hang, reset-only; got %d arguments", len(args))}
	}
	fault, err := sim.ParseFault(args[1])
	if err != nil {
		return usageError{err}
	}
	fleet, err := a.fleet(c)
	if err != nil {
		return err
	}
	d, err := fleet.Break(c.Context, args[0], fault, c.Bool("stuck"))
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s is broken: %s\n", d.ID, describe(d))
	return nil
}

func (a *app) healDevice(c *cli.Context) error {
	args := trailing(c)
	if len(args) != 1 {
		return usageError{fmt.Errorf("heal: want DEVICE, got %d arguments", len(args))}
	}
	fleet, err := a.fleet(c)
	if err != nil {
		return err
	}
	d, err := fleet.Heal(c.Context, args[0])
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s has no fault any more\n", d.ID)
	return nil
}

// trailing takes flags that were written after the arguments for what they
// are, because people write "break edge-003 offline --stuck".
func trailing(c *cli.Context) []string {
	var args []string
	for i := 0; i < c.NArg(); i++ {
		arg := c.Args().Get(i)
		name, value, inline := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case !strings.HasPrefix(arg, "-"):
			args = append(args, arg)
		case name == "stuck":
			_ = c.Set("stuck", "true")
		case name == "data-dir" && inline:
			_ = c.Set("data-dir", value)
		case name == "data-dir" && i+1 < c.NArg():
			i++
			_ = c.Set("data-dir", c.Args().Get(i))
		default:
			args = append(args, arg)
		}
	}
	return args
}

func (a *app) fleet(c *cli.Context) (*simfleet.Client, error) {
	dir, err := filepath.Abs(c.String("data-dir"))
	if err != nil {
		return nil, err
	}
	return simfleet.Find(context.WithoutCancel(c.Context), stack.FleetState(dir))
}

func describe(d simfleet.Device) string {
	switch {
	case len(d.Drifted) > 0:
		return "these settings were changed: " + strings.Join(d.Drifted, ", ")
	case d.Stuck:
		return string(d.Fault) + ", and a network reset does not help"
	}
	return string(d.Fault) + ", until a network reset reaches it"
}
