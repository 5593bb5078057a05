package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/baseline"
	"edgefleet/devices/patch"
)

// ApplyPatch installs a patch on a device that runs what it ran when that was
// planned. A device that runs the patch's version already is reported without a
// change; one that runs anything else is an error that wraps ErrChanged, and
// nothing is sent to it.
//
// The order is: artifact and signature, identity, interlock, version, Allow,
// Intent, upload and check on the device, Result, Intent, install, restart,
// version, health, Result. When the device does not run the new version in the
// profile's time, or is not well with it, it is told to go back to what it ran
// before, under an intent of its own: then the error has kind Rejected, and the
// report has RolledBack. Where it cannot go back, or does not, the outcome is
// indeterminate and the error kind Rejected: that is a person's.
//
// Allow is asked again before every installation that is begun. Called again after
// its process died, it decides by the version on the device:
// the new one is not installed again, only started, checked and confirmed; the
// old one is given the profile's time to change first, when the installation was
// begun; a rollback that was begun is gone on with. A patch that has its result
// is not looked at again.
//
// Progress, which may be nil, is called at least every few seconds.
func (o *Operator) ApplyPatch(ctx context.Context, w PatchWork, j Journal, progress func(string)) (PatchReport, error) {
	p, err := o.patching(ctx, w, j, progress)
	if err != nil {
		return PatchReport{}, err
	}
	defer p.close()
	err = p.run(ctx)
	return p.report, err
}

// patching is one patch of one device under way.
type patching struct {
	*target
	o        *Operator
	work     PatchWork
	journal  Journal
	progress func(string)
	how      devices.Installation
	artifact *patch.Opened
	inst     devices.Installer
	report   PatchReport
}

func (o *Operator) patching(ctx context.Context, w PatchWork, j Journal, progress func(string)) (*patching, error) {
	d, model, err := o.fleet.Device(w.DeviceID)
	if err != nil {
		return nil, err
	}
	p := &patching{target: &target{Device: d, model: model}, o: o, work: w, journal: j, progress: progress,
		report: PatchReport{DeviceID: w.DeviceID, From: w.From, To: w.Patch.Version}}
	if model.Install == nil || model.Name != w.Patch.Profile {
		return nil, p.fail(devices.Unsupported, "install a patch", fmt.Errorf("%s is for devices of %s, and this is a %s", w.Patch.Name, w.Patch.Profile, model.Name))
	}
	p.how = *model.Install
	return p, nil
}

// connect opens what the work needs on the device.
func (p *patching) connect(ctx context.Context) error {
	t, err := p.o.open(ctx, p.ID)
	if err != nil {
		return err
	}
	p.target = t
	p.inst, err = p.o.installerOf(ctx, t)
	return err
}

func (p *patching) close() {
	if p.inst != nil {
		p.inst.Close()
	}
	if p.link != nil {
		p.link.Close()
	}
	if p.artifact != nil {
		// It was only read from.
		_ = p.artifact.Close()
	}
}

// base names the patch in the journal.
func (p *patching) base() string {
	return fmt.Sprintf("%s %s %.8s", p.work.Patch.Name, p.work.Patch.Version, p.work.Patch.SHA256)
}

// change is a change of the patch; its item is given by whoever begins it.
func (p *patching) change(item, action string, within time.Duration) Change {
	return Change{Item: item, Action: action, Target: p.ID, Within: within,
		Before: map[string]string{p.model.Firmware: p.work.From},
		After:  map[string]string{p.model.Firmware: p.work.Patch.Version, "sha256": p.work.Patch.SHA256}}
}

func (p *patching) run(ctx context.Context) error {
	item, prior, err := p.item(ctx)
	if err != nil {
		return err
	}
	if prior != nil && prior.Outcome != "" {
		return p.settled(prior)
	}
	back, err := p.journal.Prior(ctx, p.backItem())
	if err != nil {
		return fmt.Errorf("%s: look for an earlier attempt to roll back: %w", p.ID, err)
	}
	if p.artifact, err = p.o.OpenPatch(p.work.Patch); err != nil {
		return p.fail(devices.Unsupported, "open the patch", err)
	}
	if err := p.connect(ctx); err != nil {
		return err
	}
	install := p.installation(item)
	switch {
	case back != nil:
		p.report.Installed = true
		return p.back(ctx, install, errors.New("an attempt that was interrupted had found that it was not well"))
	case prior != nil:
		p.report.Installed = true
		return p.takeUp(ctx, install)
	}
	return p.begin(ctx, install)
}

// item is where the journal has this attempt's installation.
func (p *patching) item(ctx context.Context) (string, *Record, error) {
	return openItem(ctx, p.journal, p.ID, "install "+p.base(), NotApplied)
}

func (p *patching) installation(item string) Change {
	return p.change(item, ActionInstallPatch, 2*p.how.Within+time.Minute)
}

// settled reports what an earlier attempt had come to.
func (p *patching) settled(prior *Record) error {
	p.report.Detail = prior.Detail
	switch prior.Outcome {
	case Applied, Confirmed:
		p.report.Installed, p.report.Confirmed, p.report.Now = true, prior.Outcome == Confirmed, p.work.Patch.Version
		return nil
	}
	p.report.Installed, p.report.Unsafe = true, prior.Outcome == Unknown
	return p.fail(devices.Rejected, "install a patch", errors.New(prior.Detail))
}

