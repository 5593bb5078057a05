// Command edgefleet is the operator's door to edgefleet: it asks and starts
// everything through Temporal, and needs access to nothing else.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"edgefleet/starter/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.New(cli.Options{
		Out: os.Stdout, Err: os.Stderr, Colour: cli.Colourful(os.Stdout, os.Getenv),
		Terminal: cli.Terminal(os.Stderr, os.Getenv),
	}).Run(ctx, os.Args)
	stop()
	os.Exit(code)
}
