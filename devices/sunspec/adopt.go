package sunspec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"edgefleet/devices"
)

// Results of an adoption, as AdptCrvRslt and AdptCtlRslt give them.
const (
	adoptInProgress = 0
	adoptCompleted  = 1
	adoptFailed     = 2
)

// How long an adoption may take, and how often the device is asked, when the
// options say nothing.
const (
	DefaultAdoptWithin = 10 * time.Second
	DefaultAdoptPoll   = 500 * time.Millisecond
)

// CurvePlan is a change of the curve in force, as the device was when it was
// planned. It holds for as long as the device stays so.
type CurvePlan struct {
	// Model is the model's reference: "705".
	Model string
	// Slot is the stored curve that will be written and adopted. It is not the
	// one in force, and not read-only. 0 when nothing is to be done.
	Slot int
	// Before is the curve in force, whose Index is 0 when there is none, and
	// After is what shall be.
	Before, After Curve
	// Changes are those from Before to After; none means that the device has
	// the wanted curve.
	Changes []Change

	chain *Chain
	seen  *Curves
}

// Empty says that the device has the wanted curve already.
func (p *CurvePlan) Empty() bool { return len(p.Changes) == 0 && p.Before.Index != 0 }

// PlanCurve reads the curves of a model and says what has to be done for the
// wanted one to be in force. It writes nothing. A device that has no curve
// which may be written, or cannot hold the wanted one, is an error of kind
// Unsupported; one that is adopting another curve just now is Busy.
func (c *Chain) PlanCurve(ctx context.Context, link devices.Link, model string, want Wanted) (*CurvePlan, error) {
	op := "plan a curve of SunSpec model " + model
	cs, err := c.Curves(ctx, link, model)
	if err != nil {
		return nil, err
	}
	target, err := cs.target(want)
	var no *unfit
	if errors.As(err, &no) {
		return nil, c.fail(devices.Rejected, op, err)
	}
	if err != nil {
		return nil, c.fail(devices.Unsupported, op, err)
	}
	plan := &CurvePlan{Model: cs.Model, After: target, chain: c, seen: cs}
	plan.Before, _ = cs.InForce()
	plan.Changes = cs.differ(plan.Before, target)
	if plan.Empty() {
		return plan, nil
	}
	if cs.adopting() {
		return nil, c.fail(devices.Busy, op, fmt.Errorf("the device is adopting curve %d", cs.requested()))
	}
	// A slot that holds the wanted curve already spares its flash a write.
	slot := 0
	for _, curve := range cs.Curves {
		if curve.ReadOnly || curve.Index == cs.Active {
			continue
		}
		if slot == 0 || len(cs.differ(curve, target)) == 0 {
			slot = curve.Index
		}
		if len(cs.differ(curve, target)) == 0 {
			break
		}
	}
	if slot == 0 {
		return nil, c.fail(devices.Unsupported, op, fmt.Errorf("none of the device's %d curves can be written without touching the one in force", len(cs.Curves)))
	}
	if _, err := cs.settings(slot, target); err != nil {
		return nil, c.fail(devices.Unsupported, op, err)
	}
	plan.Slot, plan.After.Index = slot, slot
	return plan, nil
}

// adopting says that the device has been asked to adopt a curve and has not
// said how it went. A device that was never asked may have the same result.
func (cs *Curves) adopting() bool {
	return cs.def.Curves.Adopt == adoptByRequest && cs.result() == adoptInProgress && cs.requested() != 0
}

// AdoptOptions are the bounds of an adoption; zero values are defaults.
type AdoptOptions struct {
	// Within bounds the wait for the device (0: 10 s), Poll is the time
	// before each question (0: 500 ms).
	Within, Poll time.Duration
	// Progress, unless nil, is told each step in words.
	Progress func(string)
}

