//go:build linux

package sshhost_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/sshhost"
)

// proxy passes connections on to a host, and cuts them all when so many bytes
// have gone up (to the host) or down.
type proxy struct {
	net.Listener
	up, down       atomic.Int64
	cutUp, cutDown int64
	mu             sync.Mutex
	conns          []net.Conn
	dead           bool
	work           sync.WaitGroup
}

func newProxy(t *testing.T, to string, cutUp, cutDown int64) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{Listener: l, cutUp: cutUp, cutDown: cutDown}
	p.work.Add(1)
	go func() {
		defer p.work.Done()
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil || !p.add(in, out) {
				_ = in.Close()
				continue
			}
			p.work.Add(2)
			go p.pass(out, in, &p.up, p.cutUp)
			go p.pass(in, out, &p.down, p.cutDown)
		}
	}()
	t.Cleanup(func() {
		p.kill()
		p.work.Wait()
	})
	return p
}

func (p *proxy) add(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	p.conns = append(p.conns, conns...)
	return true
}

// kill cuts everything for good, as the death of the worker would.
func (p *proxy) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	_ = p.Close()
	for _, c := range p.conns {
		_ = c.Close()
	}
}

// drop cuts what is open; the host can be reached again.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) pass(to, from net.Conn, count *atomic.Int64, limit int64) {
	defer p.work.Done()
	buf := make([]byte, 64)
	for {
		n, err := from.Read(buf)
		if limit > 0 {
			n = int(min(int64(n), max(limit-count.Load(), 0)))
		}
		if _, writeErr := to.Write(buf[:n]); writeErr != nil || err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
		if count.Add(int64(n)); limit > 0 && count.Load() >= limit {
			p.kill()
			return
		}
	}
}

const newConfig = "rate: 20\nsite: substation-7\n"

// whole requires that the host has the old state or the new one, and that a
// reading tells which: the new value means that all that belongs to it was
// done. Then the write is made again, and has to make it the new state.
func whole(t *testing.T, h *host, l devices.Link, err error) {
	t.Helper()
	kind := devices.KindOf(err)
	onDisk := h.read("etc/config.yaml")
	require.Contains(t, []string{configText, newConfig}, onDisk)
	if err != nil {
		require.Contains(t, []devices.Kind{devices.Unreachable, devices.Indeterminate}, kind, "%v", err)
	}
	if kind == devices.Unreachable {
		require.Equal(t, configText, onDisk, "nothing may have been replaced: %v", err)
	}
	got := readOne(t, l, h.config())
	require.Contains(t, []string{configText, newConfig}, got)
	if got == newConfig {
		require.Equal(t, newConfig, h.read("running"), "what reads as the new value is in effect")
	}
	require.NoError(t, l.Write(t.Context(), set(h.config(), newConfig)))
	require.Equal(t, newConfig, readOne(t, l, h.config()))
	require.Equal(t, newConfig, h.read("etc/config.yaml"))
	require.Equal(t, newConfig, h.read("running"))
	require.Equal(t, configText, h.read("etc/.config.yaml.edgefleet-prev.1"))
	require.Empty(t, h.hidden())
}

// again makes the host as it was.
func (h *host) again() {
	entries, err := os.ReadDir(h.path("etc"))
	require.NoError(h.t, err)
	for _, e := range entries {
		if strings.Contains(e.Name(), "edgefleet-") {
			h.remove("etc/" + e.Name())
		}
	}
	h.write("etc/config.yaml", configText, 0o640)
	h.write("running", configText, 0o644)
	h.remove("restarts")
}

func TestACutAtAnyByteLeavesOneOfTwoStates(t *testing.T) {
	h := startHost(t)
	direct := h.link()
	write := func(p *proxy) error {
		d := sshhost.New(h.options())
		defer d.Close()
		l, err := d.Open(t.Context(), h.through(p.Addr().String()))
		require.NoError(t, err)
		defer l.Close()
		return l.Write(t.Context(), set(h.config(), newConfig))
	}
	measure := newProxy(t, h.address, 0, 0)
	require.NoError(t, write(measure))
	seen := map[devices.Kind]int{}
	cut := func(what string, p *proxy) {
		h.again()
		err := write(p)
		seen[devices.KindOf(err)]++
		t.Run(what, func(t *testing.T) { whole(t, h, direct, err) })
	}
	const steps = 10
	up, down := measure.up.Load(), measure.down.Load()
	for i := int64(1); i <= steps; i++ {
		at := up * i / (steps + 1)
		cut(fmt.Sprintf("after %d of %d bytes to the host", at, up), newProxy(t, h.address, at, 0))
		at = down * i / (steps + 1)
		cut(fmt.Sprintf("after %d of %d bytes from the host", at, down), newProxy(t, h.address, 0, at))
	}
	require.Positive(t, seen[devices.Unreachable])
	require.Positive(t, seen[devices.Indeterminate])
}

