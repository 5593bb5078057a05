//go:build unix

package grafana_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.yaml.in/yaml/v3"

	"edgefleet/dev/app"
	"edgefleet/dev/monitor"
	"edgefleet/dev/simfleet"
	"edgefleet/dev/stack"
	"edgefleet/dev/tools/toolchain"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/sim"
	"edgefleet/integration/grafana"
	"edgefleet/integration/prometheus"
	"edgefleet/workflows/contract"
)

// TestMain lets the test program play the supervisor of Prometheus and the
// simulated fleet, too.
func TestMain(m *testing.M) {
	monitor.Supervise()
	if len(os.Args) > 1 && os.Args[1] == "simulate" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := app.Main(ctx, os.Args, os.Stdout, os.Stderr)
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// query is an expression, and where it stands.
type query struct{ at, expr string }

type dashboard struct {
	UID, Title string
	Panels     []struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ H, W, X, Y int }
		Targets []struct {
			RefID, Expr string
			Datasource  struct{ UID string }
		}
	}
	Annotations struct{ List []struct{ Name, Expr string } }
	Templating  struct {
		List []struct{ Name, Type, Definition string }
	}
}

func theDashboard(t *testing.T) dashboard {
	t.Helper()
	raw, err := grafana.Files.ReadFile(grafana.Dashboard)
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(raw, &d))
	return d
}

var variable = regexp.MustCompile(`label_values\((.+), (\w+)\)`)

// queries are all of the dashboard's, with its variables filled in.
func (d dashboard) queries(t *testing.T) []query {
	t.Helper()
	filled := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$region", ".*", "$class", ".*")
	var out []query
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			out = append(out, query{p.Title + " " + target.RefID, filled.Replace(target.Expr)})
		}
	}
	for _, a := range d.Annotations.List {
		out = append(out, query{a.Name, filled.Replace(a.Expr)})
	}
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			parts := variable.FindStringSubmatch(v.Definition)
			require.Len(t, parts, 3, v.Name)
			out = append(out, query{"variable " + v.Name, "count by (" + parts[2] + ") (" + parts[1] + ")"})
		}
	}
	for _, q := range out {
		require.NotContains(t, q.expr, "$", "%s: a variable that there is not", q.at)
	}
	return out
}

// rules are the shipped rules' expressions, and the series that they record.
func rules(t *testing.T) (all []query, recorded []string) {
	t.Helper()
	for _, name := range prometheus.RuleFiles() {
		raw, err := prometheus.Files.ReadFile(name)
		require.NoError(t, err)
		var file struct {
			Groups []struct {
				Rules []struct{ Record, Alert, Expr string }
			}
		}
		require.NoError(t, yaml.Unmarshal(raw, &file))
		for _, g := range file.Groups {
			for _, r := range g.Rules {
				all = append(all, query{"rule " + r.Record + r.Alert, r.Expr})
				if r.Record != "" {
					recorded = append(recorded, r.Record)
				}
			}
		}
	}
	return all, recorded
}

// running is an edgefleet with Prometheus and Alertmanager, which has remediated
// a device.
func running(t *testing.T) *stack.Stack {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	// Of four Modbus devices the last is a controller, for which a patch is
	// declared. Nothing is installed, so that it needs no artifact.
	const anyPort, devices, controller = "127.0.0.1:0", 4, "edge-004"
	mix := simfleet.Mix{Modbus: 100}
	dir := t.TempDir()
	declared := filepath.Join(dir, "fleet", fleetdir.PatchesDir)
	require.NoError(t, os.MkdirAll(declared, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(declared, "plc.yaml"), []byte("name: plc-9.0.0\nprofile: register-plc\nversion: 9.0.0\nfile: plc.pkg\n"+
		"sha256: "+strings.Repeat("a", 64)+"\nsize: 1\nreleased: 2026-01-01\n"), 0o600))
	s := stack.New(stack.Options{
		DataDir: dir, Devices: devices, NoUI: true,
		Prometheus: toolchain.ForTest(t, "prometheus"), Alertmanager: toolchain.ForTest(t, "alertmanager"),
		TemporalAddr: anyPort, UIAddr: anyPort, PrometheusAddr: anyPort, AlertmanagerAddr: anyPort, BridgeAddr: anyPort, WorkerAddr: anyPort,
		Exe: exe, FleetArgs: []string{"simulate", "--data-dir", dir, "--devices", strconv.Itoa(devices), "--mix", mix.String()}, Mix: mix, Pending: time.Second,
	})
	require.NoError(t, s.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	// What a device in service owes stands on the worker's page.
	onboarding, err := s.Conn().Client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: contract.OnboardID("test"), TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: time.Minute,
	}, contract.WorkflowOnboard, contract.OnboardInput{Selection: contract.Selection{IDs: []string{controller}}, Reason: "a test"})
	require.NoError(t, err)
	require.NoError(t, onboarding.Get(t.Context(), nil))
	// Drift stands on the worker's page once somebody has looked for it.
	scan, err := s.Conn().Client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: contract.DriftScanID("test"), TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: time.Minute,
	}, contract.WorkflowDriftScan, contract.DriftScanInput{Selection: contract.Selection{All: true}, Reason: "a test"})
	require.NoError(t, err)
	require.NoError(t, scan.Get(t.Context(), nil))
	_, err = s.Fleet().Break(t.Context(), "edge-001", sim.FaultDrift, false)
	require.NoError(t, err)
	run, err := s.Conn().Client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: contract.ManualRemediateID("edge-001", "test"), TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: time.Minute,
	}, contract.WorkflowRemediate, contract.RemediateInput{
		DeviceID: "edge-001", Actor: contract.Actor{Kind: contract.ActorOperator, Name: "ann"}, Reason: "a test",
		Runbook: contract.RunbookRef{Path: "config_drift.py", Function: "handle_config_drift"},
	})
	require.NoError(t, err)
	require.NoError(t, run.Get(t.Context(), nil))
	return s
}

