package cli

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/client"

	"edgefleet/internal/temporalx"
)

// lookWithin bounds one look at a run that is followed.
const lookWithin = 5 * time.Second

// follow waits for the end of a run and puts its result into result. It looks
// at every poll, and once more, with last, when the run has ended. While
// Temporal is away it waits: the run goes on without it, or after it. A run
// that continues as new is followed to its end. When ctx ends first, the error
// is the context's, and result is not to be read.
func (a *App) follow(ctx context.Context, run client.WorkflowRun, result any, look func(ctx context.Context, last bool)) error {
	endings := make(chan error, 1)
	get := func() { endings <- run.Get(ctx, result) }
	go get()
	ticker := time.NewTicker(a.opts.Poll)
	defer ticker.Stop()
	within := func(last bool) {
		ctx, cancel := context.WithTimeout(ctx, lookWithin)
		defer cancel()
		look(ctx, last)
	}
	away := false
	for {
		select {
		case err := <-endings:
			if err != nil && ctx.Err() == nil && temporalx.Away(err) {
				if !away {
					fmt.Fprintln(a.opts.Err, "Temporal is away; still following…")
				}
				away = true
				if err := pause(ctx, a.opts.Poll); err == nil {
					go get()
					continue
				}
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			within(true)
			return err
		case <-ticker.C:
			within(false)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// waiting says once what is waited for when nothing came of a run for long.
type waiting struct {
	app   *App
	began time.Time
	told  bool
}

func (w *waiting) still(word func() string) {
	if w.told || time.Since(w.began) < w.app.opts.Patience {
		return
	}
	w.told = true
	fmt.Fprintln(w.app.opts.Err, word())
}
