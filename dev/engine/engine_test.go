package engine_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	sdkclient "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"edgefleet/dev/engine"
	"edgefleet/workflows/contract"
)

const queue = "engine-test"

func start(t testing.TB, o engine.Options) *engine.Engine {
	t.Helper()
	if o.FrontendAddr == "" {
		o.FrontendAddr = "127.0.0.1:0"
	}
	if o.UIAddr == "" {
		o.UIAddr = "127.0.0.1:0"
	}
	e, err := engine.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Stop()) })
	require.NoError(t, e.Start(context.Background()))
	return e
}

type quietLog struct{}

func (quietLog) Debug(string, ...any) {}
func (quietLog) Info(string, ...any)  {}
func (quietLog) Warn(string, ...any)  {}
func (quietLog) Error(string, ...any) {}

var _ log.Logger = quietLog{}

func dial(t testing.TB, e *engine.Engine) sdkclient.Client {
	t.Helper()
	c, err := sdkclient.Dial(sdkclient.Options{HostPort: e.Addr(), Namespace: e.Namespace(), Logger: quietLog{}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func echo(_ context.Context, text string) (string, error) { return text, nil }

// interrupted has something of everything that has to survive a restart: a
// result, a timer, and a signal still to come.
func interrupted(ctx workflow.Context) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second})
	var before, after string
	if err := workflow.ExecuteActivity(ctx, "echo", "before").Get(ctx, &before); err != nil {
		return "", err
	}
	if err := workflow.Sleep(ctx, 300*time.Millisecond); err != nil {
		return "", err
	}
	var word string
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, &word)
	if err := workflow.ExecuteActivity(ctx, "echo", "after").Get(ctx, &after); err != nil {
		return "", err
	}
	return before + " " + word + " " + after, nil
}

func work(t testing.TB, c sdkclient.Client) func() {
	t.Helper()
	w := sdkworker.New(c, queue, sdkworker.Options{WorkerStopTimeout: time.Second})
	w.RegisterWorkflow(interrupted)
	w.RegisterActivityWithOptions(echo, activity.RegisterOptions{Name: "echo"})
	require.NoError(t, w.Start())
	return w.Stop
}

func TestAWorkflowInFlightGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	core, logged := observer.New(zap.WarnLevel)
	first := start(t, engine.Options{DataDir: dir, Logger: zap.New(core)})

	t.Run("a second engine on the folder is refused", func(t *testing.T) {
		second, err := engine.New(engine.Options{DataDir: dir, FrontendAddr: "127.0.0.1:0", NoUI: true})
		require.NoError(t, err)
		err = second.Start(context.Background())
		require.ErrorContains(t, err, "data folder "+dir+" is in use by another engine (process ")
		require.ErrorContains(t, err, "): stop that one, or use another folder with --data-dir")
	})
	t.Run("a taken port is refused", func(t *testing.T) {
		for _, c := range []struct {
			o    engine.Options
			want string
		}{
			{engine.Options{FrontendAddr: first.Addr(), NoUI: true}, "Temporal address " + first.Addr() + " is taken by another program: stop that one, or choose another port (--temporal-port 0 means any free one)"},
			{engine.Options{FrontendAddr: "127.0.0.1:0", UIAddr: first.UIAddr()}, "Web UI address " + first.UIAddr() + " is taken by another program: stop that one, or choose another port (--ui-port 0 means any free one)"},
		} {
			c.o.DataDir = t.TempDir()
			e, err := engine.New(c.o)
			require.NoError(t, err)
			require.EqualError(t, e.Start(context.Background()), c.want)
		}
	})
	t.Run("the Web UI serves its pages and the API", func(t *testing.T) { checkUI(t, first) })

	c := dial(t, first)
	stopWorker := work(t, c)
	run, err := c.ExecuteWorkflow(context.Background(), sdkclient.StartWorkflowOptions{
		ID: "in-flight", TaskQueue: queue,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword(contract.AttrDeviceID).ValueSet("edge-001")),
	}, interrupted)
	require.NoError(t, err)
	awaitEvent(t, c, run, enums.EVENT_TYPE_TIMER_STARTED)
	stopWorker()
	require.NoError(t, first.Stop())
	require.NoError(t, first.Stop(), "stopping twice is harmless")
	require.NoError(t, first.Err(), "a stop is no failure")
	<-first.Done()
	require.Error(t, first.Start(context.Background()), "an engine starts once")

	again := start(t, engine.Options{
		DataDir: dir, Logger: zap.New(core), NoUI: true,
		SearchAttributes: append(contract.SearchAttributes(), "AddedLater"),
	})
	c = dial(t, again)
	defer work(t, c)()
	require.Eventually(t, func() bool {
		list, err := c.ListWorkflow(context.Background(), &workflowservice.ListWorkflowExecutionsRequest{
			Query: contract.AttrDeviceID + ` = "edge-001" and ExecutionStatus = "Running" and AddedLater is null`,
		})
		return err == nil && len(list.Executions) == 1
	}, 10*time.Second, 20*time.Millisecond, "the search attributes are there, old and new")
	require.NoError(t, c.SignalWorkflow(context.Background(), "in-flight", "", "go", "and"))
	var got string
	require.NoError(t, c.GetWorkflow(context.Background(), "in-flight", run.GetRunID()).Get(context.Background(), &got))
	require.Equal(t, "before and after", got)

	ns, err := c.WorkflowService().DescribeNamespace(context.Background(), &workflowservice.DescribeNamespaceRequest{Namespace: "default"})
	require.NoError(t, err)
	require.Equal(t, 7*24*time.Hour, ns.Config.WorkflowExecutionRetentionTtl.AsDuration())

	t.Run("two engines run in one process", func(t *testing.T) {
		other := start(t, engine.Options{DataDir: t.TempDir(), NoUI: true, Namespace: "other", SearchAttributes: []string{}})
		require.NotEqual(t, again.Addr(), other.Addr())
		otherClient := dial(t, other)
		_, err := otherClient.DescribeWorkflowExecution(context.Background(), "in-flight", "")
		require.ErrorContains(t, err, "not found", "their states are apart")
	})
	for _, entry := range logged.All() {
		require.Less(t, entry.Level, zap.ErrorLevel, "the server says %q: %v", entry.Message, entry.ContextMap())
	}
}

func awaitEvent(t *testing.T, c sdkclient.Client, run sdkclient.WorkflowRun, want enums.EventType) {
	t.Helper()
	require.Eventually(t, func() bool {
		events := c.GetWorkflowHistory(context.Background(), run.GetID(), run.GetRunID(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			event, err := events.Next()
			if err != nil {
				return false
			}
			if event.EventType == want {
				return true
			}
		}
		return false
	}, 10*time.Second, 10*time.Millisecond)
}

func checkUI(t *testing.T, e *engine.Engine) {
	get := func(path string) (contentType, body string) {
		response, err := http.Get("http://" + e.UIAddr() + path)
		require.NoError(t, err)
		defer func() { require.NoError(t, response.Body.Close()) }()
		require.Equal(t, http.StatusOK, response.StatusCode, path)
		raw, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.Header.Get("Content-Type"), string(raw)
	}
	contentType, page := get("/")
	require.Contains(t, contentType, "text/html")
	begin := strings.Index(page, "/_app/")
	require.Positive(t, begin, "the page loads its script from the embedded assets")
	asset, _, _ := strings.Cut(page[begin:], `"`)
	_, script := get(asset)
	require.NotEmpty(t, script)

	_, body := get("/api/v1/namespaces")
	var list struct {
		Namespaces []struct {
			NamespaceInfo struct{ Name string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &list))
	var names []string
	for _, ns := range list.Namespaces {
		names = append(names, ns.NamespaceInfo.Name)
	}
	require.Contains(t, names, "default")
	_, body = get("/api/v1/settings")
	require.Contains(t, body, `"DefaultNamespace":"default"`)

	// What a page of another site could send in the browser's name.
	request, err := http.NewRequest(http.MethodPost, "http://"+e.UIAddr()+"/api/v1/namespaces/default/workflows/x", strings.NewReader("{}"))
	require.NoError(t, err)
	request.Header.Set("Sec-Fetch-Site", "cross-site")
	request.Header.Set("Origin", "https://elsewhere.example")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusForbidden, response.StatusCode)
}