// exposed are the names of the series of a program's page.
func exposed(t *testing.T, page string) []string {
	t.Helper()
	response, err := http.Get(page)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode, page)
	names := map[string]bool{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if name, _, ok := strings.Cut(lines.Text(), " "); ok && name != "#" {
			name, _, _ = strings.Cut(name, "{")
			names[name] = true
		}
	}
	return slices.Collect(maps.Keys(names))
}

// prom is a Prometheus that is asked.
type prom struct {
	t   *testing.T
	url string
}

func (p prom) ask(path, expr string) (status int, data any, text string) {
	p.t.Helper()
	response, err := http.Get(p.url + path + "?query=" + url.QueryEscape(expr))
	require.NoError(p.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(p.t, err)
	var answer struct{ Data any }
	require.NoError(p.t, json.Unmarshal(body, &answer), string(body))
	return response.StatusCode, answer.Data, string(body)
}

// names collects the series that a parsed expression selects.
func names(node any, into map[string]bool) {
	switch node := node.(type) {
	case map[string]any:
		if kind := node["type"]; kind == "vectorSelector" || kind == "matrixSelector" {
			name, _ := node["name"].(string)
			into[name] = true
		}
		for _, child := range node {
			names(child, into)
		}
	case []any:
		for _, child := range node {
			names(child, into)
		}
	}
}

func TestEveryQueryRunsAndNamesSeriesThatThereAre(t *testing.T) {
	s := running(t)
	defer http.DefaultClient.CloseIdleConnections()
	// Prometheus makes these itself.
	there := map[string]bool{"up": true, "ALERTS": true}
	all, recorded := rules(t)
	for _, list := range [][]string{recorded, exposed(t, s.WorkerURL()+"/metrics"), exposed(t, s.BridgeURL()+"/metrics"),
		exposed(t, s.WorkerURL()+"/probe?device=edge-001")} {
		for _, name := range list {
			there[name] = true
		}
	}
	p := prom{t, s.PrometheusURL()}
	all = append(all, theDashboard(t).queries(t)...)
	require.Greater(t, len(all), 70)
	for _, q := range all {
		status, _, text := p.ask("/api/v1/query", q.expr)
		require.Equal(t, http.StatusOK, status, "%s: %s", q.at, text)
		status, tree, text := p.ask("/api/v1/parse_query", q.expr)
		require.Equal(t, http.StatusOK, status, "%s: %s", q.at, text)
		selected := map[string]bool{}
		names(tree, selected)
		require.NotEmpty(t, selected, q.at)
		for name := range selected {
			require.True(t, there[name], "%s names %q, which nobody exposes or records", q.at, name)
		}
	}
}

func TestTheDashboardCanBeProvisioned(t *testing.T) {
	d := theDashboard(t)
	require.Equal(t, "edgefleet-fleet", d.UID)
	seen := map[int]bool{}
	for i, p := range d.Panels {
		require.False(t, seen[p.ID], "panel %q has the ID of another", p.Title)
		seen[p.ID] = true
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for _, other := range d.Panels[:i] {
			a, b := p.GridPos, other.GridPos
			require.False(t, a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H, "%q lies over %q", p.Title, other.Title)
		}
		if p.Type == "row" {
			continue
		}
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			require.Equal(t, "${datasource}", target.Datasource.UID, "%s: whichever Prometheus is chosen", p.Title)
		}
	}
	files, err := fs.Glob(grafana.Files, "provisioning/*/*.yml")
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, name := range files {
		raw, err := grafana.Files.ReadFile(name)
		require.NoError(t, err)
		var file struct {
			APIVersion int `yaml:"apiVersion"`
		}
		require.NoError(t, yaml.Unmarshal(raw, &file))
		require.Equal(t, 1, file.APIVersion, name)
	}
}
