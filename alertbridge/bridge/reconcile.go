package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	enumspb "go.temporal.io/api/enums/v1"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"edgefleet/internal/routes"
)

// missedAfter is how many intervals an alert has to stand without a remediation
// until it is taken for missed. A new alert waits for its group's group_wait or
// group_interval before Alertmanager tells of it, and whatever inhibits it may
// come in that time.
const missedAfter = 2

// reconciler compares the alerts that stand at Alertmanager with the
// remediations that there are, and starts what is missing: what max_alerts cut
// off, and what was to be told while the bridge or Temporal was away and
// Alertmanager was restarted in between.
//
// It keeps nothing that a restart could lose: whether a remediation of an
// episode exists is for Temporal to say. Its memory only spares questions.
type reconciler struct {
	sources []*alertmanager
	intake  *intake
	routes  func() routes.List
	metrics *metrics
	log     *zap.Logger
	every   time.Duration
	within  time.Duration
	now     func() time.Time
	tracer  trace.Tracer

	// wake asks for a round before the timer does.
	wake chan struct{}

	mu sync.Mutex
	// cut are groups of which a message left alerts out.
	cut []map[string]string
	// told are the workflow IDs that Temporal has acknowledged.
	told map[string]bool

	// waiting says since when an episode stands that is not told. It is used
	// by one round at a time.
	waiting map[string]time.Time
	// failing is why the last round failed, and logged what was logged of it.
	failing, logged string
}

// truncated asks for a round now: a message of the group left alerts out, which
// therefore have waited for as long as their group has to.
func (r *reconciler) truncated(group map[string]string) {
	r.mu.Lock()
	r.cut = append(r.cut, group)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// acknowledged notes that Temporal has a run of the workflow.
func (r *reconciler) acknowledged(workflowID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told[workflowID] = true
}

// run makes a round at every interval, and whenever it is woken, until ctx ends.
func (r *reconciler) run(ctx context.Context) {
	ticker := time.NewTicker(r.every)
	defer ticker.Stop()
	for {
		r.round(ctx)
		select {
		case <-ctx.Done():
			for _, s := range r.sources {
				s.idle()
			}
			return
		case <-r.wake:
		case <-ticker.C:
		}
	}
}

// round compares once, and says when the comparing begins or ends to fail.
func (r *reconciler) round(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.within)
	defer cancel()
	missing, err := r.compare(ctx)
	s := Summary{}
	if len(missing) > 0 {
		traced, span := r.tracer.Start(ctx, "compare with Alertmanager")
		r.intake.carryOut(traced, missing, &s)
		span.End()
		r.metrics.reconciled.Add(float64(s.Started))
		if s.Started > 0 {
			r.log.Warn("alerts that stand at Alertmanager had no remediation; it was started", zap.Int("alerts", s.Started))
		}
	}
	if s.Failed > 0 {
		err = errors.Join(err, errors.New(s.Error))
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	r.say(err)
}

// say counts the round. A reason is logged once, when it has lasted for two
// rounds: Alertmanager may have been restarted.
func (r *reconciler) say(err error) {
	if err == nil {
		r.metrics.rounds.WithLabelValues(resultSuccess).Inc()
		r.metrics.roundFailed.Set(0)
		if r.logged != "" {
			r.log.Info("Alertmanager's alerts are compared again")
		}
		r.failing, r.logged = "", ""
		return
	}
	r.metrics.rounds.WithLabelValues(resultFailed).Inc()
	r.metrics.roundFailed.Set(1)
	why := err.Error()
	if r.failing == why && r.logged != why {
		r.log.Error("Alertmanager's alerts could not be compared with the remediations; it is tried again", zap.Error(err))
		r.logged = why
	}
	r.failing = why
}

// compare returns the starts that are missing. It fails only when no
// Alertmanager answers, or one of them cannot be asked at all: of a pair, the
// one that answers knows what the other does.
func (r *reconciler) compare(ctx context.Context) ([]call, error) {
	r.mu.Lock()
	cut := r.cut
	r.cut = nil
	r.mu.Unlock()
	stand, err := r.ask(ctx)
	if err != nil {
		// What was cut off is not forgotten.
		r.mu.Lock()
		r.cut = append(cut, r.cut...)
		r.mu.Unlock()
		return nil, err
	}
	now, list := r.now(), r.routes()
	present := map[string]time.Time{}
	var missing []call
	for _, s := range stand {
		if s.held || (!s.alert.EndsAt.IsZero() && !s.alert.EndsAt.After(now)) {
			continue
		}
		// What is refused, or has no route, was counted when a message brought
		// it, or will be.
		c, verdict, _ := decide(s.alert, list, now)
		if verdict != verdictCall {
			continue
		}
		id := c.episode.WorkflowID()
		since, seen := r.waiting[id]
		if !seen {
			since = now
		}
		present[id] = since
		if r.isTold(id) || (now.Sub(since) < missedAfter*r.every && !within(cut, s.group)) {
			continue
		}
		missing = append(missing, r.once(c))
	}
	r.waiting = present
	r.forget(present)
	return missing, nil
}

// once makes of a start one that happens only when there never was a run of its
// episode. That one failed is known, and tried again when Alertmanager repeats
// the alert; not whenever it is compared.
func (r *reconciler) once(c call) call {
	c.options.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
	c.input.Reason += "; found standing at Alertmanager without a remediation"
	return c
}

func (r *reconciler) isTold(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told[id]
}

// forget drops what was told of episodes that stand no more.
func (r *reconciler) forget(present map[string]time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.told, func(id string, _ bool) bool { _, stands := present[id]; return !stands })
}

func within(groups []map[string]string, group map[string]string) bool {
	for _, g := range groups {
		if maps.Equal(g, group) {
			return true
		}
	}
	return false
}

// ask asks every Alertmanager, and gives each alert once: held when any of
// those that answered holds it.
func (r *reconciler) ask(ctx context.Context) ([]standing, error) {
	var (
		mu       sync.Mutex
		errs     []error
		answered int
		group    errgroup.Group
		all      = map[string]standing{}
	)
	for _, source := range r.sources {
		group.Go(func() error {
			stand, err := source.standing(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return nil
			}
			answered++
			for _, s := range stand {
				key := fmt.Sprint(s.alert.Fingerprint, " ", s.alert.StartsAt.Unix())
				if before, ok := all[key]; ok {
					s.held = s.held || before.held
				}
				all[key] = s
			}
			return nil
		})
	}
	_ = group.Wait()
	if answered == 0 {
		return nil, errors.Join(errs...)
	}
	for _, err := range errs {
		r.log.Debug("one Alertmanager of several does not answer", zap.Error(err))
	}
	out := make([]standing, 0, len(all))
	for _, s := range all {
		out = append(out, s)
	}
	return out, nil
}
