package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"edgefleet/internal/httpserve"
	"edgefleet/internal/routes"
	"edgefleet/internal/telemetry"
)

// Options say how a bridge runs. Temporal and Logger are required; everything
// else that is zero takes the default given beside it.
type Options struct {
	// Temporal is where remediations are started; see FromConn.
	Temporal Temporal
	// Logger takes the log.
	Logger *zap.Logger
	// Tracing traces messages; nil traces nothing. Temporal has to have its
	// Interceptors.
	Tracing *telemetry.Tracing
	// Registry takes the metrics and is what /metrics shows; a new one.
	Registry *prometheus.Registry

	// Listen is "host:port"; ":9087". Port 0 is any, see Bridge.Addr.
	Listen string
	// WebConfigFile is a web configuration file of the Prometheus programs:
	// TLS, client certificates, basic authentication. "" is plain HTTP.
	WebConfigFile string
	// RoutesFile says which runbook answers which alerts; routes.Default.
	RoutesFile string
	// BearerTokenFile holds the tokens that a sender may show, one in a line;
	// "" asks for none.
	BearerTokenFile string

	// Alertmanagers are the URLs of the Alertmanagers whose alerts are compared
	// with the remediations; none compares nothing. Several are the halves of a
	// highly available pair.
	Alertmanagers []string
	// Receiver is the receiver of theirs that posts here; "edgefleet".
	Receiver string
	// ReconcileEvery is the time between two comparisons; 1 min. An alert that
	// stands without a remediation for twice as long was missed.
	ReconcileEvery time.Duration

	// MaxBody bounds a message, in bytes; 4 MiB.
	MaxBody int64
	// MaxMessages bounds the messages at once; 32. Above it the answer is 503.
	MaxMessages int
	// MaxCalls bounds the calls to Temporal at once, over all messages; 64.
	MaxCalls int
	// MaxCallsPerMessage bounds those of one message; 16.
	MaxCallsPerMessage int
	// CallTimeout bounds one call to Temporal; 5 s.
	CallTimeout time.Duration
	// MessageTimeout bounds the work on one message; 20 s. Alertmanager waits
	// for as long as its group_interval, 5 minutes by default.
	MessageTimeout time.Duration
	// StopTimeout bounds Stop; 25 s, so that a message in flight can finish,
	// inside the 30 s that Kubernetes and systemd give or more.
	StopTimeout time.Duration
}

// DefaultListen is the address that a bridge listens on unless told otherwise.
const DefaultListen = ":9087"

// DefaultReceiver is the receiver of Alertmanager that posts here unless told
// otherwise; it is the one of the configuration that is shipped.
const DefaultReceiver = "edgefleet"

// DefaultMaxBody bounds a message, in bytes, unless told otherwise. An alert
// is about 1 KiB.
const DefaultMaxBody = 4 << 20

// readTimeout bounds the arrival of a message.
const readTimeout = 15 * time.Second

func (o *Options) setDefaults() {
	orString(&o.Listen, DefaultListen)
	orString(&o.Receiver, DefaultReceiver)
	orNumber(&o.ReconcileEvery, time.Minute)
	orNumber(&o.MaxBody, DefaultMaxBody)
	orNumber(&o.MaxMessages, 32)
	orNumber(&o.MaxCalls, 64)
	orNumber(&o.MaxCallsPerMessage, 16)
	orNumber(&o.CallTimeout, 5*time.Second)
	orNumber(&o.MessageTimeout, 20*time.Second)
	orNumber(&o.StopTimeout, 25*time.Second)
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
}

func orString(field *string, fallback string) {
	if *field == "" {
		*field = fallback
	}
}

func orNumber[N int | int64 | time.Duration](field *N, fallback N) {
	if *field == 0 {
		*field = fallback
	}
}

