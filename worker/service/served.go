package service

import (
	"maps"
	"slices"

	"edgefleet/activities"
	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/internal/store"
)

// served is what a worker serves at a time: one revision of the fleet, and the
// regions of it that are this worker's. It does not change and is swapped as a
// whole, so that whoever took it works with one revision to the end.
type served struct {
	operator *fleet.Operator
	regions  []string
	// commit is where the directory was checked out from, or "".
	commit string
	// former are the revisions that counted before, the last ones first.
	former []string
}

// maxFormer bounds the revisions that are remembered: what is planned now was
// begun minutes ago.
const maxFormer = 16

// after is what is served when this one takes the place of another.
func (s served) after(before *served) *served {
	s.former = before.former
	if was := before.declared().Revision(); was != s.declared().Revision() {
		s.former = append([]string{was}, s.former[:min(len(s.former), maxFormer-1)]...)
	}
	return &s
}

func (s *served) declared() *fleetdir.Fleet { return s.operator.Fleet() }

// serve makes what is served of a loaded fleet. What would keep a worker from
// starting with this fleet keeps it from taking it up: a protocol without a
// driver, a region of --regions that the fleet does not have.
func (w *Worker) serve(declared *fleetdir.Fleet) (*served, error) {
	regions, err := w.opts.regions(slices.Sorted(maps.Keys(declared.Inventory.Regions)))
	if err != nil {
		return nil, err
	}
	drivers := make([]devices.Driver, len(w.drivers))
	for i, d := range w.drivers {
		drivers[i] = traced(d, w.opts.Tracing)
	}
	operator, err := fleet.New(fleet.Options{Fleet: declared, Drivers: drivers, Dialer: w.dialer,
		SecretKey: func() []byte { return w.secretKey }, Artifacts: w.artifacts, Credentials: w.credentials, SunSpec: w.sunspec, Pins: activities.Pins(func() *store.Store { return w.store }),
		Assigned: activities.Assigned(func() *store.Store { return w.store })})
	if err != nil {
		return nil, err
	}
	return &served{operator: operator, regions: regions, commit: fleetdir.Commit(declared.Dir)}, nil
}