func (o AdoptOptions) complete() AdoptOptions {
	if o.Within <= 0 {
		o.Within = DefaultAdoptWithin
	}
	if o.Poll <= 0 {
		o.Poll = DefaultAdoptPoll
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

// Apply puts the planned curve in force:
//
//  1. The model is read again. When it is not as planned, nothing is written,
//     and the error has kind Rejected.
//  2. The slot is written, unless it holds the curve, and read back. The curve
//     in force is untouched by that.
//  3. The device is told to adopt the slot: AdptCrvReq (AdptCtlReq in model
//     711), or ActCrv in the older models.
//  4. It is asked until it says that it did (its result is 1) and the curve in
//     force is the wanted one.
//
// An error of kind Indeterminate says that a write's outcome is not known, or
// that the device has not said within the bound how the adoption went: read the
// curves again before anything else. Rejected after the request says that the
// device refused, and that the curve in force is as the device left it.
func (p *CurvePlan) Apply(ctx context.Context, link devices.Link, o AdoptOptions) error {
	o = o.complete()
	op := fmt.Sprintf("adopt curve %d of SunSpec model %s", p.Slot, p.Model)
	if p.Empty() {
		return ctx.Err()
	}
	now, err := p.chain.Curves(ctx, link, p.Model)
	if err != nil {
		return err
	}
	if what := p.moved(now); what != "" {
		return p.chain.fail(devices.Rejected, op, errors.New(what+" since the change was planned; plan it again"))
	}
	if err := p.store(ctx, link, op, now, o); err != nil {
		return err
	}
	request := now.def.point(now.def.Curves.Request)
	o.Progress(fmt.Sprintf("ask the device to adopt curve %d", p.Slot))
	err = link.Write(ctx, []devices.Setting{{
		Point: request.point(request.Name, now.at.Address+uint16(request.offset), 1), Value: int64(p.Slot)}})
	if err != nil && devices.KindOf(err) != devices.Indeterminate {
		return err
	}
	// A request whose answer was lost is settled by what follows.
	return p.await(ctx, link, op, now.result(), o)
}

// moved says in words what differs from the plan, or "".
func (p *CurvePlan) moved(now *Curves) string {
	slot := now.Curves[min(p.Slot, len(now.Curves))-1]
	current, _ := now.InForce()
	switch {
	case now.layout.length != p.seen.layout.length || len(now.Curves) != len(p.seen.Curves):
		return "the layout of the curves has changed"
	case now.Active != p.seen.Active || len(now.differ(current, p.Before)) > 0:
		return "the curve in force has changed"
	case slot.ReadOnly:
		return fmt.Sprintf("curve %d has become read-only", p.Slot)
	case slot.Index == now.Active:
		return fmt.Sprintf("curve %d has come into force", p.Slot)
	case now.adopting():
		return fmt.Sprintf("the device has begun to adopt curve %d", now.requested())
	}
	for i := range now.def.Points {
		if d := &now.def.Points[i]; d.Type == SunSSF && !slices.Equal(now.points.of(d), p.seen.points.of(d)) {
			return "the scale factor " + d.Name + " has changed"
		}
	}
	return ""
}

// store writes the slot and reads it back.
func (p *CurvePlan) store(ctx context.Context, link devices.Link, op string, now *Curves, o AdoptOptions) error {
	if len(now.differ(now.Curves[p.Slot-1], p.After)) == 0 {
		return nil
	}
	settings, err := now.settings(p.Slot, p.After)
	if err != nil {
		return p.chain.fail(devices.Unsupported, op, err)
	}
	o.Progress(fmt.Sprintf("write curve %d, which is not in force", p.Slot))
	if err := link.Write(ctx, settings); err != nil {
		return err
	}
	stored, err := p.chain.Curves(ctx, link, p.Model)
	if err != nil {
		return err
	}
	if stored.Active == p.Slot {
		return p.chain.fail(devices.Rejected, op, fmt.Errorf("curve %d came into force while it was written", p.Slot))
	}
	if changes := stored.differ(stored.Curves[p.Slot-1], p.After); len(changes) > 0 {
		return p.chain.fail(devices.Rejected, op, fmt.Errorf("the device did not store the curve: %s is %s and should be %s; it was not adopted",
			changes[0].What, changes[0].Before, changes[0].After))
	}
	return nil
}

// settings are what has to be written for a stored curve to hold a content.
func (cs *Curves) settings(index int, curve Curve) ([]devices.Setting, error) {
	var out []devices.Setting
	start := cs.start(index)
	add := func(p *PointDef, offset int, v Value) error {
		scale, err := cs.def.scale(p, cs.points)
		if err != nil {
			return err
		}
		point := p.point(fmt.Sprintf("%s of curve %d", p.Name, index), start+uint16(offset), scale)
		value, err := point.Canonical(v)
		if err == nil {
			out = append(out, devices.Setting{Point: point, Value: value})
		}
		return err
	}
	for offset, p := range cs.beside() {
		v, known := curve.Settings[p.Name]
		if p.Name == activePoints {
			v, known = int64(len(curve.Tables[""])), true
		}
		if !known || v == (NotImplemented{}) {
			continue
		}
		if err := add(p, offset, v); err != nil {
			return nil, err
		}
	}
	for i, t := range cs.def.Curves.Tables {
		l, rows := cs.layout.tables[i], curve.Tables[t.Name]
		if l.counter >= 0 {
			counter := &PointDef{Name: t.Name + " " + t.Counter, Type: Uint16, Size: 1, Use: SettingUse}
			if err := add(counter, l.counter, int64(len(rows))); err != nil {
				return nil, err
			}
		}
		for row, cells := range rows {
			for j := range t.Fields {
				f := t.Fields[j]
				f.Name = fmt.Sprintf("%s%d", f.Name, row+1)
				if err := add(&f, l.first+row*l.width+f.offset, cells[j]); err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}

// await asks the device until the wanted curve is in force.
func (p *CurvePlan) await(ctx context.Context, link devices.Link, op string, before int, o AdoptOptions) error {
	byRequest := p.seen.def.Curves.Adopt == adoptByRequest
	// The result of an earlier adoption stays until the device begins with
	// this one, so an earlier failure is not taken for this one's at once.
	fresh := !byRequest || before != adoptFailed
	giveUp := time.Now().Add(o.Within)
	var last error
	for {
		if err := pause(ctx, min(o.Poll, max(0, time.Until(giveUp)))); err != nil {
			return p.chain.fail(devices.Indeterminate, op, fmt.Errorf("waiting for the device: %w", err))
		}
		over := !time.Now().Before(giveUp)
		now, err := p.chain.Curves(ctx, link, p.Model)
		switch kind := devices.KindOf(err); {
		case err == nil:
			current, _ := now.InForce()
			same := len(now.differ(current, p.After)) == 0 && (byRequest || now.Active == p.Slot)
			result := now.result()
			fresh = fresh || result != adoptFailed
			switch {
			case same && result == adoptCompleted:
				o.Progress(fmt.Sprintf("curve %d is in force", p.Slot))
				return nil
			case result == adoptFailed && (fresh || over):
				return p.chain.fail(devices.Rejected, op, errors.New("the device says that it could not adopt the curve"))
			case result == adoptInProgress:
				last = errors.New("the device is still adopting the curve")
			default:
				last = errors.New("another curve than the wanted one is in force")
			}
		case kind == devices.Busy || kind == devices.Unreachable:
			// A device may be deaf for a moment while it takes over a curve.
			last = err
		default:
			return p.chain.fail(devices.Indeterminate, op, fmt.Errorf("asking how it went: %w", err))
		}
		if over {
			return p.chain.fail(devices.Indeterminate, op, fmt.Errorf("within %v: %w", o.Within, last))
		}
		o.Progress("wait: " + last.Error())
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
