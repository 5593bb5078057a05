package sunspec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"edgefleet/devices"
)

// WriteWithin returns how long a Write of the settings may take on a device
// that is slow and answers, as the sum of the bounds of its steps: for each
// model of whose curve there are settings, the bound of an adoption and the
// requests around it, over a serial bus. Without any it is 0, because plain
// settings take no longer than those of any other Modbus device.
func WriteWithin(settings []devices.Setting) time.Duration {
	const around = 30 * time.Second
	models := map[ref]bool{}
	for _, s := range settings {
		if r, err := parseRef(s.Point.SunSpec); err == nil && strings.HasPrefix(r.point, inCurve) {
			models[ref{r.model, r.nth, ""}] = true
		}
	}
	if len(models) == 0 {
		return 0
	}
	return around + time.Duration(len(models))*(DefaultAdoptWithin+around)
}

// writing is one Write under way.
type writing struct {
	*link
	ctx   context.Context
	chain *Chain
	// now and last are plain settings: last is what enables a function.
	now, last []devices.Setting
	curves    []*CurvePlan
	// done are the names of what was written so far.
	done []string
}

// Write makes the settings true, in the order that Link states.
func (l *link) Write(ctx context.Context, settings []devices.Setting) error {
	own, others, err := l.sort(len(settings), func(i int) devices.Point { return settings[i].Point })
	if err != nil {
		return l.fail(devices.Unsupported, "write", err)
	}
	var plain []devices.Setting
	for _, i := range others {
		plain = append(plain, settings[i])
	}
	if len(own) == 0 {
		return l.inner.Write(ctx, plain)
	}
	values, err := l.check(own, settings)
	if err != nil {
		return err
	}
	return l.with(ctx, "write", func(chain *Chain) error {
		w := &writing{link: l, ctx: ctx, chain: chain, now: plain}
		if err := w.plan(own, values); err != nil {
			return err
		}
		return w.run()
	})
}

// check finds what is wrong with the settings without asking the device, and
// returns their canonical values.
func (l *link) check(own []named, settings []devices.Setting) ([]devices.Value, error) {
	values := make([]devices.Value, len(settings))
	seen := map[ref]string{}
	for _, p := range own {
		if first, twice := seen[p.ref]; twice {
			return nil, l.fail(devices.Rejected, "write", fmt.Errorf("%s and %s are the same point %s", first, p.given.Name, p.ref))
		}
		seen[p.ref] = p.given.Name
		if p.def != nil {
			switch p.def.Use {
			case ControlUse:
				return nil, l.fail(devices.Unsupported, "write", fmt.Errorf("%s is a control, a command of the moment; these are never written", p.label()))
			case Measurement:
				return nil, l.fail(devices.Unsupported, "write", fmt.Errorf("%s can only be read", p.label()))
			}
		}
		v, err := p.given.Canonical(settings[p.index].Value)
		if err != nil {
			return nil, l.fail(devices.Rejected, "write", err)
		}
		values[p.index] = v
	}
	return values, nil
}

// plan asks the device what the settings mean there. Curves come first, so that
// the scale factors of plain settings are read just before these are written.
func (w *writing) plan(own []named, values []devices.Value) error {
	var scalars []named
	for _, group := range byModel(own) {
		want := Wanted{Settings: map[string]any{}, Tables: map[string][][]float64{}, Exact: true}
		for _, p := range group {
			if p.def != nil {
				scalars = append(scalars, p)
				continue
			}
			if err := w.want(&want, p, values[p.index]); err != nil {
				return w.fail(devices.Rejected, "write", fmt.Errorf("%s: %w", p.label(), err))
			}
		}
		if len(want.Settings)+len(want.Tables) == 0 {
			continue
		}
		plan, err := w.chain.PlanCurve(w.ctx, w.inner, group[0].model.String(), want)
		if err != nil {
			return err
		}
		w.curves = append(w.curves, plan)
	}
	if len(scalars) == 0 {
		return nil
	}
	names := make([]string, len(scalars))
	for i, p := range scalars {
		names[i] = p.ref.String()
	}
	mapping, err := w.chain.Map(w.ctx, w.inner, names)
	if err != nil {
		return err
	}
	for i, p := range scalars {
		mapped := mapping.Points[i]
		mapped.Name = p.given.Name
		held, err := fits(mapped, values[p.index])
		if err != nil {
			return w.fail(devices.Rejected, "write", err)
		}
		s := devices.Setting{Point: mapped, Value: held}
		if w.enables(p, s) {
			w.last = append(w.last, s)
		} else {
			w.now = append(w.now, s)
		}
	}
	return nil
}

// want adds a part of a curve to what is wanted of it.
func (w *writing) want(want *Wanted, p named, v devices.Value) error {
	m, _ := w.catalog.Model(p.model.model)
	t := m.Curves.table(p.part)
	if t == nil {
		want.Settings[p.part] = v
		return nil
	}
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("%v is not the text of a table", v)
	}
	rows, err := devices.ParseRows(text)
	if err != nil {
		return err
	}
	if len(rows) == 0 && t.Name == "" {
		return errors.New("a curve without points is none; disable the function instead")
	}
	want.Tables[t.Name] = rows
	return nil
}

// enables says that a setting switches on a function with curves: this comes
// when its curve is in force, and no function runs on a curve that is not
// wanted. One that switches off comes before.
func (w *writing) enables(p named, s devices.Setting) bool {
	m, _ := w.catalog.Model(p.model.model)
	if m.Curves == nil || p.def.Name != "Ena" && p.def.Name != "ModEna" {
		return false
	}
	raw, err := s.Point.ToRaw(s.Value)
	return err != nil || raw.Int != 0
}

func (w *writing) run() error {
	if err := w.write(w.now); err != nil {
		return err
	}
	for _, plan := range w.curves {
		if plan.Empty() {
			continue
		}
		o, report := w.adopt, w.adopt.Progress
		begun := false
		o.Progress = func(words string) {
			begun = true
			report(words)
		}
		if err := plan.Apply(w.ctx, w.inner, o); err != nil {
			// A slot that was written is not in force, and is a change.
			return w.later(err, begun)
		}
		w.done = append(w.done, "the curve of model "+plan.Model)
	}
	return w.write(w.last)
}

func (w *writing) write(settings []devices.Setting) error {
	if len(settings) == 0 {
		return nil
	}
	if err := w.inner.Write(w.ctx, settings); err != nil {
		return w.later(err, false)
	}
	for _, s := range settings {
		w.done = append(w.done, s.Point.Name)
	}
	return nil
}

// later makes an error that would say that nothing was written one that says
// that it is not known how the device is now, when something was. begun says
// that this very step may have written something.
func (w *writing) later(err error, begun bool) error {
	if len(w.done) == 0 && !begun {
		return err
	}
	kind, op := devices.KindOf(err), "write"
	if slices.Contains([]devices.Kind{"", devices.Unreachable, devices.OwnPath, devices.Auth}, kind) {
		kind = devices.Indeterminate
	}
	var e *devices.Error
	if errors.As(err, &e) {
		op, err = e.Op, e.Err
	}
	if len(w.done) > 0 {
		err = fmt.Errorf("%w (before it, written: %s)", err, strings.Join(w.done, ", "))
	}
	return w.fail(kind, op, err)
}
