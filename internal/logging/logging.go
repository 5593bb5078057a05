package logging

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Names of the flags that Flags returns.
const (
	FlagLevel  = "log-level"
	FlagFormat = "log-format"
)

// The formats of a log line.
const (
	FormatJSON    = "json"
	FormatConsole = "console"
)

// Options say how a program logs. The zero value is info, JSON, to stderr.
type Options struct {
	// Level is "debug", "info", "warn" or "error"; "" is info.
	Level string
	// Format is FormatJSON or FormatConsole; "" is JSON.
	Format string
	// Writer takes the lines, one Write each; nil is os.Stderr.
	Writer io.Writer
}

// Flags returns --log-level and --log-format, with their environment
// equivalents EDGEFLEET_LOG_LEVEL and EDGEFLEET_LOG_FORMAT.
func Flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: FlagLevel, Value: "info", EnvVars: []string{"EDGEFLEET_LOG_LEVEL"},
			Usage: "log `LEVEL`: debug, info, warn or error",
		},
		&cli.StringFlag{
			Name: FlagFormat, Value: FormatJSON, EnvVars: []string{"EDGEFLEET_LOG_FORMAT"},
			Usage: "log `FORMAT`: json or console",
		},
	}
}

// FromContext reads the flags that Flags declared; the lines go to w.
func FromContext(c *cli.Context, w io.Writer) Options {
	return Options{Level: c.String(FlagLevel), Format: c.String(FlagFormat), Writer: w}
}

// New builds the logger. It fails on an unknown level or format, in words that
// name the flag and what it takes.
func New(o Options) (*zap.Logger, error) {
	level, err := parseLevel(o.Level)
	if err != nil {
		return nil, err
	}
	enc, err := encoder(o.Format)
	if err != nil {
		return nil, err
	}
	if o.Writer == nil {
		o.Writer = os.Stderr
	}
	sink := zapcore.Lock(zapcore.AddSync(o.Writer))
	return zap.New(zapcore.NewCore(enc, sink, level), zap.ErrorOutput(sink)), nil
}

func parseLevel(s string) (zapcore.Level, error) {
	switch s {
	case "debug":
		return zapcore.DebugLevel, nil
	case "", "info":
		return zapcore.InfoLevel, nil
	case "warn":
		return zapcore.WarnLevel, nil
	case "error":
		return zapcore.ErrorLevel, nil
	}
	return 0, fmt.Errorf("--%s %q: want debug, info, warn or error", FlagLevel, s)
}

func encoder(format string) (zapcore.Encoder, error) {
	cfg := zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", NameKey: "logger", MessageKey: "msg", CallerKey: "caller", StacktraceKey: "stack",
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeTime:     encodeTime,
		EncodeDuration: zapcore.StringDurationEncoder,
		EncodeCaller:   zapcore.ShortCallerEncoder,
	}
	switch format {
	case "", FormatJSON:
		return zapcore.NewJSONEncoder(cfg), nil
	case FormatConsole:
		return zapcore.NewConsoleEncoder(cfg), nil
	}
	return nil, fmt.Errorf("--%s %q: want json or console", FlagFormat, format)
}

// encodeTime writes UTC with milliseconds: sites lie in several time zones, and
// their logs are read side by side.
func encodeTime(t time.Time, enc zapcore.PrimitiveArrayEncoder) {
	enc.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
}
