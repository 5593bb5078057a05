package fleet

import (
	"context"

	"edgefleet/devices"
	"edgefleet/devices/baseline"
)

// SettingDrift is a setting that differs from the baseline, as
// devices.Point.Text renders its values.
type SettingDrift struct {
	Setting, Want, Got, Unit string
	// Diff is how a file on a host differs, as a unified diff from what is
	// wanted to what is there, at most 8 KiB and 200 lines. It is set by Drift
	// only, and not for secrets.
	Diff string
}

// DriftReport is the comparison of a device with its baseline.
type DriftReport struct {
	DeviceID string
	// Baseline and Version are empty when no baseline selects the device:
	// then there is nothing to compare, and Checked is 0.
	Baseline, Version string
	// Checked counts the settings that were compared.
	Checked int
	// Drifted in the order of the baseline's settings.
	Drifted []SettingDrift
	// Ignored names the settings that the baseline leaves to others: they were
	// not compared.
	Ignored []string
}

// Drift compares a device with its baseline. A setting that cannot be read is
// an error, never an absence of drift. A device without a baseline has nothing
// to compare, and is not asked.
//
// It takes one request for each contiguous run of the baseline's settings (at
// most 100 registers each): one for a whole feeder-rtu.
func (o *Operator) Drift(ctx context.Context, id string) (DriftReport, error) {
	d, _, err := o.fleet.Device(id)
	if err != nil {
		return DriftReport{}, err
	}
	desired, ok, err := o.desired(ctx, d)
	if err != nil {
		return DriftReport{}, err
	}
	if !ok {
		return DriftReport{DeviceID: id}, nil
	}
	t, err := o.open(ctx, id)
	if err != nil {
		return DriftReport{}, err
	}
	defer t.link.Close()
	got, err := t.read(ctx, points(desired.Settings))
	if err != nil {
		return DriftReport{}, err
	}
	report := o.compare(id, desired, got)
	addDiffs(&report, desired.Settings, got)
	return report, nil
}

func (t texts) compare(id string, desired baseline.Desired, got []devices.Value) DriftReport {
	report := DriftReport{DeviceID: id, Baseline: desired.Baseline, Version: desired.Version, Checked: len(desired.Settings), Ignored: desired.Ignored}
	for i, s := range desired.Settings {
		if got[i] != s.Value {
			report.Drifted = append(report.Drifted, t.drifted(s, got[i]))
		}
	}
	return report
}

func (t texts) drifted(s devices.Setting, got devices.Value) SettingDrift {
	return SettingDrift{Setting: s.Point.Name, Want: t.text(s.Point, s.Value), Got: t.text(s.Point, got), Unit: s.Point.Unit}
}

func points(settings []devices.Setting) []devices.Point {
	out := make([]devices.Point, len(settings))
	for i, s := range settings {
		out[i] = s.Point
	}
	return out
}
