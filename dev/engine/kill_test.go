//go:build unix

package engine_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	sdkclient "go.temporal.io/sdk/client"

	"edgefleet/dev/engine"
)

// killedFolder names the data folder to the process that is about to be
// killed, and tells this program that it is that process.
const killedFolder = "EDGEFLEET_TEST_KILLED_ENGINE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedFolder); dir != "" {
		fmt.Println(runUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runUntilKilled starts one workflow, says so, and waits for the end.
func runUntilKilled(dir string) error {
	e, err := engine.New(engine.Options{DataDir: dir, FrontendAddr: "127.0.0.1:0", NoUI: true})
	if err != nil {
		return err
	}
	if err := e.Start(context.Background()); err != nil {
		return err
	}
	c, err := sdkclient.Dial(sdkclient.Options{HostPort: e.Addr(), Logger: quietLog{}})
	if err != nil {
		return err
	}
	_, err = c.ExecuteWorkflow(context.Background(), sdkclient.StartWorkflowOptions{ID: "acknowledged", TaskQueue: queue}, interrupted)
	if err != nil {
		return err
	}
	fmt.Println("started")
	// The parent holds the other end, also when it dies first.
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}

func TestWhatWasAcknowledgedOutlivesAKill(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killedFolder+"="+dir)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer func() { _ = stdin.Close() }()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "started\n", line)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())

	e := start(t, engine.Options{DataDir: dir, NoUI: true})
	described, err := dial(t, e).DescribeWorkflowExecution(context.Background(), "acknowledged", "")
	require.NoError(t, err)
	require.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_RUNNING, described.WorkflowExecutionInfo.Status)
}
