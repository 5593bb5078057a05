package httpserve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"edgefleet/internal/logging"
)

// FlagWebConfig is the flag that names a web configuration file, spelt as in
// the Prometheus programs.
const FlagWebConfig = "web.config.file"

// Options say what to serve, where and within which bounds. Durations that are
// zero take the defaults given beside them.
type Options struct {
	// Name tells this server's log lines from another's: "webhook", "admin".
	Name string
	// Address is "host:port"; port 0 is any free one, see Server.Addr.
	Address string
	// WebConfigFile is a web configuration file of exporter-toolkit; "" is
	// plain HTTP, open to everybody who can connect.
	WebConfigFile string
	// Handler serves the requests that the web configuration lets through.
	Handler http.Handler
	// Logger is required.
	Logger *zap.Logger

	ReadHeaderTimeout time.Duration // 5 s
	ReadTimeout       time.Duration // 30 s, header and body
	WriteTimeout      time.Duration // 60 s, from the end of the header to the last byte
	IdleTimeout       time.Duration // 2 min between requests of a connection
	// StopTimeout bounds Stop, besides its context; 15 s. Connections that
	// are still busy then are cut.
	StopTimeout time.Duration
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		field    *time.Duration
		fallback time.Duration
	}{
		{&o.ReadHeaderTimeout, 5 * time.Second},
		{&o.ReadTimeout, 30 * time.Second},
		{&o.WriteTimeout, 60 * time.Second},
		{&o.IdleTimeout, 2 * time.Minute},
		{&o.StopTimeout, 15 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.fallback
		}
	}
}

func (o *Options) validate() error {
	switch {
	case o.Handler == nil:
		return errors.New("httpserve: no handler")
	case o.Logger == nil:
		return errors.New("httpserve: no logger")
	}
	if _, _, err := net.SplitHostPort(o.Address); err != nil {
		return fmt.Errorf("listen address %q: want host:port or :port: %w", o.Address, err)
	}
	if o.WebConfigFile == "" {
		return nil
	}
	if err := web.Validate(o.WebConfigFile); err != nil {
		return fmt.Errorf("--%s %s: %w", FlagWebConfig, o.WebConfigFile, err)
	}
	return nil
}

// Server is one HTTP server. Its life is New, Start, Stop; it is not started
// twice.
type Server struct {
	opts   Options
	http   *http.Server
	ln     net.Listener
	done   chan struct{}
	err    error // why serving ended by itself; read after done
	starts sync.Once
	stops  sync.Once
	stopE  error
}

// New makes a server and checks its options and its web configuration file,
// with the certificates that it names, so that a mistake shows before anything
// listens.
func New(o Options) (*Server, error) {
	o.setDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Name != "" {
		o.Logger = o.Logger.With(zap.String("server", o.Name))
	}
	// What net/http says about single connections (a scanner without TLS, a
	// client that hung up) is noise unless somebody is looking for it.
	connLog, err := zap.NewStdLogAt(o.Logger, zapcore.DebugLevel)
	if err != nil {
		return nil, err
	}
	return &Server{
		opts: o,
		done: make(chan struct{}),
		http: &http.Server{
			Handler:           o.Handler,
			ErrorLog:          connLog,
			ReadHeaderTimeout: o.ReadHeaderTimeout,
			ReadTimeout:       o.ReadTimeout,
			WriteTimeout:      o.WriteTimeout,
			IdleTimeout:       o.IdleTimeout,
			MaxHeaderBytes:    64 << 10,
		},
	}, nil
}

// Start listens, and serves in a goroutine of its own until Stop. When it
// returns nil, connections are accepted and Addr is known.
func (s *Server) Start(ctx context.Context) error {
	err := errors.New("httpserve: started already")
	s.starts.Do(func() { err = s.start(ctx) })
	return err
}

func (s *Server) start(ctx context.Context) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.opts.Address)
	if err != nil {
		close(s.done)
		return fmt.Errorf("cannot listen on %s: %w", s.opts.Address, err)
	}
	s.ln = ln
	go func() {
		defer close(s.done)
		// A web configuration that broke since New leaves the listener open.
		defer func() { _ = ln.Close() }()
		flags := &web.FlagConfig{WebConfigFile: &s.opts.WebConfigFile}
		if err := web.Serve(ln, s.http, flags, logging.Slog(s.opts.Logger)); !errors.Is(err, http.ErrServerClosed) {
			s.err = fmt.Errorf("%s: serving on %s ended: %w", s.opts.Name, ln.Addr(), err)
			s.opts.Logger.Error("serving ended", zap.Error(err))
		}
	}()
	return nil
}

// Addr is the address that the server listens on, "127.0.0.1:43117", and ""
// before Start.
func (s *Server) Addr() string {
	if s.ln == nil {
		return ""
	}
	return s.ln.Addr().String()
}

// Done is closed when serving has ended: after Stop, or by itself; Err tells.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why serving ended by itself. It is nil before Done is closed, and
// after a Stop.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Stop accepts no more connections, lets the requests in flight finish, and
// returns when they have. At the end of ctx or of StopTimeout it cuts them and
// says so. Every call after the first waits for it and returns the same; a
// server that never started stops at once.
func (s *Server) Stop(ctx context.Context) error {
	s.stops.Do(func() { s.stopE = s.stop(ctx) })
	return s.stopE
}

func (s *Server) stop(ctx context.Context) error {
	// Using up the one start means that a Start after Stop fails, and that
	// done is closed whether there was one before or not.
	s.starts.Do(func() { close(s.done) })
	ctx, cancel := context.WithTimeout(ctx, s.opts.StopTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("%s: requests were cut: %w", s.opts.Name, err)
		_ = s.http.Close()
	}
	<-s.done
	return err
}
