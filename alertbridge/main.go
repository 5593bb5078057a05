// Command alertbridge receives the notifications of Prometheus Alertmanager
// and starts a remediation in Temporal for each episode of an alert.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"edgefleet/alertbridge/bridge"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	code := bridge.Main(ctx, os.Args, os.Stdout, os.Stderr, reload)
	stop()
	os.Exit(code)
}
