package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// PathAlertmanager is where Alertmanager posts its messages.
const PathAlertmanager = "/api/v1/alertmanager"

// retryAfter, in seconds, stands beside every 503. Alertmanager follows its
// own back-off; other senders may heed it.
const retryAfter = "5"

// readyFor is how long an answer about Temporal stands, so that probes, which
// anybody may send, cannot become a load on it.
const readyFor = time.Second

// readyTimeout bounds the question whether Temporal can be worked with.
const readyTimeout = 2 * time.Second

func (b *Bridge) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+PathAlertmanager, b.opts.Tracing.Handler("POST "+PathAlertmanager, http.HandlerFunc(b.serveMessage)))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answerText(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", b.serveReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(b.opts.Registry, promhttp.HandlerOpts{}))
	return mux
}

// failure is an answer other than 200.
type failure struct {
	code int
	err  error
}

func (b *Bridge) serveMessage(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	b.busy.RLock()
	defer b.busy.RUnlock()

	code := http.StatusOK
	summary, fail := b.message(w, r)
	if fail != nil {
		code, summary.Error = fail.code, fail.err.Error()
	}
	b.metrics.messages.WithLabelValues(strconv.Itoa(code)).Inc()
	b.metrics.messageTime.Observe(time.Since(begin).Seconds())
	if code == http.StatusOK {
		b.metrics.lastSuccess.SetToCurrentTime()
	}
	b.logMessage(r, code, summary, time.Since(begin))

	switch code {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="edgefleet"`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(summary)
}

// message does everything between a request and its answer.
func (b *Bridge) message(w http.ResponseWriter, r *http.Request) (Summary, *failure) {
	if fail := b.authorise(r); fail != nil {
		return Summary{}, fail
	}
	select {
	case b.messages <- struct{}{}:
		defer func() { <-b.messages }()
	default:
		return Summary{}, &failure{http.StatusServiceUnavailable, errors.New("too many messages at once; send it again")}
	}
	b.metrics.inFlight.Inc()
	defer b.metrics.inFlight.Dec()

	data, fail := b.body(w, r)
	if fail != nil {
		return Summary{}, fail
	}
	m, err := Decode(data)
	if err != nil {
		return Summary{}, &failure{http.StatusBadRequest, err}
	}
	// The work is bound to the life of the bridge and not to the request: a
	// sender that hangs up sends again, and then finds done what was done.
	ctx, cancel := context.WithTimeout(trace.ContextWithSpan(b.life, trace.SpanFromContext(r.Context())), b.opts.MessageTimeout)
	defer cancel()
	summary := b.intake.take(ctx, m, *b.routes.Load())
	if summary.Failed > 0 {
		return summary, &failure{http.StatusServiceUnavailable, errors.New(summary.Error)}
	}
	return summary, nil
}

func (b *Bridge) authorise(r *http.Request) *failure {
	if b.opts.BearerTokenFile == "" {
		return nil
	}
	switch ok, err := tokenFile(b.opts.BearerTokenFile).allow(r); {
	case ok:
		return nil
	case err == nil:
		return &failure{http.StatusUnauthorized, errors.New("the bearer token is not one that is accepted here")}
	case errors.Is(err, errNoToken):
		return &failure{http.StatusUnauthorized, err}
	default:
		// The sender may well be in the right, so it has to try again. What
		// is wrong with the file is for the operator and not for it.
		b.opts.Logger.Error("the bearer token file cannot be used, messages wait", zap.Error(err))
		return &failure{http.StatusServiceUnavailable, errors.New("the bridge cannot read its bearer token file")}
	}
}

// body reads the whole of a request's body, within bounds.
func (b *Bridge) body(w http.ResponseWriter, r *http.Request) ([]byte, *failure) {
	// A web page can make a browser post text across sites, but not JSON.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &failure{http.StatusUnsupportedMediaType, errors.New("want Content-Type: application/json")}
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, &failure{http.StatusUnsupportedMediaType, errors.New("want a body without Content-Encoding")}
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, b.opts.MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &failure{http.StatusRequestEntityTooLarge, errors.New("the message is larger than --" + flagMaxBody + " (" + strconv.FormatInt(b.opts.MaxBody, 10) + " bytes): set max_alerts of the receiver, or group by more labels")}
	case err != nil:
		// The line broke. That says nothing about the message.
		return nil, &failure{http.StatusServiceUnavailable, errors.New("the body did not arrive whole")}
	}
	return data, nil
}

func (b *Bridge) logMessage(r *http.Request, code int, s Summary, took time.Duration) {
	fields := []zap.Field{
		zap.Int("code", code), zap.String("from", r.RemoteAddr), zap.Duration("took", took),
		zap.Int("started", s.Started), zap.Int("duplicates", s.Duplicates), zap.Int("signalled", s.Signalled),
		zap.Int("ignored", s.Ignored), zap.Int("refused", s.Refused), zap.Int("failed", s.Failed),
	}
	if code == http.StatusOK {
		b.opts.Logger.Debug("message taken", fields...)
		return
	}
	b.rejected.Warn("message not taken", append(fields, zap.String("error", s.Error))...)
}

// readiness remembers for a moment what Temporal said.
type readiness struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

func (b *Bridge) serveReady(w http.ResponseWriter, _ *http.Request) {
	b.busy.RLock()
	defer b.busy.RUnlock()
	if err := b.checkTemporal(); err != nil {
		w.Header().Set("Retry-After", retryAfter)
		answerText(w, http.StatusServiceUnavailable, "Temporal cannot be worked with; the log says why")
		return
	}
	answerText(w, http.StatusOK, "ok")
}

// checkTemporal asks Temporal, unless it was asked a moment ago, and logs when
// the answer turns.
func (b *Bridge) checkTemporal() error {
	b.ready.mu.Lock()
	defer b.ready.mu.Unlock()
	if !b.ready.at.IsZero() && time.Since(b.ready.at) < readyFor {
		return b.ready.err
	}
	ctx, cancel := context.WithTimeout(b.life, readyTimeout)
	defer cancel()
	err := b.opts.Temporal.Check(ctx)
	switch first := b.ready.at.IsZero(); {
	case err != nil && (first || b.ready.err == nil):
		b.opts.Logger.Warn("not ready", zap.Error(err))
	case err == nil && (first || b.ready.err != nil):
		b.opts.Logger.Info("ready: Temporal can be worked with")
	}
	b.ready.at, b.ready.err = time.Now(), err
	return err
}

func answerText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n")
}
