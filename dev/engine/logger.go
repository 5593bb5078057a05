package engine

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
	"go.uber.org/zap"
)

// fatal is the first thing that the server called fatal, for all loggers
// derived from one serverLogger.
type fatal struct {
	once     sync.Once
	err      error
	occurred chan struct{}
	// building is set while the server is put together, which happens in
	// one goroutine of ours.
	building atomic.Bool
	// stopping is set when Stop begins.
	stopping atomic.Bool
}

func newFatal() *fatal { return &fatal{occurred: make(chan struct{})} }

func (f *fatal) record(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.occurred)
	})
}

// get returns the fatal error, or nil while there is none.
func (f *fatal) get() error {
	select {
	case <-f.occurred:
		return f.err
	default:
		return nil
	}
}

// serverLogger gives the server's warnings and errors to zap. The server calls
// Fatal where a program of its own would exit, for example when a port is
// taken; this process has workers and a fleet to look after, so that only the
// goroutine ends, and the engine reports it. While the server is put together
// that takes a panic, which our goroutine recovers, because the server's
// lazily made values don't let a goroutine exit.
type serverLogger struct {
	zap   *zap.Logger
	fatal *fatal
}

var (
	_ log.Logger     = (*serverLogger)(nil)
	_ log.WithLogger = (*serverLogger)(nil)
)

func (l *serverLogger) Debug(string, ...tag.Tag) {}

func (l *serverLogger) Info(string, ...tag.Tag) {}

func (l *serverLogger) Warn(msg string, tags ...tag.Tag) {
	if l.quiet() {
		return
	}
	l.zap.Warn(msg, fields(tags)...)
}

func (l *serverLogger) Error(msg string, tags ...tag.Tag) {
	if l.quiet() {
		return
	}
	l.zap.Error(msg, fields(tags)...)
}

func (l *serverLogger) DPanic(msg string, tags ...tag.Tag) { l.zap.Error(msg, fields(tags)...) }

func (l *serverLogger) Panic(msg string, tags ...tag.Tag) {
	l.zap.Error(msg, fields(tags)...)
	panic(msg)
}

func (l *serverLogger) Fatal(msg string, tags ...tag.Tag) {
	if !l.quiet() {
		l.zap.Error(msg, fields(tags)...)
	}
	err := fatalError(msg, tags)
	l.fatal.record(err)
	if l.fatal.building.Load() {
		panic(err)
	}
	runtime.Goexit()
}

func (l *serverLogger) With(tags ...tag.Tag) log.Logger {
	return &serverLogger{zap: l.zap.With(fields(tags)...), fatal: l.fatal}
}

// quiet is true during Stop, when services that end one after the other
// complain about the ones that already did.
func (l *serverLogger) quiet() bool { return l.fatal.stopping.Load() }

// fatalError keeps what a person needs of a fatal log line: the message, and
// the error if one of its tags is an error.
func fatalError(msg string, tags []tag.Tag) error {
	for _, t := range tags {
		if z, ok := t.(tag.ZapTag); ok {
			if err, ok := z.Field().Interface.(error); ok {
				return fmt.Errorf("%s: %w", msg, err)
			}
		}
	}
	return fmt.Errorf("%s", msg)
}

func fields(tags []tag.Tag) []zap.Field {
	out := make([]zap.Field, 0, len(tags))
	for _, t := range tags {
		if z, ok := t.(tag.ZapTag); ok {
			out = append(out, z.Field())
			continue
		}
		out = append(out, zap.Any(t.Key(), t.Value()))
	}
	return out
}
