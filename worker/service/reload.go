package service

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"edgefleet/devices/fleetdir"
)

// watcher keeps what is served equal to the fleet directory, without a
// restart and all or nothing: a directory with a mistake changes nothing. It
// is used by one goroutine; only now is shared.
type watcher struct {
	dir string
	now *atomic.Pointer[served]
	// serve makes what is served of a loaded fleet.
	serve func(*fleetdir.Fleet) (*served, error)
	// taken is told of every revision that is served from then on; it may be
	// nil.
	taken func(*served)
	// follow makes the queues those of the regions.
	follow  func(regions []string) (taken, left []string, err error)
	metrics *fleetMetrics
	logger  *zap.Logger

	// settled is the look of the directory of which all is said and done, and
	// last is the look before this one.
	settled, last string
	// loading and queueing are what keeps the directory from being loaded, and
	// regions from being served, as they were logged.
	loading, queueing string
}

// run looks at every interval until ctx ends.
func (w *watcher) run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.round()
		}
	}
}

// round looks once.
func (w *watcher) round() {
	w.look()
	w.serveRegions()
	w.metrics.say(w.loading != "" || w.queueing != "")
}

// look loads the directory when it differs from what was settled, and has not
// changed since the look before: an editor or a checkout may be half-way
// through its files.
func (w *watcher) look() {
	look := fleetdir.Look(w.dir)
	still := look == w.last
	w.last = look
	if look == w.settled {
		w.takeCommit()
		return
	}
	if !still {
		return
	}
	declared, err := fleetdir.Load(w.dir)
	if fleetdir.Look(w.dir) != look {
		// It changed while it was read: the next two looks decide.
		return
	}
	var next *served
	if err == nil {
		next, err = w.serve(declared)
	}
	if err != nil {
		w.refuse(err)
		// What the machine refuses to read can become readable without any
		// change of the files, so it is tried again.
		var machine *fs.PathError
		if w.settled = look; errors.As(err, &machine) {
			w.settled = ""
		}
		return
	}
	w.settled = look
	w.take(next)
}

// refuse keeps what is served, and says why once.
func (w *watcher) refuse(err error) {
	w.metrics.reloads.WithLabelValues(resultFailed).Inc()
	if w.loading == err.Error() {
		return
	}
	w.loading = err.Error()
	w.logger.Error("the fleet directory is not taken up; the revision before it stays",
		zap.String("directory", w.dir), zap.Strings("mistakes", strings.Split(w.loading, "\n")),
		zap.String("revision", w.now.Load().declared().Revision()))
}

// take serves another revision from here on. Work that runs ends with the
// revision with which it began.
func (w *watcher) take(next *served) {
	before := w.now.Load()
	w.now.Store(next.after(before))
	mended := w.loading != ""
	w.loading = ""
	if before.declared().Revision() == next.declared().Revision() {
		if mended {
			w.logger.Info("the fleet directory is again what is served", next.fields()...)
		}
		return
	}
	w.metrics.reloads.WithLabelValues(resultOK).Inc()
	w.logger.Info("fleet directory reloaded", append(next.fields(), zap.String("before", before.declared().Revision()))...)
	if w.taken != nil {
		w.taken(next)
	}
}

// takeCommit follows a commit that changed nothing in the directory.
func (w *watcher) takeCommit() {
	now := w.now.Load()
	if commit := fleetdir.Commit(w.dir); w.loading == "" && commit != now.commit {
		next := *now
		next.commit = commit
		w.now.Store(&next)
	}
}

// serveRegions takes up the queues of regions that were added, and leaves
// those of regions that are gone.
func (w *watcher) serveRegions() {
	taken, left, err := w.follow(w.now.Load().regions)
	if len(taken)+len(left) > 0 {
		w.logger.Info("regions changed", zap.Strings("taken", taken), zap.Strings("left", left))
	}
	switch {
	case err == nil:
		w.queueing = ""
	case w.queueing != err.Error():
		w.queueing = err.Error()
		w.logger.Error("a region is not served yet; it is tried again", zap.Error(err))
	}
}

// fields are a revision in the log.
func (s *served) fields() []zap.Field {
	return []zap.Field{
		zap.String("revision", s.declared().Revision()), zap.String("commit", s.commit),
		zap.Int("devices", len(s.declared().Inventory.Devices)), zap.Strings("regions", slices.Clone(s.regions)),
	}
}

// startWatching follows the fleet directory until the worker stops.
func (w *Worker) startWatching() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.watcher.run(ctx, w.opts.FleetInterval)
	}()
	w.undo = append(w.undo, func(stop context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-stop.Done():
			// A region is being taken up, which waits for Temporal; it is
			// stopped when that ends.
			return stop.Err()
		}
	})
}
