// Command dev runs all of edgefleet on one machine, with a simulated fleet.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"edgefleet/dev/app"
	"edgefleet/dev/monitor"
)

func main() {
	// This program is also the supervisor of Prometheus and Alertmanager.
	monitor.Supervise()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := app.Main(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
