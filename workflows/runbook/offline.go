package runbook

import (
	"errors"
	"time"
)

// errOfflineCancelled is the cancellation of a branch of parallel in the hosts
// that have no Temporal.
var errOfflineCancelled = errors.New("cancelled")

// clock is virtual time, which begins at a fixed moment so that a test or a
// plan is the same every day.
type clock struct{ elapsed time.Duration }

func (c *clock) now() time.Time {
	return time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC).Add(c.elapsed)
}

// inTurn is Parallel for the hosts without coroutines: one function after the
// other, in their order.
func inTurn(h Host, n int, failFast bool, stop func(error) bool, body func(h Host, i int) error) []error {
	errs := make([]error, n)
	for i := range n {
		errs[i] = body(h, i)
		if err := errs[i]; err != nil && (failFast || stop(err)) {
			for j := i + 1; j < n; j++ {
				errs[j] = errOfflineCancelled
			}
			break
		}
	}
	return errs
}
