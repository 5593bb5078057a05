package sshhost

import (
	"context"
	"fmt"
	"strings"

	"edgefleet/devices"
)

// rest does what needs no putting back: services, each of whose states can be
// asked for again, and commands, which are run once.
func (w *write) rest(ctx context.Context) *fault {
	for _, s := range w.plan.services {
		was := w.before[s.index].value
		if was == s.Value {
			continue
		}
		steps, err := serviceSteps(s.Point.Host.Key, was, s.Value.(string))
		if err != nil {
			return w.progress(&fault{kind: devices.Rejected, err: fmt.Errorf("%s: %w", s.Point.Name, err)})
		}
		for _, args := range steps {
			if f := w.command(ctx, s, &devices.HostCommand{Name: strings.Join(args, " "), Args: args, Become: s.Point.Host.Become}); f != nil {
				return f
			}
		}
	}
	for _, s := range w.plan.runs {
		if f := w.command(ctx, s, s.Point.Host.Command); f != nil {
			return f
		}
	}
	return nil
}

// command runs one command. Once its session is open it may have been run.
func (w *write) command(ctx context.Context, s planned, cmd *devices.HostCommand) *fault {
	c, f := w.conn(ctx)
	if f != nil {
		return w.progress(f)
	}
	r, f := c.run(ctx, cmd, "")
	switch {
	case f != nil && f.lost:
		return &fault{kind: devices.Indeterminate, err: fmt.Errorf("%s: %q: %w", s.Point.Name, cmd.Name, f.err)}
	case f != nil:
		return w.progress(f)
	}
	w.did = true
	if !r.ok() {
		return &fault{kind: devices.Rejected, err: fmt.Errorf("%s: %q %s", s.Point.Name, cmd.Name, r.says())}
	}
	return nil
}

// progress is the fault of a step that was not made, after others were.
func (w *write) progress(f *fault) *fault {
	if !w.did || f.kind != "" && f.kind != devices.Unreachable && f.kind != devices.OwnPath && f.kind != devices.Auth {
		return f
	}
	return &fault{kind: devices.Indeterminate, err: fmt.Errorf("after others of the settings had been written: %w", f.err)}
}

// serviceSteps are the commands that lead a unit from one state to another.
func serviceSteps(unit, was, want string) ([][]string, error) {
	wasBoot, wasNow, _ := strings.Cut(was, " ")
	boot, now, _ := strings.Cut(want, " ")
	systemctl := func(verb string) []string {
		return []string{"systemctl", "--no-ask-password", verb, "--", unit}
	}
	var steps [][]string
	if now != "active" && now != "inactive" {
		return nil, fmt.Errorf("%q cannot be wanted; a unit can be active or inactive now", now)
	}
	// What is to be masked is stopped first: a masked unit takes no orders.
	if now == "inactive" && wasNow != now {
		steps = append(steps, systemctl("stop"))
	}
	if boot != wasBoot {
		if wasBoot == "masked" {
			steps = append(steps, systemctl("unmask"))
		}
		verb := map[string]string{"enabled": "enable", "disabled": "disable", "masked": "mask"}[boot]
		if verb == "" {
			return nil, fmt.Errorf("%q cannot be wanted; a unit can be enabled, disabled or masked at boot", boot)
		}
		steps = append(steps, systemctl(verb))
	}
	if now == "active" && wasNow != now {
		if boot == "masked" {
			return nil, fmt.Errorf("a masked unit cannot be active")
		}
		steps = append(steps, systemctl("start"))
	}
	return steps, nil
}
