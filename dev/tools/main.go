// Command tools builds the programs that edgefleet uses but isn't made of:
// Prometheus with promtool, Alertmanager with amtool, and the linters. Named
// ones, or without arguments the four that the dev stack and the tests need.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"edgefleet/dev/tools/toolchain"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := toolchain.Main(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "tools:", err)
		stop()
		os.Exit(1)
	}
}
