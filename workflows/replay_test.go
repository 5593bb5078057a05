package workflows_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	sdkclient "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows"
)

// histories are what real engines recorded (make record), by file name. Old
// ones stay: workflows that began under old code end under new code.
func histories(t *testing.T) map[string]*historypb.History {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "replay", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no recorded history is found: run make record")
	out := map[string]*historypb.History{}
	for _, file := range files {
		f, err := os.Open(file)
		require.NoError(t, err)
		history, err := sdkclient.HistoryFromJSON(f, sdkclient.HistoryJSONOptions{})
		require.NoError(t, f.Close())
		require.NoError(t, err, file)
		require.NotEmpty(t, history.GetEvents(), file)
		out[strings.TrimSuffix(filepath.Base(file), ".json")] = history
	}
	return out
}

func replay(history *historypb.History) error {
	replayer := worker.NewWorkflowReplayer()
	workflows.Register(replayer)
	return replayer.ReplayWorkflowHistory(nil, history)
}

func TestEveryRecordedHistoryReplays(t *testing.T) {
	for name, history := range histories(t) {
		t.Run(name, func(t *testing.T) {
			last := history.GetEvents()[len(history.GetEvents())-1]
			require.Contains(t, []enumspb.EventType{
				enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
				enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
				enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
			}, last.GetEventType(), "a history is recorded to its end")
			require.NoError(t, replay(history))
		})
	}
}

// A worker that is exchanged in the middle replays what there is by then.
func TestEveryRecordedHistoryReplaysFromEveryPointOfIt(t *testing.T) {
	for name, history := range histories(t) {
		t.Run(name, func(t *testing.T) {
			for i, event := range history.GetEvents() {
				if event.GetEventType() != enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED {
					continue
				}
				part := &historypb.History{Events: history.GetEvents()[:i+1]}
				require.NoError(t, replay(part), "up to event %d", event.GetEventId())
			}
		})
	}
}

// names is a registry that only keeps the names.
type names struct {
	worker.WorkflowRegistry
	registered []string
}

func (n *names) RegisterWorkflowWithOptions(_ any, o workflow.RegisterOptions) {
	n.registered = append(n.registered, o.Name)
}

func TestEveryWorkflowHasARecordedHistory(t *testing.T) {
	recorded := map[string]bool{}
	for _, history := range histories(t) {
		recorded[history.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowType().GetName()] = true
	}
	var all names
	workflows.Register(&all)
	require.NotEmpty(t, all.registered)
	for _, name := range all.registered {
		require.True(t, recorded[name], "%s has no recorded history: add it to dev/stack/record_test.go and run make record", name)
	}
}

// What the replay test finds is worth as much as what it can find.
func TestAHistoryOfOtherBehaviourDoesNotReplay(t *testing.T) {
	for name, history := range histories(t) {
		t.Run(name, func(t *testing.T) {
			changed := 0
			for _, event := range history.GetEvents() {
				if a := event.GetActivityTaskScheduledEventAttributes(); a != nil {
					a.ActivityType.Name = "another_" + a.ActivityType.Name
					changed++
					break
				}
				if a := event.GetStartChildWorkflowExecutionInitiatedEventAttributes(); a != nil {
					a.WorkflowType.Name += "_of_others"
					changed++
					break
				}
			}
			require.Equal(t, 1, changed)
			require.ErrorContains(t, replay(history), "nondeterministic")
		})
	}
}
