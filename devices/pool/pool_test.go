package pool

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sync/semaphore"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is a line as the drivers have it: one user at a time.
type wire struct {
	key  string
	pool *Pool[*wire]
	turn *semaphore.Weighted

	connected atomic.Bool
	dials     atomic.Int32
}

func (w *wire) Connected() bool { return w.connected.Load() }

func (w *wire) Yield() bool {
	if !w.turn.TryAcquire(1) {
		return false
	}
	defer w.turn.Release(1)
	return w.drop()
}

func (w *wire) Shut() {
	_ = w.turn.Acquire(context.Background(), 1)
	defer w.turn.Release(1)
	w.drop()
}

// drop needs the turn.
func (w *wire) drop() bool {
	if !w.connected.CompareAndSwap(true, false) {
		return false
	}
	w.pool.GiveSlot()
	return true
}

// use makes one call on a hold, which connects its line.
func use(ctx context.Context, h *Hold[*wire], during func()) error {
	end, err := h.Begin()
	if err != nil {
		return err
	}
	defer end()
	w := h.Line
	ctx, release := w.pool.Bind(ctx)
	defer release()
	if w.turn.Acquire(ctx, 1) != nil {
		return End(ctx)
	}
	defer w.rest()
	if w.pool.Base().Err() != nil {
		// The turn and the end came together.
		return ErrClosed
	}
	if !w.connected.Load() {
		if err := w.pool.TakeSlot(ctx); err != nil {
			return err
		}
		w.dials.Add(1)
		w.connected.Store(true)
	}
	during()
	return nil
}

// rest gives up the turn, and after it the connection when it is wanted.
func (w *wire) rest() {
	w.turn.Release(1)
	if w.pool.Wanted() && w.turn.TryAcquire(1) {
		w.drop()
		w.turn.Release(1)
	}
}

func open(t require.TestingT, p *Pool[*wire], key string) *Hold[*wire] {
	h, err := p.Open(key, func() *wire { return &wire{key: key, pool: p, turn: semaphore.NewWeighted(1)} })
	require.NoError(t, err)
	return h
}

func nothing() {}

func TestALineLivesWhileItIsReferredToOrConnected(t *testing.T) {
	p := New[*wire](4)
	defer p.Shut()
	a, b := open(t, p, "a"), open(t, p, "a")
	require.Same(t, a.Line, b.Line)
	require.NotSame(t, a.Line, open(t, p, "b").Line)
	a.Close()
	a.Close()
	require.Len(t, p.Lines(), 2, "closing twice gives back one reference")
	require.ErrorIs(t, use(t.Context(), a, nothing), ErrClosed)
	require.NoError(t, use(t.Context(), b, nothing))
	b.Close()
	require.Same(t, b.Line, open(t, p, "a").Line, "the next caller finds it connected")

	c := open(t, p, "c")
	p.Forget("c")
	require.Same(t, c.Line, open(t, p, "c").Line)
	d := open(t, p, "d")
	require.NoError(t, use(t.Context(), d, nothing))
	d.Close()
	require.True(t, d.Line.Yield())
	p.Forget("d")
	p.Forget("nobody")
	require.NotSame(t, d.Line, open(t, p, "d").Line)
}

func TestAHoldThatIsClosedDuringACallKeepsTheLine(t *testing.T) {
	p := New[*wire](4)
	defer p.Shut()
	first := open(t, p, "a")
	var second *Hold[*wire]
	require.NoError(t, use(t.Context(), first, func() {
		first.Line.drop()
		first.Close()
		second = open(t, p, "a")
	}))
	require.Same(t, first.Line, second.Line)
}

func TestTheConnectionThatWasUnusedForLongestMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New[*wire](3)
		defer p.Shut()
		lines := map[string]*Hold[*wire]{}
		connect := func(keys ...string) {
			for _, key := range keys {
				if lines[key] == nil {
					lines[key] = open(t, p, key)
				}
				require.NoError(t, use(t.Context(), lines[key], nothing))
				time.Sleep(time.Second)
			}
		}
		connected := func() (out []string) {
			for _, key := range []string{"a", "b", "c", "d", "e"} {
				if h := lines[key]; h != nil && h.Line.Connected() {
					out = append(out, key)
				}
			}
			return out
		}
		connect("a", "b", "c", "a", "d")
		require.Equal(t, []string{"a", "c", "d"}, connected(), "b has waited for longest")
		// One that is in use is passed over, however long it has been unused.
		require.NoError(t, use(t.Context(), lines["c"], func() { connect("e") }))
		require.Equal(t, []string{"c", "d", "e"}, connected())
	})
}

