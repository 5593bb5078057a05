package fleet

import (
	"context"
	"fmt"
	"strings"

	"edgefleet/devices"
	"edgefleet/devices/baseline"
)

// HealthReport is whether a device is well, and in words why.
type HealthReport struct {
	DeviceID string
	Healthy  bool
	Detail   string
}

// Verify says whether a device is healthy: it answers, it is what it is
// declared to be, its profile's health conditions hold, and nothing has
// drifted. A device that does not answer is not healthy; when the worker's own
// path is down the error has kind OwnPath, and when something could not be
// read it has the read's kind.
//
// It takes one request for the identity, one for each table and run of health
// points, and one for each run of settings: three for a feeder-rtu. A dark
// device costs a Probe besides.
func (o *Operator) Verify(ctx context.Context, id string) (HealthReport, error) {
	t, err := o.open(ctx, id)
	if err != nil {
		return HealthReport{}, err
	}
	defer t.link.Close()
	report, err := o.verify(ctx, t)
	if devices.KindOf(err) != devices.Unreachable {
		return report, err
	}
	diagnosis, probeErr := o.Probe(ctx, id)
	switch {
	case probeErr != nil:
		return HealthReport{}, probeErr
	case diagnosis.Reachable:
		// It came back between the two: what was asked is still not known.
		return HealthReport{}, err
	}
	return HealthReport{DeviceID: id, Detail: diagnosis.Summary}, nil
}

func (o *Operator) verify(ctx context.Context, t *target) (HealthReport, error) {
	desired, hasBaseline, err := o.desired(ctx, t.Device)
	if err != nil {
		return HealthReport{DeviceID: t.ID}, err
	}
	return verifyAgainst(ctx, t, desired, hasBaseline)
}

// verifyAgainst compares with the desired settings, if there are any.
func verifyAgainst(ctx context.Context, t *target, desired baseline.Desired, hasBaseline bool) (HealthReport, error) {
	report := HealthReport{DeviceID: t.ID}
	mismatch, err := t.identityMismatch(ctx)
	if err != nil {
		return report, err
	}
	if mismatch != "" {
		report.Detail = mismatch + "."
		return report, nil
	}
	health := make([]devices.Point, len(t.model.Health))
	for i, c := range t.model.Health {
		health[i] = c.Point
	}
	got, err := t.read(ctx, append(health, points(desired.Settings)...))
	if err != nil {
		return report, err
	}
	var wrong, good []string
	for i, c := range t.model.Health {
		if text := t.text(c.Point, got[i]); c.Holds(got[i]) {
			good = append(good, fmt.Sprintf("%s is %s", c.Point.Name, text))
		} else {
			wrong = append(wrong, fmt.Sprintf("%s is %s, and healthy means %s", c.Point.Name, text, c))
		}
	}
	drift := t.compare(t.ID, desired, got[len(health):])
	for _, s := range drift.Drifted {
		wrong = append(wrong, strings.TrimSpace(fmt.Sprintf("%s is %s, and %s %s wants %s %s", s.Setting, s.Got, drift.Baseline, drift.Version, s.Want, s.Unit)))
	}
	if hasBaseline {
		good = append(good, fmt.Sprintf("%d settings equal %s %s", drift.Checked-len(drift.Drifted), drift.Baseline, drift.Version))
	} else {
		good = append(good, "no baseline selects it")
	}
	report.Healthy = len(wrong) == 0
	if report.Healthy {
		report.Detail = fmt.Sprintf("%s is the %s that it should be; %s.", t.ID, t.model.Name, strings.Join(good, "; "))
	} else {
		report.Detail = fmt.Sprintf("%s is not healthy: %s.", t.ID, strings.Join(wrong, "; "))
	}
	return report, nil
}