func TestAWorkerThatDies(t *testing.T) {
	for name, c := range map[string]struct {
		hold string
		// at says that the write has come to the hold.
		at   func(h *host) bool
		disk string
	}{
		"between upload and rename": {"hold-validate", func(h *host) bool { return len(h.hidden()) > 0 }, configText},
		"between rename and restart": {"hold-restart", func(h *host) bool {
			return h.read("etc/config.yaml") == newConfig
		}, newConfig},
	} {
		t.Run(name, func(t *testing.T) {
			h := startHost(t)
			h.write(c.hold, "", 0o644)
			p := newProxy(t, h.address, 0, 0)
			dying := h.open(h.driver(), h.through(p.Addr().String()))
			failed := make(chan error, 1)
			go func() { failed <- dying.Write(context.Background(), set(h.config(), newConfig)) }()
			require.Eventually(t, func() bool { return c.at(h) }, patience, 5*time.Millisecond)
			p.kill()
			err := <-failed
			require.Equal(t, c.disk, h.read("etc/config.yaml"))
			require.NotEmpty(t, h.hidden(), "the dead leave something behind")
			l := h.link()
			require.Equal(t, configText, readOne(t, l, h.config()), "what was not completed is not in effect")
			h.remove(c.hold)
			whole(t, h, l, err)
		})
	}
}

// interrupt begins a change and cuts its line, or all lines for good, when the
// file has been replaced and the restart has not been run.
func interrupt(t *testing.T, h *host, content string, cut func(*proxy)) error {
	t.Helper()
	h.write("hold-restart", "", 0o644)
	p := newProxy(t, h.address, 0, 0)
	dying := h.open(h.driver(), h.through(p.Addr().String()))
	failed := make(chan error, 1)
	go func() { failed <- dying.Write(context.Background(), set(h.config(), content)) }()
	require.Eventually(t, func() bool { return h.read("etc/config.yaml") == content }, patience, 5*time.Millisecond)
	cut(p)
	err := <-failed
	require.Equal(t, devices.Indeterminate, devices.KindOf(err))
	return err
}

func TestAnInterruptedChangeThatIsUnhealthyGoesBackToWhatWasInEffect(t *testing.T) {
	const bad = "rate: UNHEALTHY\n"
	for name, first := range map[string]string{
		"made again":                   bad,
		"after which another one came": newConfig,
	} {
		t.Run(name, func(t *testing.T) {
			h := startHost(t)
			_ = interrupt(t, h, first, (*proxy).kill)
			h.remove("hold-restart")
			err := h.link().Write(t.Context(), set(h.config(), bad))
			require.Equal(t, devices.Rejected, devices.KindOf(err))
			require.Equal(t, configText, h.read("etc/config.yaml"))
			require.Equal(t, configText, h.read("running"))
			require.Equal(t, devices.HostAbsent, h.read("etc/.config.yaml.edgefleet-prev.2"))
			require.Empty(t, h.hidden())
		})
	}
}

func TestALineThatIsLostLeavesTheChangeToTheNextWrite(t *testing.T) {
	h := startHost(t)
	err := interrupt(t, h, newConfig, (*proxy).drop)
	require.Equal(t, newConfig, h.read("etc/config.yaml"), "who knows what is still under way does not work against it")
	l := h.link()
	require.Equal(t, configText, readOne(t, l, h.config()))
	h.remove("hold-restart")
	whole(t, h, l, err)
}

func TestACallerThatGivesUpGetsBackWhatWas(t *testing.T) {
	h := startHost(t)
	h.write("hold-restart", "", 0o644)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	l := h.link()
	go func() { failed <- l.Write(ctx, set(h.config(), newConfig)) }()
	require.Eventually(t, func() bool { return h.read("etc/config.yaml") == newConfig }, patience, 5*time.Millisecond)
	cancel()
	require.Eventually(t, func() bool { return h.read("etc/config.yaml") == configText }, patience, 5*time.Millisecond)
	h.remove("hold-restart")
	err := <-failed
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, devices.KindOf(err))
	require.Equal(t, configText, h.read("running"))
	require.Empty(t, h.hidden())
}

func TestADriverThatIsClosedDuringAWriteLeavesItToTheNext(t *testing.T) {
	h := startHost(t)
	h.write("hold-restart", "", 0o644)
	d := h.driver()
	l := h.open(d, h.endpoint())
	failed := make(chan error, 1)
	go func() { failed <- l.Write(context.Background(), set(h.config(), newConfig)) }()
	require.Eventually(t, func() bool { return h.read("etc/config.yaml") == newConfig }, patience, 5*time.Millisecond)
	d.Close()
	err := <-failed
	require.ErrorIs(t, err, sshhost.ErrClosed)
	require.Equal(t, devices.Indeterminate, devices.KindOf(err))
	h.remove("hold-restart")
	whole(t, h, h.link(), err)
}

func TestAReadOnAConnectionThatWasClosedMeanwhileIsMadeAgain(t *testing.T) {
	h := startHost(t)
	p := newProxy(t, h.address, 0, 0)
	l := h.open(h.driver(), h.through(p.Addr().String()))
	for range 3 {
		require.Equal(t, configText, readOne(t, l, h.config()))
		p.drop()
	}
	p.kill()
	_, err := l.Read(t.Context(), []devices.Point{h.config()})
	require.Equal(t, devices.Unreachable, devices.KindOf(err))
	require.NotErrorIs(t, err, io.ErrShortWrite)
}
