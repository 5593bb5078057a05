package logging

import (
	"context"
	"log/slog"

	"go.temporal.io/sdk/log"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Temporal returns l as the logger of Temporal's SDK: for client.Options, and
// for what workflows and activities get from their context.
func Temporal(l *zap.Logger) log.Logger {
	return temporalLogger{l.Sugar()}
}

type temporalLogger struct{ s *zap.SugaredLogger }

var (
	_ log.WithLogger      = temporalLogger{}
	_ log.WithSkipCallers = temporalLogger{}
)

func (t temporalLogger) Debug(msg string, keyvals ...any) { t.s.Debugw(msg, keyvals...) }
func (t temporalLogger) Info(msg string, keyvals ...any)  { t.s.Infow(msg, keyvals...) }
func (t temporalLogger) Warn(msg string, keyvals ...any)  { t.s.Warnw(msg, keyvals...) }
func (t temporalLogger) Error(msg string, keyvals ...any) { t.s.Errorw(msg, keyvals...) }

func (t temporalLogger) With(keyvals ...any) log.Logger {
	return temporalLogger{t.s.With(keyvals...)}
}

func (t temporalLogger) WithCallerSkip(depth int) log.Logger {
	return temporalLogger{t.s.WithOptions(zap.AddCallerSkip(depth))}
}

// Slog returns l as a slog.Logger, for the libraries of Prometheus. Groups
// become dotted prefixes of the keys.
func Slog(l *zap.Logger) *slog.Logger {
	return slog.New(&slogHandler{log: l})
}

type slogHandler struct {
	log    *zap.Logger
	prefix string
}

func (h *slogHandler) Enabled(_ context.Context, level slog.Level) bool {
	return h.log.Core().Enabled(zapLevel(level))
}

func (h *slogHandler) Handle(_ context.Context, r slog.Record) error {
	entry := h.log.Check(zapLevel(r.Level), r.Message)
	if entry == nil {
		return nil
	}
	fields := make([]zap.Field, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		fields = appendAttr(fields, h.prefix, a)
		return true
	})
	entry.Write(fields...)
	return nil
}

func (h *slogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := make([]zap.Field, 0, len(attrs))
	for _, a := range attrs {
		fields = appendAttr(fields, h.prefix, a)
	}
	return &slogHandler{log: h.log.With(fields...), prefix: h.prefix}
}

func (h *slogHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &slogHandler{log: h.log, prefix: h.prefix + name + "."}
}

func appendAttr(fields []zap.Field, prefix string, a slog.Attr) []zap.Field {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		if a.Key == "" {
			return fields
		}
		return append(fields, zap.Any(prefix+a.Key, v.Any()))
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	for _, member := range v.Group() {
		fields = appendAttr(fields, prefix, member)
	}
	return fields
}

// zapLevel rounds down, so that a level between two keeps the meaning of the
// lower one, as slog prints it ("INFO+2").
func zapLevel(l slog.Level) zapcore.Level {
	switch {
	case l >= slog.LevelError:
		return zapcore.ErrorLevel
	case l >= slog.LevelWarn:
		return zapcore.WarnLevel
	case l >= slog.LevelInfo:
		return zapcore.InfoLevel
	}
	return zapcore.DebugLevel
}
