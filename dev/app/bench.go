package app

import (
	"fmt"
	"os"
	"runtime/pprof"

	"github.com/urfave/cli/v2"
	"go.uber.org/zap"

	"edgefleet/dev/bench"
	"edgefleet/dev/stack"
)

func (a *app) bench(c *cli.Context) (err error) {
	devices, light := c.Int("devices"), c.Int("light")
	if devices < 1 || light < 1 {
		return usageError{fmt.Errorf("bench: --devices and --light want at least 1")}
	}
	dir, err := os.MkdirTemp("", "edgefleet-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	options, err := a.freshStack(dir, devices, zap.NewNop())
	if err != nil {
		return err
	}
	taps := bench.NewTaps()
	defer taps.Close()
	options.NoMonitoring, options.NoUI, options.Address = true, true, taps.Address
	running := stack.New(options)
	fmt.Fprintf(a.err, "starting the engine and %d simulated devices\n", devices)
	if err := running.Start(c.Context); err != nil {
		return err
	}
	stopProfile, err := profileTo(c.String("cpuprofile"))
	if err != nil {
		return err
	}
	defer stopProfile()
	err = bench.Run(c.Context, running, taps, bench.Options{Alerts: devices, Light: light, Out: a.out})
	if stopErr := running.Stop(); err == nil {
		err = stopErr
	}
	return err
}

// profileTo writes a CPU profile until it is stopped; an empty path writes none.
func profileTo(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); f.Close() }, nil
}
