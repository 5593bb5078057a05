package stack

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"edgefleet/dev/sample"
	"edgefleet/dev/simfleet"
	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

// FleetState is where the simulated fleet of a data folder says how it is
// reached.
func FleetState(dataDir string) string { return filepath.Join(dataDir, "simfleet.json") }

// CredentialsDir is what the worker logs in to devices with, of a simulated
// fleet that has some which ask for it.
func (s *Stack) CredentialsDir() string {
	if s.opts.Mix == (simfleet.Mix{}) {
		return ""
	}
	return filepath.Join(s.opts.DataDir, "credentials")
}

// FleetDir is the fleet directory that the worker runs.
func (s *Stack) FleetDir() string { return filepath.Join(s.opts.DataDir, "fleet") }

// Temporal says how to connect to the engine.
func (s *Stack) Temporal() temporalx.Options {
	return temporalx.Options{Address: s.engine.Addr(), Namespace: s.engine.Namespace(), Logger: s.opts.Logger.Named("temporal"),
		Interceptors: s.tracing.Interceptors()}
}

// Conn is the stack's own connection to Temporal.
func (s *Stack) Conn() *temporalx.Conn { return s.conn }

// Fleet is the simulated fleet.
func (s *Stack) Fleet() *simfleet.Client { return s.fleet }

// BridgeURL is where the alert bridge listens.
func (s *Stack) BridgeURL() string { return "http://" + s.bridge.Addr() }

// WorkerURL is the worker's admin port.
func (s *Stack) WorkerURL() string { return "http://" + s.worker.AdminAddr() }

// PrometheusURL and AlertmanagerURL are empty without monitoring.
func (s *Stack) PrometheusURL() string {
	if s.prom == nil {
		return ""
	}
	return s.prom.URL()
}

// AlertmanagerURL is empty without monitoring.
func (s *Stack) AlertmanagerURL() string {
	if s.alerts == nil {
		return ""
	}
	return s.alerts.URL()
}

// UIURL is the Temporal Web UI.
func (s *Stack) UIURL() string { return "http://" + s.engine.UIAddr() }

// RemediationsURL is the Web UI's list of remediations, without the questions
// of the command line.
func (s *Stack) RemediationsURL() string {
	query := url.QueryEscape("`WorkflowType`=\"" + contract.WorkflowRemediate + "\"")
	return s.UIURL() + "/namespaces/" + s.engine.Namespace() + "/workflows?query=" + query
}

func (s *Stack) webURL() string {
	if s.opts.NoUI {
		return ""
	}
	return s.UIURL() + "/namespaces/" + s.engine.Namespace()
}

// declare writes the fleet directory for the devices that run.
func (s *Stack) declare(ctx context.Context) error {
	running, err := s.fleet.Devices(ctx)
	if err != nil {
		return err
	}
	declared := make([]sample.Device, 0, len(running))
	for _, d := range running {
		out := sample.Of(d)
		if s.opts.Address != nil {
			if out.Address, err = s.opts.Address(d.ID, d.Address); err != nil {
				return err
			}
		}
		declared = append(declared, out)
	}
	if foreign, err := sample.Foreign(s.FleetDir()); err != nil || foreign {
		if foreign {
			fmt.Fprintf(s.opts.Progress, "the fleet directory %s is left as it is: its fleet.yaml is not dev's\n", s.FleetDir())
		}
		return err
	}
	// The fleet's own control API answers as long as the fleet runs: what a
	// router at the site is to real devices.
	return sample.Write(s.FleetDir(), strings.TrimPrefix(s.fleet.URL(), "http://"), declared)
}
