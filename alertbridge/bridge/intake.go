package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	sdkclient "go.temporal.io/sdk/client"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"edgefleet/internal/routes"
	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

// Summary is what became of a message, and the body of its answer.
type Summary struct {
	Started    int `json:"started"`
	Duplicates int `json:"duplicates"`
	Signalled  int `json:"signalled"`
	Ignored    int `json:"ignored"`
	Refused    int `json:"refused"`
	// Failed counts alerts that Temporal did not acknowledge; above 0 the
	// message is answered 503.
	Failed    int    `json:"failed"`
	Truncated uint64 `json:"truncated,omitempty"`
	Error     string `json:"error,omitempty"`
}

// errNotAttempted is the error of a call that was not made because Temporal
// had just proved to be away, or the message's time was over.
var errNotAttempted = errors.New("not attempted: Temporal did not answer for another alert of this message")

// intake takes in messages: it decides about every alert and carries out the
// decisions against Temporal, so many at a time.
type intake struct {
	temporal   Temporal
	log        *zap.Logger
	metrics    *metrics
	perMessage int
	slots      chan struct{} // shared by all messages
	callTime   time.Duration
	now        func() time.Time
	// reconciler hears of what was cut off and of what Temporal acknowledged;
	// nil without an Alertmanager to compare with.
	reconciler *reconciler
}

// call is one call to Temporal that an alert asks for.
type call struct {
	episode contract.Episode
	// resolvedAt is when the alert ended, and zero for a start.
	resolvedAt time.Time
	options    sdkclient.StartWorkflowOptions
	input      contract.RemediateInput
}

// take works on a message until every alert in it is dealt with or ctx ends.
func (in *intake) take(ctx context.Context, m Message, list routes.List) Summary {
	s := Summary{Truncated: m.TruncatedAlerts}
	if m.TruncatedAlerts > 0 {
		in.truncated(m)
	}
	calls := make([]call, 0, len(m.Alerts))
	refused := map[reason]int{}
	for _, a := range m.Alerts {
		c, verdict, why := decide(a, list, in.now())
		in.countAlert(a)
		switch verdict {
		case verdictOwn:
			s.Ignored++
			in.metrics.ignored.WithLabelValues(ignoredOwnAlert).Inc()
		case verdictNoRoute:
			s.Ignored++
			in.metrics.ignored.WithLabelValues(ignoredNoRoute).Inc()
		case verdictRefuse:
			s.Refused++
			in.metrics.refused.WithLabelValues(string(why.reason)).Inc()
			in.logRefusal(a, why, refused[why.reason] == 0, m.Receiver)
			refused[why.reason]++
		case verdictCall:
			calls = append(calls, c)
		}
	}
	in.carryOut(ctx, calls, &s)
	return s
}

// truncated tells that alerts are missing to a message, and has them looked
// for.
func (in *intake) truncated(m Message) {
	in.metrics.truncated.Add(float64(m.TruncatedAlerts))
	fields := []zap.Field{zap.Uint64("alerts", m.TruncatedAlerts), zap.String("receiver", m.Receiver)}
	if in.reconciler == nil {
		in.log.Warn("Alertmanager left alerts out of a message, and they are not remediated: set max_alerts of its receiver to 0, or name the Alertmanager with --"+flagAlertmanager, fields...)
		return
	}
	in.log.Info("Alertmanager left alerts out of a message; they are read from it", fields...)
	in.reconciler.truncated(m.GroupLabels)
}

func (in *intake) countAlert(a Alert) {
	status := a.Status
	if readable(a) != nil {
		status = "other"
	}
	in.metrics.alerts.WithLabelValues(status).Inc()
}

// logRefusal warns of the first alert of a message for each reason. A rule
// without the device's label makes a thousand of them, at every repeat.
func (in *intake) logRefusal(a Alert, why *refusal, first bool, receiver string) {
	level := zap.DebugLevel
	if first {
		level = zap.WarnLevel
	}
	in.log.Log(level, "alert refused", zap.String("reason", string(why.reason)), zap.String("detail", why.detail),
		zap.String("alert", cut(a.Labels[labelAlertName], maxAlertName)), zap.String("fingerprint", cut(a.Fingerprint, 64)), zap.String("receiver", receiver))
}

type verdict int

const (
	verdictNoRoute verdict = iota
	// verdictOwn is of an alert that edgefleet itself raises.
	verdictOwn
	verdictRefuse
	verdictCall
)

