// Package demo breaks two devices of a running stack, watches the real chain
// heal them, and checks what it claims: each step of the chain was seen, each
// effect happened once, and the ledger is intact.
package demo

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"edgefleet/dev/stack"
	"edgefleet/devices/sim"
)

// The devices that the demo breaks, and the alerts that have to fire for them.
const (
	offlineDevice = "edge-003"
	driftDevice   = "edge-007"
	offlineAlert  = "EdgeDeviceOffline"
	driftAlert    = "EdgeConfigDrift"
)

// poll is the time between two looks at something that has no way to tell.
const poll = 100 * time.Millisecond

// Run runs the demo on a stack that has just started. Its error says which
// link of the chain failed.
func Run(ctx context.Context, s *stack.Stack, out io.Writer) error {
	d := &run{stack: s, out: out, began: time.Now()}
	d.say("", "%d simulated devices on loopback; Temporal Web UI at %s", s.Fleet().Size(), s.UIURL())
	if err := d.watched(ctx); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.heals(groupCtx, offlineDevice, sim.FaultOffline, offlineAlert) })
	group.Go(func() error { return d.heals(groupCtx, driftDevice, sim.FaultDrift, driftAlert) })
	if err := group.Wait(); err != nil {
		return err
	}
	if err := d.wroteOnce(ctx); err != nil {
		return err
	}
	return d.verifyLedger(ctx)
}

type run struct {
	stack *stack.Stack
	began time.Time

	mu  sync.Mutex
	out io.Writer
}

// say prints a line of the timeline.
func (d *run) say(device, format string, args ...any) { d.sayAt(time.Now(), device, format, args...) }

func (d *run) sayAt(at time.Time, device, format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if device == "" {
		device = "-"
	}
	fmt.Fprintf(d.out, "%6.1fs  %-9s %s\n", at.Sub(d.began).Seconds(), device, fmt.Sprintf(format, args...))
}

// watched waits until Prometheus has seen every device up.
func (d *run) watched(ctx context.Context) error {
	running, err := d.stack.Fleet().Devices(ctx)
	if err != nil {
		return err
	}
	err = until(ctx, "Prometheus sees every device up", func() (bool, error) {
		up, err := d.countUp(ctx)
		return up == len(running), err
	})
	if err == nil {
		d.say("", "Prometheus sees all %d devices up", len(running))
	}
	return err
}

// heals breaks a device and follows it through the chain.
func (d *run) heals(ctx context.Context, device string, fault sim.Fault, alert string) error {
	broken, err := d.stack.Fleet().Break(ctx, device, fault, false)
	if err != nil {
		return err
	}
	if fault == sim.FaultDrift {
		d.say(device, "broken: %d settings were changed behind edgefleet's back", len(broken.Drifted))
	} else {
		d.say(device, "broken: its socket is closed")
	}
	if err := until(ctx, alert+" fires in Prometheus", func() (bool, error) { return d.fires(ctx, device, alert) }); err != nil {
		return err
	}
	d.say(device, "alert %s fired in Prometheus", alert)
	var workflow string
	err = until(ctx, "Alertmanager knows "+alert, func() (bool, error) {
		var err error
		workflow, err = d.expectedWorkflow(ctx, device, alert)
		return workflow != "", err
	})
	if err != nil {
		return err
	}
	if err := d.follow(ctx, device, workflow); err != nil {
		return err
	}
	if err := until(ctx, alert+" resolves in Alertmanager", func() (bool, error) {
		still, err := d.expectedWorkflow(ctx, device, alert)
		return still == "", err
	}); err != nil {
		return err
	}
	d.say(device, "alert %s resolved", alert)
	return nil
}

// until polls until something is so. That a look fails is remembered, and is
// the reason when time runs out.
func until(ctx context.Context, what string, look func() (bool, error)) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	var last error
	for {
		ok, err := look()
		if ok && err == nil {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			if last != nil {
				return fmt.Errorf("waited in vain until %s: %w", what, last)
			}
			return fmt.Errorf("waited in vain until %s", what)
		case <-ticker.C:
		}
	}
}
