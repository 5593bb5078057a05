package control

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"edgefleet/workflows/contract"
)

// Registry is what the registry has of every device, by ID, and what the
// worker that answered runs.
type Registry struct {
	Devices          map[string]contract.RegisteredDevice
	Revision, Commit string
}

// registry reads all pages.
func (s *station) registry(ctx context.Context) (*Registry, error) {
	out := &Registry{Devices: map[string]contract.RegisteredDevice{}}
	for q := (contract.RegistryQuery{}); ; {
		query := q
		answer, err := s.ask(ctx, contract.InspectInput{Question: contract.AskRegistryList, Registry: &query})
		if err != nil {
			return nil, err
		}
		page := answer.Registry
		if page == nil {
			return nil, fmt.Errorf("the worker gave no answer to %s: it is of another version than this provider", contract.AskRegistryList)
		}
		for _, d := range page.Devices {
			out.Devices[d.DeviceID] = d
		}
		out.Revision, out.Commit = page.Revision, page.Commit
		if q.After = page.Next; q.After == "" {
			return out, nil
		}
	}
}

// running asks which revision the workers run, and for nothing else.
func (s *station) running(ctx context.Context) (string, error) {
	answer, err := s.ask(ctx, contract.InspectInput{Question: contract.AskRegistryList, Registry: &contract.RegistryQuery{Limit: 1}})
	if err != nil {
		return "", err
	}
	if answer.Registry == nil {
		return "", fmt.Errorf("the worker gave no answer to %s: it is of another version than this provider", contract.AskRegistryList)
	}
	return answer.Registry.Revision, nil
}

// Drift says how a plan learns of drift.
type Drift string

// The ways.
const (
	// DriftScan compares the devices with their baselines now.
	DriftScan Drift = "scan"
	// DriftReport takes what the last scan found, whoever started it.
	DriftReport Drift = "report"
	// DriftOff does not look.
	DriftOff Drift = "off"
)

// Facts are what is known of the fleet at one moment: the registry, and what
// was found of drift. They are fetched once, when first asked for, however many
// ask. A Facts is safe for concurrent use.
type Facts struct {
	station *station
	drift   Drift
	// compared says which devices a scan looks at.
	compared func(*Registry) []string

	registry once[*Registry]
	evidence once[map[string]contract.DeviceEvidence]
}

// Registry returns what the registry has.
func (f *Facts) Registry(ctx context.Context) (*Registry, error) {
	return f.registry.get(ctx, f.station.registry)
}

// Evidence returns what is known of the devices' configurations, by ID; with
// DriftOff, nothing.
func (f *Facts) Evidence(ctx context.Context) (map[string]contract.DeviceEvidence, error) {
	if f.drift == DriftOff {
		return nil, nil
	}
	return f.evidence.get(ctx, func(ctx context.Context) (map[string]contract.DeviceEvidence, error) {
		if f.drift == DriftScan {
			registry, err := f.Registry(ctx)
			if err != nil {
				return nil, err
			}
			if err := f.station.scan(ctx, f.compared(registry)); err != nil {
				return nil, fmt.Errorf("nobody could find out whether devices have drifted: %w; drift = %q in the provider's configuration plans with what the last scan found", err, DriftReport)
			}
		}
		return f.station.evidence(ctx)
	})
}

// scan looks for drift now, and returns when all were looked at.
func (s *station) scan(ctx context.Context, ids []string) error {
	slices.Sort(ids)
	for page := range slices.Chunk(ids, contract.MaxSelection) {
		in := contract.DriftScanInput{Selection: contract.Selection{IDs: page}, Actor: s.actor(), Reason: "a Terraform plan"}
		run, err := s.start(ctx, contract.DriftScanID(s.nonce()), fmt.Sprintf("look for drift, %d devices: a Terraform plan", len(page)),
			contract.WorkflowDriftScan, scanTimeout, in)
		if err != nil {
			return err
		}
		if err := run.Get(ctx, nil); err != nil {
			return s.plain(ctx, err)
		}
	}
	return nil
}

func (s *station) evidence(ctx context.Context) (map[string]contract.DeviceEvidence, error) {
	out := map[string]contract.DeviceEvidence{}
	for q := (contract.EvidenceQuery{}); ; {
		query := q
		answer, err := s.ask(ctx, contract.InspectInput{Question: contract.AskDriftReport, Evidence: &query})
		if err != nil {
			return nil, err
		}
		if answer.Evidence == nil {
			return nil, fmt.Errorf("the worker gave no answer to %s: it is of another version than this provider", contract.AskDriftReport)
		}
		for _, d := range answer.Evidence.Devices {
			out[d.DeviceID] = d
		}
		if q.After = answer.Evidence.Next; q.After == "" {
			return out, nil
		}
	}
}

// once is a value that is fetched when it is first asked for. A failure is
// not kept.
type once[T any] struct {
	mu    sync.Mutex
	have  bool
	value T
}

func (o *once[T]) get(ctx context.Context, fetch func(context.Context) (T, error)) (T, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.have {
		return o.value, nil
	}
	value, err := fetch(ctx)
	if err == nil {
		o.value, o.have = value, true
	}
	return value, err
}