// decide says what one alert asks for. It talks to nobody.
func decide(a Alert, list routes.List, now time.Time) (call, verdict, *refusal) {
	if why := readable(a); why != nil {
		return call{}, verdictRefuse, why
	}
	// What edgefleet itself raises asks for a person. A broad route must not
	// turn one failed remediation into an endless row of them.
	if a.Labels[labelAlertName] == contract.AlertRemediationFailed {
		return call{}, verdictOwn, nil
	}
	route, ok := list.Match(a.Labels)
	if !ok {
		return call{}, verdictNoRoute, nil
	}
	episode, why := episodeOf(a, route.DeviceLabel)
	if why != nil {
		return call{}, verdictRefuse, why
	}
	c := call{episode: episode}
	if a.Status == statusResolved {
		if c.resolvedAt = a.EndsAt; c.resolvedAt.IsZero() {
			c.resolvedAt = now
		}
		return c, verdictCall, nil
	}
	if c.options, c.input, why = startOf(a, episode, route); why != nil {
		return call{}, verdictRefuse, why
	}
	return c, verdictCall, nil
}

// carryOut makes the calls, and adds what came of them to s. Once Temporal
// proves to be away it begins no more: the message will be sent again.
//
// The order is drawn anew each time. A message that is too large for the time
// it has would otherwise spend every resend on the alerts that it began with.
func (in *intake) carryOut(ctx context.Context, calls []call, s *Summary) {
	rand.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
	var (
		mu   sync.Mutex
		away atomic.Bool
		// The zero Group's goroutines never return an error: what fails is
		// counted, and does not cancel the others.
		group errgroup.Group
	)
	group.SetLimit(in.perMessage)
	for _, c := range calls {
		group.Go(func() error {
			err := errNotAttempted
			var run string
			var happened bool
			if !away.Load() {
				run, happened, err = in.carryOutOne(ctx, c)
			}
			if err != nil && (errors.Is(err, errNotAttempted) || temporalx.Away(err)) {
				away.Store(true)
			}
			mu.Lock()
			defer mu.Unlock()
			in.count(c, run, happened, err, s)
			return nil
		})
	}
	_ = group.Wait()
}

// carryOutOne makes one call. Happened says that it changed something: a run
// was started, or one was there to be signalled.
func (in *intake) carryOutOne(ctx context.Context, c call) (run string, happened bool, err error) {
	select {
	case in.slots <- struct{}{}:
		defer func() { <-in.slots }()
	case <-ctx.Done():
		return "", false, errNotAttempted
	}
	// Both cases may have been ready.
	if ctx.Err() != nil {
		return "", false, errNotAttempted
	}
	ctx, cancel := context.WithTimeout(ctx, in.callTime)
	defer cancel()
	if !c.resolvedAt.IsZero() {
		happened, err = in.temporal.SignalWorkflow(ctx, c.episode.WorkflowID(), contract.SignalAlertResolved, c.resolvedAt)
		return "", happened, err
	}
	begin := in.now()
	run, happened, err = in.temporal.StartWorkflow(ctx, c.options, contract.WorkflowRemediate, c.input)
	in.metrics.startTime.Observe(in.now().Sub(begin).Seconds())
	return run, happened, err
}

// count adds one outcome to the summary, the metrics and the log.
func (in *intake) count(c call, run string, happened bool, err error, s *Summary) {
	log := in.log.With(zap.String("device", c.episode.DeviceID), zap.String("alert", c.episode.AlertName),
		zap.String("workflow", c.episode.WorkflowID()))
	if run != "" {
		log = log.With(zap.String("run", run))
	}
	signal := !c.resolvedAt.IsZero()
	if err != nil {
		s.Failed++
		// The first cause tells more than what was given up because of it.
		if s.Error == "" || s.Error == errNotAttempted.Error() {
			s.Error = err.Error()
		}
		log.Debug("not acknowledged", zap.Bool("signal", signal), zap.Error(err))
		if signal {
			in.metrics.signals.WithLabelValues(resultFailed).Inc()
		} else {
			in.metrics.startFailures.WithLabelValues(failureOf(err)).Inc()
		}
		return
	}
	if !signal && in.reconciler != nil {
		in.reconciler.acknowledged(c.episode.WorkflowID())
	}
	switch {
	case signal && happened:
		s.Signalled++
		in.metrics.signals.WithLabelValues(resultSent).Inc()
		log.Info("alert resolved, remediation told")
	case signal:
		in.metrics.signals.WithLabelValues(resultNoWorkflow).Inc()
		log.Debug("alert resolved, no remediation is running")
	case happened:
		s.Started++
		in.metrics.starts.Inc()
		log.Info("remediation started",
			zap.String("runbook", c.input.Runbook.Path), zap.String("function", c.input.Runbook.Function))
	default:
		s.Duplicates++
		in.metrics.duplicates.Inc()
		log.Debug("remediation is there already")
	}
}

func failureOf(err error) string {
	switch {
	case errors.Is(err, errNotAttempted):
		return failureNotAttempted
	case temporalx.Away(err):
		return failureAway
	}
	return failureRefused
}