func TestWhereAllAreInUseTheFirstThatComesToRestMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New[*wire](1)
		defer p.Shut()
		a, b := open(t, p, "a"), open(t, p, "b")
		let := make(chan struct{})
		go func() { _ = use(context.Background(), a, func() { <-let }) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := use(ctx, b, nothing)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "waiting for one of the other connections to close")
		require.False(t, p.Wanted())
		got := make(chan error)
		go func() { got <- use(context.Background(), b, nothing) }()
		synctest.Wait()
		require.True(t, p.Wanted())
		close(let)
		require.NoError(t, <-got)
		require.False(t, a.Line.Connected())
	})
}

func TestAPoolThatIsShutEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New[*wire](1)
		a, b, idle := open(t, p, "a"), open(t, p, "b"), open(t, p, "idle")
		first, errs := make(chan error, 1), make(chan error, 2)
		go func() { first <- use(context.Background(), a, func() { <-p.Base().Done() }) }()
		synctest.Wait()
		go func() { errs <- use(context.Background(), a, nothing) }()
		go func() { errs <- use(context.Background(), b, nothing) }()
		synctest.Wait()
		p.Shut()
		require.NoError(t, <-first, "what had an answer has it")
		require.ErrorIs(t, <-errs, ErrClosed)
		require.ErrorIs(t, <-errs, ErrClosed)
		require.ErrorIs(t, context.Cause(p.Base()), ErrClosed)
		require.False(t, a.Line.Connected())
		require.ErrorIs(t, use(t.Context(), idle, nothing), ErrClosed)
		_, err := p.Open("c", func() *wire { return nil })
		require.ErrorIs(t, err, ErrClosed)
		p.Shut()
	})
}

func TestEndSaysWhoEnded(t *testing.T) {
	p := New[*wire](1)
	ctx, cancel := context.WithCancel(t.Context())
	bound, release := p.Bind(ctx)
	defer release()
	cancel()
	<-bound.Done()
	require.Equal(t, context.Canceled, End(bound))
	require.Equal(t, context.DeadlineExceeded, End(t.Context()), "a deadline whose timer has not fired")
	bound, release = p.Bind(t.Context())
	defer release()
	p.Shut()
	<-bound.Done()
	require.Equal(t, ErrClosed, End(bound))
}

// TestConnectionsAreBoundedAndNothingStays drives random callers at once.
func TestConnectionsAreBoundedAndNothingStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 3).Draw(t, "most")
		p := New[*wire](most)
		var using atomic.Int32
		var callers sync.WaitGroup
		plans := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(0, 4), 1, 8), 1, 6).Draw(t, "callers")
		var over atomic.Bool
		for _, plan := range plans {
			callers.Go(func() {
				for _, n := range plan {
					h := open(t, p, fmt.Sprint(n))
					err := use(context.Background(), h, func() {
						if using.Add(1) > int32(most) {
							over.Store(true)
						}
						using.Add(-1)
					})
					h.Close()
					if err != nil {
						over.Store(true)
					}
				}
			})
		}
		callers.Wait()
		require.False(t, over.Load())
		connected := 0
		for _, l := range p.Lines() {
			require.True(t, l.Connected(), "a line without a connection or a caller is forgotten")
			connected++
		}
		require.LessOrEqual(t, connected, most)
		p.Shut()
		for range most {
			require.True(t, p.slots.TryAcquire(1), "every slot came back")
		}
	})
}

func TestAddressKey(t *testing.T) {
	for _, same := range []string{"GW-7.example.:502", "gw-7.Example:502"} {
		require.Equal(t, "gw-7.example:502", AddressKey(same))
	}
	require.Equal(t, "[fe80::1]:502", AddressKey("[FE80::1]:502"))
	require.NotEqual(t, AddressKey("gw:502"), AddressKey("gw:503"))
	require.Equal(t, "no port", AddressKey("no port"))
}