// validate checks what can be checked without listening, and returns how the
// web configuration protects the bridge.
func (o *Options) validate() (httpserve.Protection, error) {
	var none httpserve.Protection
	switch {
	case o.Temporal == nil:
		return none, errors.New("bridge: no Temporal")
	case o.Logger == nil:
		return none, errors.New("bridge: no logger")
	case o.MaxBody < 0 || o.MaxMessages < 0 || o.MaxCalls < 0 || o.MaxCallsPerMessage < 0 || o.CallTimeout < 0 || o.MessageTimeout < 0 || o.StopTimeout < 0:
		return none, errors.New("bridge: bounds have to be above 0")
	case o.ReconcileEvery < 0:
		return none, fmt.Errorf("--%s %v: want a duration above 0", flagReconcile, o.ReconcileEvery)
	}
	protection, err := httpserve.Inspect(o.WebConfigFile)
	if err != nil {
		return none, err
	}
	if protection.RateLimit {
		return none, fmt.Errorf("--%s %s: rate_limit answers 429, which Alertmanager never sends again: alerts would be lost; remove it, the bridge bounds itself and answers 503", httpserve.FlagWebConfig, o.WebConfigFile)
	}
	if o.BearerTokenFile == "" {
		return protection, nil
	}
	if protection.BasicAuth {
		return none, fmt.Errorf("--%s and basic_auth_users of --%s both need the Authorization header, so no request could pass: use one of them", flagTokenFile, httpserve.FlagWebConfig)
	}
	_, err = tokenFile(o.BearerTokenFile).tokens()
	return protection, err
}

// Bridge takes messages of Alertmanager and starts remediations. Its life is
// New, Start, Stop, or Run for all of it.
type Bridge struct {
	opts     Options
	metrics  *metrics
	intake   *intake
	server   *httpserve.Server
	routes   atomic.Pointer[routes.List]
	messages chan struct{}
	ready    readiness
	// reconciler is nil without an Alertmanager to compare with.
	reconciler *reconciler
	working    sync.WaitGroup
	// rejected logs messages that were not taken, so many in a second: whoever
	// has no token can still send a great number of them.
	rejected *zap.Logger

	// life ends when Stop has waited long enough. Handlers hold busy for
	// reading, so that Stop can wait for those that it cut; one that comes
	// even later finds life ended.
	life  context.Context //nolint:containedctx // the life of the bridge, not of a call
	end   context.CancelFunc
	busy  sync.RWMutex
	stops sync.Once
	stopE error
}

// New makes a bridge and checks everything that it was given: routes, web
// configuration, token file. Nothing listens yet, and nobody was called.
func New(o Options) (*Bridge, error) {
	o.setDefaults()
	protection, err := o.validate()
	if err != nil {
		return nil, err
	}
	list, err := loadRoutes(o.RoutesFile)
	if err != nil {
		return nil, err
	}
	b := &Bridge{opts: o, metrics: newMetrics(), messages: make(chan struct{}, o.MaxMessages)}
	b.rejected = o.Logger.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, time.Second, 10, 100)
	}))
	b.routes.Store(&list)
	b.life, b.end = context.WithCancel(context.Background())
	b.intake = &intake{
		temporal: o.Temporal, log: o.Logger, metrics: b.metrics,
		perMessage: o.MaxCallsPerMessage, slots: make(chan struct{}, o.MaxCalls), callTime: o.CallTimeout, now: time.Now,
	}
	if err := b.newReconciler(); err != nil {
		return nil, err
	}
	b.server, err = httpserve.New(httpserve.Options{
		Name: "webhook", Address: o.Listen, WebConfigFile: o.WebConfigFile, Handler: b.handler(), Logger: o.Logger,
		ReadTimeout: readTimeout, WriteTimeout: readTimeout + o.MessageTimeout + 5*time.Second, StopTimeout: o.StopTimeout,
	})
	if err != nil {
		return nil, err
	}
	if err := b.metrics.register(o.Registry); err != nil {
		return nil, fmt.Errorf("bridge: the metrics cannot be registered: %w", err)
	}
	b.warnIfOpen(protection)
	return b, nil
}

