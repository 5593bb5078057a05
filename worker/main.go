// Command worker runs edgefleet's workflows and reaches the devices of its
// regions.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"edgefleet/worker/service"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := service.Main(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
