package engine

import (
	"context"
	"errors"
	"fmt"
)

// Addr is the host:port for Temporal clients; empty before Start.
func (e *Engine) Addr() string { return e.addr }

// UIAddr is the host:port of the Web UI; empty before Start, and without one.
func (e *Engine) UIAddr() string { return e.uiAddr }

// Namespace is the namespace that exists once Start has returned.
func (e *Engine) Namespace() string { return e.opts.Namespace }

// Done is closed when the engine has ended: because Stop was called, or
// because the server failed, which Err then tells.
func (e *Engine) Done() <-chan struct{} { return e.done }

// Err is what made the server fail by itself, and nil otherwise.
func (e *Engine) Err() error {
	if err := e.fatal.get(); err != nil && !e.fatal.stopping.Load() {
		return fmt.Errorf("the Temporal server failed: %w", err)
	}
	return nil
}

// Stop ends what Start began, last in first out, within StopTimeout. It may be
// called at any time and more than once; later calls return what the first
// did. Workflows in flight go on at the next start on the same folder.
func (e *Engine) Stop() error {
	e.stopOnce.Do(func() {
		if e.fatal.get() == nil {
			e.fatal.stopping.Store(true)
		}
		ctx, cancel := context.WithTimeout(context.Background(), e.opts.StopTimeout)
		defer cancel()
		e.mu.Lock()
		e.started = true // a Start that comes late is refused
		e.stopped = true
		stops := e.stops
		e.stops = nil
		e.mu.Unlock()
		for i := len(stops) - 1; i >= 0; i-- {
			if err := stops[i].stop(ctx); err != nil {
				e.stopErr = errors.Join(e.stopErr, fmt.Errorf("stop %s: %w", stops[i].name, err))
			}
		}
		e.end()
	})
	return e.stopErr
}

// watch ends the engine's Done when the server fails while it runs.
func (e *Engine) watch() {
	select {
	case <-e.fatal.occurred:
		e.end()
	case <-e.done:
	}
}

func (e *Engine) end() { e.doneOnce.Do(func() { close(e.done) }) }
