package service

import (
	"errors"
	"maps"
	"slices"
	"sync"
)

// stopper is what is stopped of a worker of the SDK.
type stopper interface{ Stop() }

// queues are the workers of the SDK that take work from the queues of regions,
// one for each region.
type queues struct {
	// start takes up the work of a region.
	start func(region string) (stopper, error)
	// common is the worker of the queue of no region, once it runs; it is only
	// stopped with the others.
	common stopper

	mu      sync.Mutex
	running map[string]stopper
	closed  bool
	leaving sync.WaitGroup
}

// follow makes the regions that are served those that are wanted. A region
// that could not be taken up is tried again when it is called again; the error
// says which. What runs for a region that is left is given its time, and
// nobody waits for it.
func (q *queues) follow(want []string) (taken, left []string, err error) {
	have := q.regions()
	for _, region := range want {
		if slices.Contains(have, region) {
			continue
		}
		worker, failed := q.start(region)
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		if !q.add(region, worker) {
			worker.Stop()
			return taken, left, err
		}
		taken = append(taken, region)
	}
	for _, region := range have {
		if !slices.Contains(want, region) && q.leave(region) {
			left = append(left, region)
		}
	}
	return taken, left, err
}

func (q *queues) regions() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Sorted(maps.Keys(q.running))
}

// add says whether there is still work to be taken up.
func (q *queues) add(region string, worker stopper) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.running[region] = worker
	}
	return !q.closed
}

func (q *queues) leave(region string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	worker := q.running[region]
	if worker == nil {
		return false
	}
	delete(q.running, region)
	q.leaving.Go(worker.Stop)
	return true
}

// stop stops everything side by side, so that all share one StopTimeout,
// however many there are, and waits for those that were left before.
func (q *queues) stop() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	if q.common != nil {
		q.leaving.Go(q.common.Stop)
	}
	for _, region := range q.regions() {
		q.leave(region)
	}
	q.leaving.Wait()
}