// begin is the way of a first attempt, or of one after another that had come no
// further than the upload.
func (p *patching) begin(ctx context.Context, install Change) error {
	if err := p.mayWrite(ctx); err != nil {
		return err
	}
	now, err := p.version(ctx)
	if err != nil {
		return err
	}
	p.report.Now = now
	switch why := downgraded(now, p.work.Patch.Version); {
	case patch.Runs(now, p.work.Patch.Version):
		p.report.Detail = "it runs " + now
		return nil
	case now != p.work.From:
		return p.fail(devices.Rejected, "compare with the plan", fmt.Errorf("%w: it runs %s, and ran %s; %s", ErrChanged, now, p.work.From, planAgain))
	case why != "" && !p.work.Downgrade:
		return p.fail(devices.Rejected, "compare the versions", errors.New(why+"; allow downgrades if that is meant"))
	}
	if err := p.stage(ctx); err != nil {
		return err
	}
	if err := p.journal.Intent(ctx, install, nil); err != nil {
		return fmt.Errorf("%s: record the intent, so nothing was installed: %w", p.ID, err)
	}
	p.report.Installed = true
	say(p.progress, "installing %s on %s", p.work.Patch.Name, p.ID)
	return p.install(ctx, install)
}

// stage brings the artifact to the device, where nothing changes what it runs.
func (p *patching) stage(ctx context.Context) error {
	item, _, err := openItem(ctx, p.journal, p.ID, "bring "+p.base(), NotApplied, Failed, Applied)
	if err != nil {
		return err
	}
	if p.work.Allow != nil {
		if err := p.work.Allow(ctx); err != nil {
			return err
		}
	}
	c := p.change(item, ActionStagePatch, p.how.UploadWithin)
	c.Before, c.After = map[string]string{}, map[string]string{"sha256": p.work.Patch.SHA256}
	if err := p.journal.Intent(ctx, c, nil); err != nil {
		return fmt.Errorf("%s: record the intent, so nothing was sent: %w", p.ID, err)
	}
	bounded, cancel := context.WithTimeout(ctx, p.how.UploadWithin)
	defer cancel()
	err = p.inst.Stage(bounded, p.artifact.Artifact, func(done int64) {
		say(p.progress, "%s has %d of %d bytes of %s", p.ID, done, p.artifact.Size, p.work.Patch.Name)
	})
	switch {
	case err == nil:
		return p.end(ctx, c, Applied, fmt.Sprintf("%d bytes with the SHA-256 %s", p.artifact.Size, p.work.Patch.SHA256), nil)
	case retriable(err):
		return p.end(ctx, c, NotApplied, err.Error(), err)
	}
	return p.end(ctx, c, Failed, err.Error(), err)
}

func (p *patching) end(ctx context.Context, c Change, o Outcome, detail string, err error) error {
	p.report.Detail = detail
	if recordErr := record(ctx, p.journal, c, o, detail); recordErr != nil {
		return errors.Join(recordErr, err)
	}
	return err
}

// install does the irrevocable part once, and finds out what came of it.
func (p *patching) install(ctx context.Context, c Change) error {
	deadline := time.Now().Add(p.how.Within)
	bounded, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	err := p.inst.Install(bounded, p.artifact.Artifact)
	switch devices.KindOf(err) {
	case devices.Unreachable, devices.OwnPath, devices.Busy, "":
		if err != nil {
			p.report.Installed = false
			return p.end(ctx, c, NotApplied, "it was not begun: "+err.Error(), err)
		}
		err = p.restart(bounded)
	case devices.Indeterminate:
		// Whatever it came to, the device says which version it runs.
		err = errors.Join(err, p.restart(bounded))
	}
	return p.judge(ctx, c, deadline, Applied, err)
}

// restart has the new version run. A host that goes down for it says nothing
// any more, so only a refusal counts.
func (p *patching) restart(ctx context.Context) error {
	say(p.progress, "restarting %s", p.ID)
	if err := p.inst.Restart(ctx); err != nil && !retriable(err) {
		return err
	}
	return nil
}

// takeUp is the way of an attempt after one that died when the installation may
// have been begun.
func (p *patching) takeUp(ctx context.Context, c Change) error {
	deadline := time.Now().Add(p.how.Within)
	if _, err := p.await(ctx, deadline, func(v string) bool { return v != p.work.From }); err != nil {
		return p.fail(devices.Indeterminate, "take up an interrupted installation", err)
	}
	switch mismatch, err := p.identityMismatch(ctx); {
	case err != nil:
		return p.fail(devices.Indeterminate, "take up an interrupted installation", err)
	case mismatch != "":
		return p.fail(devices.Rejected, "check the identity", errors.New(mismatch))
	}
	if p.report.Now != p.work.From {
		var err error
		if patch.Runs(p.report.Now, p.work.Patch.Version) {
			// Whether it was restarted since is not known.
			err = p.restart(ctx)
		}
		return p.judge(ctx, c, time.Now().Add(p.how.Within), Confirmed, err)
	}
	// It had its time, and the installation has not happened.
	p.report.Installed = false
	if err := p.end(ctx, c, NotApplied, "an attempt that was interrupted has not installed it", nil); err != nil {
		return err
	}
	item, _, err := p.item(ctx)
	if err != nil {
		return err
	}
	return p.begin(ctx, p.installation(item))
}

