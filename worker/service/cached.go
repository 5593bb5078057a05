package service

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

// cached asks somebody else at a scrape, and shows the answer for a while,
// because several may scrape.
type cached[T any] struct {
	ask    func(ctx context.Context) (T, error)
	clock  func() time.Time
	logger *zap.Logger
	// complaint is logged once when asking begins to fail.
	complaint string

	// mu is held while it is asked, so that scrapes share the answer.
	mu    sync.Mutex
	asked time.Time
	last  T
	err   error
}

const (
	// cachedFresh is how long an answer is shown, and cachedWithin bounds the
	// question: a scrape does not wait for who is busy.
	cachedFresh  = 15 * time.Second
	cachedWithin = 5 * time.Second
)

// now returns the answer; false is that there is none, and then there have to
// be no series: an old number would look like a present one.
func (c *cached[T]) now() (T, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.clock(); c.asked.IsZero() || now.Sub(c.asked) >= cachedFresh {
		ctx, cancel := context.WithTimeout(context.Background(), cachedWithin)
		defer cancel()
		failed := c.err != nil
		c.last, c.err = c.ask(ctx)
		c.asked = now
		if c.err != nil && !failed {
			c.logger.Warn(c.complaint, zap.Error(c.err))
		}
	}
	return c.last, c.err == nil
}