func (b *Bridge) newReconciler() error {
	if len(b.opts.Alertmanagers) == 0 {
		return nil
	}
	r := &reconciler{
		intake: b.intake, routes: func() routes.List { return *b.routes.Load() }, metrics: b.metrics, log: b.opts.Logger,
		every: b.opts.ReconcileEvery, within: b.opts.MessageTimeout, now: time.Now,
		wake: make(chan struct{}, 1), told: map[string]bool{}, tracer: b.opts.Tracing.Tracer(),
	}
	for _, base := range b.opts.Alertmanagers {
		am, err := newAlertmanager(base, b.opts.Receiver)
		if err != nil {
			return err
		}
		r.sources = append(r.sources, am)
	}
	b.reconciler, b.intake.reconciler = r, r
	return nil
}

// warnIfOpen says so when everybody who can connect can start remediations.
func (b *Bridge) warnIfOpen(p httpserve.Protection) {
	host, _, _ := net.SplitHostPort(b.opts.Listen)
	if ip := net.ParseIP(host); host == "localhost" || ip.IsLoopback() {
		return
	}
	switch {
	case !p.BasicAuth && !p.ClientCerts && b.opts.BearerTokenFile == "":
		b.opts.Logger.Warn("open to everybody who can connect: set --" + flagTokenFile + " or --" + httpserve.FlagWebConfig)
	case !p.TLS:
		b.opts.Logger.Warn("secrets arrive unencrypted: set tls_server_config in --" + httpserve.FlagWebConfig)
	}
}

// Start listens and serves until Stop. Temporal need not be up.
func (b *Bridge) Start(ctx context.Context) error {
	if err := b.server.Start(ctx); err != nil {
		return err
	}
	if b.reconciler != nil {
		b.working.Go(func() { b.reconciler.run(b.life) })
	}
	b.opts.Logger.Info("waiting for Alertmanager", zap.String("address", b.Addr()), zap.String("path", PathAlertmanager), zap.Stringers("routes", *b.routes.Load()))
	return nil
}

// Addr is the address that the bridge listens on, and "" before Start.
func (b *Bridge) Addr() string { return b.server.Addr() }

// Reload reads the routes file again, all or nothing: a file with a mistake in
// it leaves the routes as they are, is counted, logged and returned.
func (b *Bridge) Reload() error {
	list, err := loadRoutes(b.opts.RoutesFile)
	if err != nil {
		b.metrics.reloads.WithLabelValues(resultFailed).Inc()
		b.metrics.reloadOK.Set(0)
		b.opts.Logger.Error("routes not reloaded, the old ones stand", zap.Error(err))
		return err
	}
	b.routes.Store(&list)
	b.metrics.reloads.WithLabelValues(resultSuccess).Inc()
	b.metrics.reloadOK.Set(1)
	b.opts.Logger.Info("routes reloaded", zap.Stringers("routes", list))
	return nil
}

// Stop takes no more messages and lets those in flight finish. At the end of
// ctx or of StopTimeout it ends their calls to Temporal, and says that it cut
// them; their senders send them again. It is idempotent.
func (b *Bridge) Stop(ctx context.Context) error {
	b.stops.Do(func() {
		b.stopE = b.server.Stop(ctx)
		b.end()
		b.working.Wait()
		// What is left obeys the context that has just ended.
		b.busy.Lock()
		defer b.busy.Unlock()
	})
	return b.stopE
}

// Run starts the bridge, reloads its routes whenever reload receives, and
// stops when ctx ends. It fails when the bridge cannot listen or serve, or had
// to cut messages at the end.
func (b *Bridge) Run(ctx context.Context, reload <-chan os.Signal) error {
	if err := b.Start(ctx); err != nil {
		return errors.Join(err, b.Stop(context.WithoutCancel(ctx)))
	}
	for {
		select {
		case <-reload:
			_ = b.Reload()
			continue
		case <-b.server.Done():
		case <-ctx.Done():
			b.opts.Logger.Info("stopping: messages in flight are finished")
		}
		// The end of ctx asks for the stop; it must not also cut it short.
		return errors.Join(b.server.Err(), b.Stop(context.WithoutCancel(ctx)))
	}
}
