package logging_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
	sdklog "go.temporal.io/sdk/log"
	"go.uber.org/zap"

	"edgefleet/internal/logging"
)

func newJSON(t *testing.T, level string) (*zap.Logger, func() []map[string]any) {
	t.Helper()
	var buf bytes.Buffer
	l, err := logging.New(logging.Options{Level: level, Writer: &buf})
	require.NoError(t, err)
	return l, func() []map[string]any {
		var lines []map[string]any
		for line := range strings.Lines(buf.String()) {
			var m map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &m), line)
			lines = append(lines, m)
		}
		return lines
	}
}

func TestNewWritesOneJSONLinePerEntryFromItsLevelUp(t *testing.T) {
	l, lines := newJSON(t, "warn")
	l.Info("not shown")
	l.Warn("shown", zap.Duration("took", 1500*time.Millisecond))
	got := lines()
	require.Len(t, got, 1)
	require.Equal(t, "shown", got[0]["msg"])
	require.Equal(t, "warn", got[0]["level"])
	require.Equal(t, "1.5s", got[0]["took"])
	at, err := time.Parse("2006-01-02T15:04:05.000Z", got[0]["time"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
}

func TestNewWritesReadableLinesForTheConsole(t *testing.T) {
	var buf bytes.Buffer
	l, err := logging.New(logging.Options{Format: "console", Writer: &buf})
	require.NoError(t, err)
	l.Info("listening", zap.String("address", "127.0.0.1:9087"))
	require.Contains(t, buf.String(), "info\tlistening\t")
	require.NotContains(t, buf.String(), "\x1b[")
}

func TestNewRefusesWhatItDoesNotKnowAndNamesTheFlag(t *testing.T) {
	_, err := logging.New(logging.Options{Level: "fatal"})
	require.EqualError(t, err, `--log-level "fatal": want debug, info, warn or error`)
	_, err = logging.New(logging.Options{Format: "xml"})
	require.EqualError(t, err, `--log-format "xml": want json or console`)
}

func TestFlagsComeFromTheCommandLineAndTheEnvironment(t *testing.T) {
	t.Setenv("EDGEFLEET_LOG_FORMAT", "console")
	var got logging.Options
	app := &cli.App{
		Flags:  logging.Flags(),
		Action: func(c *cli.Context) error { got = logging.FromContext(c, nil); return nil },
	}
	require.NoError(t, app.Run([]string{"x", "--log-level", "debug"}))
	require.Equal(t, logging.Options{Level: "debug", Format: "console"}, got)
}

func TestTemporalKeepsKeysValuesAndContext(t *testing.T) {
	l, lines := newJSON(t, "debug")
	tl := sdklog.With(logging.Temporal(l), "WorkflowID", "remediate/x")
	tl.Debug("a", "Attempt", 2)
	tl.Info("b")
	tl.Warn("c", "Error", errors.New("boom"))
	sdklog.Skip(tl, 1).Error("d")
	got := lines()
	require.Len(t, got, 4)
	for i, level := range []string{"debug", "info", "warn", "error"} {
		require.Equal(t, level, got[i]["level"])
		require.Equal(t, "remediate/x", got[i]["WorkflowID"])
	}
	require.EqualValues(t, 2, got[0]["Attempt"])
	require.Equal(t, "boom", got[2]["Error"])
}

func TestSlogKeepsAttributesAndFlattensGroups(t *testing.T) {
	l, lines := newJSON(t, "info")
	s := logging.Slog(l).With("component", "web").WithGroup("tls").WithGroup("")
	s.Debug("not shown")
	s.Info("a", "version", "1.3", slog.Group("peer", slog.String("cn", "am")), slog.Group("", slog.Int("n", 1)), slog.Attr{})
	s.Log(t.Context(), slog.LevelInfo+2, "b")
	s.Warn("c")
	s.Error("d", "err", errors.New("boom"))
	got := lines()
	require.Len(t, got, 4)
	require.Equal(t, "web", got[0]["component"])
	require.Equal(t, "1.3", got[0]["tls.version"])
	require.Equal(t, "am", got[0]["tls.peer.cn"])
	require.EqualValues(t, 1, got[0]["tls.n"])
	require.Equal(t, "info", got[1]["level"])
	require.Equal(t, "warn", got[2]["level"])
	require.Equal(t, "boom", got[3]["tls.err"])
}