// judge finds out what the device runs, and whether it is well with it; cause
// is what went wrong on the way, or nil.
func (p *patching) judge(ctx context.Context, c Change, deadline time.Time, good Outcome, cause error) error {
	refused := cause != nil && !retriable(cause) && devices.KindOf(cause) != devices.Indeterminate
	wanted := func(v string) bool { return patch.Runs(v, p.work.Patch.Version) }
	if refused {
		// Nothing is to be waited for.
		wanted = func(string) bool { return true }
	}
	now, err := p.await(ctx, deadline, wanted)
	if err != nil {
		// The intent stays open: the next attempt settles it.
		return p.fail(devices.Indeterminate, "find out what it runs", errors.Join(err, cause))
	}
	why := cause
	if patch.Runs(now, p.work.Patch.Version) && !refused {
		detail, sick, err := p.well(ctx, deadline)
		if err != nil {
			return p.fail(devices.Indeterminate, "find out whether it is well", err)
		}
		if sick == nil {
			if err := p.inst.Confirm(ctx); err != nil {
				return p.fail(devices.Indeterminate, "confirm the new version", err)
			}
			p.report.Confirmed = good == Confirmed
			return p.end(ctx, c, good, detail, nil)
		}
		why = sick
	} else if now == p.work.From {
		return p.unchanged(ctx, c, deadline, cause)
	} else if why == nil {
		why = fmt.Errorf("it runs %s, which is neither %s nor %s", now, p.work.From, p.work.Patch.Version)
	}
	return p.back(ctx, c, why)
}

// unchanged ends an installation after which the device runs what it ran.
func (p *patching) unchanged(ctx context.Context, c Change, deadline time.Time, cause error) error {
	if cause == nil {
		cause = fmt.Errorf("it took the installation and does not run %s within %s", p.work.Patch.Version, p.how.Within)
	}
	_, sick, err := p.well(ctx, deadline)
	if err != nil {
		return p.fail(devices.Indeterminate, "find out whether it is well", errors.Join(err, cause))
	}
	if sick != nil {
		return p.back(ctx, c, errors.Join(cause, sick))
	}
	detail := fmt.Sprintf("%v; it runs %s as before, and is well", cause, p.work.From)
	return p.end(ctx, c, Failed, detail, p.fail(devices.Rejected, "install a patch", errors.New(detail)))
}

// await asks the device for its version until it is the wanted one or the time
// is over, and returns the last answer. It fails when the device did not answer
// at all, or the caller gave up.
func (p *patching) await(ctx context.Context, deadline time.Time, wanted func(string) bool) (string, error) {
	now, heard := "", false
	for interval := 20 * time.Millisecond; ; interval = min(2*interval, 3*time.Second) {
		said, err := p.version(ctx)
		if err == nil {
			now, heard, p.report.Now = said, true, said
			if wanted(said) {
				return now, nil
			}
		}
		if ctx.Err() != nil {
			return "", errors.Join(ctx.Err(), err)
		}
		if time.Now().Add(interval).After(deadline) {
			if !heard || err != nil {
				return "", fmt.Errorf("it has not said which version it runs: %w", err)
			}
			return now, nil
		}
		say(p.progress, "waiting for %s to run %s", p.ID, p.work.Patch.Version)
		if err := pause(ctx, interval); err != nil {
			return "", err
		}
	}
}

// well asks the device, and its profile, whether it is well, until it is or the
// time is over. sick says why it is not; err that it could not be found out.
func (p *patching) well(ctx context.Context, deadline time.Time) (detail string, sick, err error) {
	if least := time.Now().Add(p.model.Settle.UpTo); deadline.Before(least) {
		deadline = least
	}
	for interval := 20 * time.Millisecond; ; interval = min(2*interval, 3*time.Second) {
		detail, sick, err = p.wellNow(ctx)
		if err == nil && sick == nil || ctx.Err() != nil || time.Now().Add(interval).After(deadline) {
			return detail, sick, err
		}
		say(p.progress, "waiting for %s to be well", p.ID)
		if pause(ctx, interval) != nil {
			return detail, sick, ctx.Err()
		}
	}
}

func (p *patching) wellNow(ctx context.Context) (detail string, sick, err error) {
	report, err := verifyAgainst(ctx, p.target, baseline.Desired{}, false)
	if err != nil {
		return "", nil, err
	}
	if !report.Healthy {
		return "", errors.New(report.Detail), nil
	}
	switch err := p.inst.Check(ctx); {
	case err != nil && !retriable(err):
		return "", err, nil
	case err != nil:
		return "", nil, err
	}
	return fmt.Sprintf("it runs %s and is well", p.report.Now), nil, nil
}
