package monitor_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"edgefleet/dev/monitor"
)

// The test program plays four parts: the supervisor (by monitor.Supervise),
// a program that is supervised, a parent that is killed, and the tests.
const (
	playEnv = "EDGEFLEET_TEST_PLAY"
	dataEnv = "EDGEFLEET_TEST_DATA"
)

func TestMain(m *testing.M) {
	monitor.Supervise()
	switch os.Getenv(playEnv) {
	case "":
		goleak.VerifyTestMain(m)
	case "parent":
		playParent()
	default:
		playProgram(os.Getenv(playEnv), os.Args[1:])
	}
}

// playProgram is a stand-in for Alertmanager: it takes its arguments.
func playProgram(part string, args []string) {
	flags := flag.NewFlagSet("program", flag.ExitOnError)
	addr := flags.String("web.listen-address", "", "")
	for _, ignored := range []string{"config.file", "storage.path", "web.external-url", "cluster.listen-address"} {
		flags.String(ignored, "", "")
	}
	_ = flags.Parse(args)
	fmt.Println("program", part, "as process", os.Getpid())
	if part == "crash" {
		for i := range 20 {
			fmt.Fprintln(os.Stderr, "line", i)
		}
		fmt.Fprintln(os.Stderr, "cannot go on")
		os.Exit(3)
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	http.HandleFunc("/-/ready", func(w http.ResponseWriter, _ *http.Request) {
		if part == "never ready" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, os.Getpid())
	})
	go func() {
		server := &http.Server{Addr: *addr, ReadHeaderTimeout: time.Second}
		fmt.Println(server.ListenAndServe())
		os.Exit(1)
	}()
	<-terminated
	if part == "stubborn" {
		select {}
	}
	fmt.Println("told to end, ending")
	os.Exit(0)
}

// playParent starts a program, says its address and waits to be killed.
func playParent() {
	_ = os.Setenv(playEnv, "serve")
	s, err := monitor.StartAlertmanager(context.Background(), standIn(os.Getenv(dataEnv)))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.Addr())
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	_, _ = io.WriteString(os.Stderr, "the test is gone\n")
	os.Exit(1)
}

func standIn(dir string) monitor.AlertmanagerOptions {
	return monitor.AlertmanagerOptions{
		Common: monitor.Common{
			DataDir: dir, Program: os.Args[0], Addr: "127.0.0.1:0",
			StartTimeout: 20 * time.Second, StopTimeout: 5 * time.Second,
		},
		BridgeURL: "http://127.0.0.1:1/api/v1/alertmanager",
	}
}
