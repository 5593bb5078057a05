package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"edgefleet/devices/fleetdir"
	"edgefleet/integration/terraform/declare"
	"edgefleet/workflows/contract"
)

// Options say with whom a Site works, and with how much patience; zero times
// have defaults.
type Options struct {
	Temporal Temporal
	// Explain turns an error of the connection into one that says what to do;
	// nil is as it is.
	Explain func(error) error
	Dir     *declare.Dir
	// User names who does it in workflows and in the ledger.
	User string
	// Publish is run in the fleet directory after files were changed, where
	// workers read another copy of it; empty is nothing.
	Publish []string
	Drift   Drift
	// TakeUp bounds the wait until workers run what was written.
	TakeUp time.Duration
	// Gather is how long changes of one moment are waited for.
	Gather time.Duration
	// Poll is the time between two looks at what is waited for.
	Poll time.Duration
	// Bounds bound the devices in work at once.
	Bounds contract.Bounds
}

// Site is a fleet directory, the workers that run it, and the devices in
// service. It is safe for concurrent use.
type Site struct {
	o       Options
	station *station
	work    *work
	ctx     context.Context
	cancel  context.CancelFunc

	mu      sync.Mutex
	queue   []*staged
	written sync.Mutex // held while files are written
	// seen is when the directory last had a revision, as far as this process
	// looked.
	seen map[string]time.Time
	look once1[string]
}

// New returns a site. Close ends it.
func New(o Options) *Site {
	o.Drift = cmp.Or(o.Drift, DriftScan)
	o.TakeUp = cmp.Or(o.TakeUp, 5*time.Minute)
	o.Gather = cmp.Or(o.Gather, 300*time.Millisecond)
	o.Poll = cmp.Or(o.Poll, 500*time.Millisecond)
	o.Bounds = o.Bounds.WithDefaults()
	s := &Site{o: o, station: &station{temporal: o.Temporal, user: o.User, explain: o.Explain}, seen: map[string]time.Time{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.work = newWork(s.ctx, s.station, o)
	return s
}

// Close ends the watching; what was started goes on.
func (s *Site) Close() {
	s.cancel()
	s.work.wait()
}

// Dir is the fleet directory.
func (s *Site) Dir() *declare.Dir { return s.o.Dir }

// Facts returns what is known from here on; see Facts.
func (s *Site) Facts() *Facts {
	return &Facts{station: s.station, drift: s.o.Drift, compared: s.owned}
}

// owned are the devices in service that this directory's owner declares.
func (s *Site) owned(registry *Registry) []string {
	var ids []string
	for id, r := range registry.Devices {
		if r.State != contract.RegistryOnboarded {
			continue
		}
		if _, err := s.o.Dir.Device(id); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// staged is a change that waits to be written.
type staged struct {
	change declare.Change
	done   chan declare.Applied
}

// Write changes one file, together with what others change at the same moment.
// Adopted says that the file was there already, as it was to be written.
func (s *Site) Write(ctx context.Context, c declare.Change) (adopted bool, err error) {
	mine := &staged{change: c, done: make(chan declare.Applied, 1)}
	s.mu.Lock()
	s.queue = append(s.queue, mine)
	first := len(s.queue) == 1
	s.mu.Unlock()
	if first {
		// Nobody's ctx decides over the others' files.
		_ = pause(s.ctx, s.o.Gather)
		s.writeAll()
	}
	select {
	case out := <-mine.done:
		return out.Adopted, out.Err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (s *Site) writeAll() {
	s.written.Lock()
	defer s.written.Unlock()
	s.mu.Lock()
	queue := s.queue
	s.queue = nil
	s.mu.Unlock()
	changes := make([]declare.Change, len(queue))
	for i, q := range queue {
		changes[i] = q.change
	}
	results := s.o.Dir.Apply(changes)
	for i := range results {
		if results[i].Err == nil {
			// One publication is for all of them.
			if err := s.publish(); err != nil {
				for j := range results {
					results[j].Err = cmp.Or(results[j].Err, err)
				}
			}
			break
		}
	}
	for i, q := range queue {
		q.done <- results[i]
	}
}

// publish runs the command that takes the files to where workers read them.
func (s *Site) publish() error {
	if len(s.o.Publish) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.o.TakeUp)
	defer cancel()
	command := exec.CommandContext(ctx, s.o.Publish[0], s.o.Publish[1:]...)
	command.Dir = s.o.Dir.Root()
	command.WaitDelay = time.Second
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("the files are written, and publish_command failed (%w); put right what it says, and apply again:\n%s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Settle waits until the workers run a revision of the directory that it has
// had since now, and returns the directory as it is then.
func (s *Site) Settle(ctx context.Context) (*fleetdir.Fleet, error) {
	since := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.o.TakeUp)
	defer cancel()
	var last error
	for {
		declared, err := s.settled(ctx, since)
		if declared != nil {
			return declared, nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if err := pause(ctx, s.o.Poll); err != nil {
			if errors.Is(err, context.Canceled) {
				return nil, err
			}
			if errors.Is(last, context.DeadlineExceeded) {
				last = ErrNoAnswer
			}
			return nil, fmt.Errorf("after %v, the workers do not run what was written: %w", s.o.TakeUp, last)
		}
	}
}

// settled returns the directory when the workers run what it has been since
// then, and else why it is not so.
func (s *Site) settled(ctx context.Context, since time.Time) (*fleetdir.Fleet, error) {
	at := time.Now()
	declared, err := s.o.Dir.Load()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.seen[declared.Revision()] = at
	s.mu.Unlock()
	running, err := s.look.share(ctx, s.station.running)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	seen := s.seen[running]
	s.mu.Unlock()
	if seen.Before(since) {
		return nil, fmt.Errorf("they run revision %.12s, and %s is %.12s; do they read this directory? Their log says what keeps them from taking it up", running, s.o.Dir.Root(), declared.Revision())
	}
	return declared, nil
}

// Onboard takes devices into service, or does it again. The result has an
// error for each device that is not in service afterwards.
func (s *Site) Onboard(ctx context.Context, refs []contract.DeviceRef, again bool) map[string]Outcome {
	kind := kindOnboard
	if again {
		kind = kindAgain
	}
	return s.work.do(ctx, kind, refs)
}

// Decommission takes devices out of service.
func (s *Site) Decommission(ctx context.Context, refs []contract.DeviceRef) map[string]Outcome {
	return s.work.do(ctx, kindDecommission, refs)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// once1 lets those who ask at the same time share one answer. Whoever comes
// while somebody asks gets the answer to the next question, which was asked
// after they came.
type once1[T any] struct {
	mu      sync.Mutex
	asking  bool
	waiting []chan answer[T]
}

type answer[T any] struct {
	value T
	err   error
}

func (o *once1[T]) share(ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	mine := make(chan answer[T], 1)
	o.mu.Lock()
	o.waiting = append(o.waiting, mine)
	lead := !o.asking
	o.asking = true
	o.mu.Unlock()
	if lead {
		// Detached: the others' answer does not end with this caller.
		go o.answerAll(context.WithoutCancel(ctx), ask)
	}
	select {
	case a := <-mine:
		return a.value, a.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

func (o *once1[T]) answerAll(ctx context.Context, ask func(context.Context) (T, error)) {
	for {
		o.mu.Lock()
		waiting := o.waiting
		o.waiting = nil
		if len(waiting) == 0 {
			o.asking = false
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
		var a answer[T]
		a.value, a.err = ask(ctx)
		for _, w := range waiting {
			w <- a
		}
	}
}
