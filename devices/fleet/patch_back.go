package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/patch"
)

func (p *patching) backItem() string { return "roll back " + p.base() }

// back makes the device run what it ran before, and ends the installation with
// what came of that; why says why it has to.
func (p *patching) back(ctx context.Context, install Change, why error) error {
	give := func(o Outcome, text string) error {
		p.report.Unsafe = o == Unknown
		return p.end(ctx, install, o, text, p.fail(devices.Rejected, "install a patch", errors.New(text)))
	}
	if !p.how.Reverts() {
		return give(Unknown, fmt.Sprintf("%v; it runs %s, and its profile has no rollback: look at it on site", why, p.report.Now))
	}
	err := p.revert(ctx, p.backItem())
	switch {
	case err == nil:
		p.report.RolledBack = true
		return give(Failed, fmt.Sprintf("%v; it was rolled back, runs %s and is well", why, p.report.Now))
	case devices.KindOf(err) == devices.Rejected || devices.KindOf(err) == devices.Unsupported:
		return give(Unknown, fmt.Sprintf("%v; and it could not be rolled back: %v", why, err))
	}
	// Both intents stay open: the next attempt goes on with the rollback.
	return errors.Join(err, why)
}

// revert makes the device run From again, under an intent of its own. Kind
// Rejected says that it does not, for good.
func (p *patching) revert(ctx context.Context, item string) error {
	c := p.change(item, ActionRevertPatch, p.how.Within+time.Minute)
	c.Before, c.After = c.After, c.Before
	delete(c.Before, "sha256")
	prior, err := p.journal.Prior(ctx, item)
	if err != nil {
		return fmt.Errorf("%s: look for an earlier attempt to roll back: %w", p.ID, err)
	}
	if prior != nil && prior.Outcome != "" {
		if prior.Outcome == Applied || prior.Outcome == Confirmed {
			p.report.Now = p.work.From
			return nil
		}
		return p.fail(devices.Rejected, "roll back a patch", errors.New(prior.Detail))
	}
	if prior == nil {
		if err := p.checkInterlock(ctx); err != nil {
			return err
		}
	}
	if err := p.journal.Intent(ctx, c, nil); err != nil {
		return fmt.Errorf("%s: record the intent, so nothing was rolled back: %w", p.ID, err)
	}
	deadline := time.Now().Add(p.how.Within)
	bounded, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	outcome := Applied
	var cause error
	if now, err := p.version(ctx); prior != nil && err == nil && now == p.work.From {
		// An attempt that was interrupted had done it, but for the restart.
		outcome, p.report.Now = Confirmed, now
	} else {
		say(p.progress, "rolling %s back to %s", p.ID, p.work.From)
		cause = p.inst.Revert(bounded)
		switch devices.KindOf(cause) {
		case devices.Unreachable, devices.OwnPath, devices.Busy, "":
			if cause != nil {
				return p.fail(devices.Indeterminate, "roll back a patch", cause)
			}
		}
	}
	cause = errors.Join(cause, p.restart(bounded))
	return p.reverted(ctx, c, deadline, outcome, cause)
}

// reverted finds out what came of a rollback.
func (p *patching) reverted(ctx context.Context, c Change, deadline time.Time, good Outcome, cause error) error {
	refused := cause != nil && devices.KindOf(cause) != devices.Indeterminate
	now, err := p.await(ctx, deadline, func(v string) bool { return refused || v == p.work.From })
	if err != nil {
		return p.fail(devices.Indeterminate, "find out what it runs", errors.Join(err, cause))
	}
	detail := fmt.Sprintf("it runs %s, and %s was to run again", now, p.work.From)
	if now == p.work.From {
		_, sick, err := p.well(ctx, deadline)
		if err != nil {
			return p.fail(devices.Indeterminate, "find out whether it is well", err)
		}
		if sick == nil {
			return p.end(ctx, c, good, fmt.Sprintf("it runs %s again, and is well", now), nil)
		}
		detail = fmt.Sprintf("it runs %s again, and is not well: %v", now, sick)
	}
	if cause != nil {
		detail += fmt.Sprintf(" (%v)", cause)
	}
	p.report.Unsafe = true
	return p.end(ctx, c, Unknown, detail, p.fail(devices.Rejected, "roll back a patch", errors.New(detail)))
}

// RevertPatch gives a device back what it ran before a patch: a device that runs
// From is reported as it is, one that runs anything but the patch is an error
// that wraps ErrChanged. Where the profile has no rollback the error has kind
// Unsupported. The order is as in ApplyPatch.
func (o *Operator) RevertPatch(ctx context.Context, w PatchWork, j Journal, progress func(string)) (PatchReport, error) {
	p, err := o.patching(ctx, w, j, progress)
	if err != nil {
		return PatchReport{}, err
	}
	defer p.close()
	err = p.takeBack(ctx)
	return p.report, err
}

func (p *patching) takeBack(ctx context.Context) error {
	item := "take back " + p.base()
	prior, err := p.journal.Prior(ctx, item)
	if err != nil {
		return fmt.Errorf("%s: look for an earlier attempt to roll back: %w", p.ID, err)
	}
	if err := p.connect(ctx); err != nil {
		return err
	}
	if prior == nil {
		now, err := p.version(ctx)
		if err != nil {
			return err
		}
		p.report.Now = now
		switch {
		case now == p.work.From:
			p.report.Detail = "it runs " + now
			return nil
		case !patch.Runs(now, p.work.Patch.Version):
			return p.fail(devices.Rejected, "compare with the plan", fmt.Errorf("%w: it runs %s, and %s was installed", ErrChanged, now, p.work.Patch.Version))
		case !p.how.Reverts():
			return p.fail(devices.Unsupported, "roll back a patch", fmt.Errorf("the profile %s has no rollback; patch it to %s instead, with downgrades allowed", p.model.Name, p.work.From))
		}
		if err := p.mayWrite(ctx); err != nil {
			return err
		}
	}
	if err := p.revert(ctx, item); err != nil {
		return err
	}
	p.report.RolledBack = true
	return nil
}
