//go:build linux

package sshhost_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/sshhost"
)

func TestAnyPinnedHostKeyIsEnough(t *testing.T) {
	h := startHost(t)
	foreign := fingerprint(t, newKey(t))
	for _, family := range []string{"ed25519", "ecdsa", "rsa"} {
		t.Run(family, func(t *testing.T) {
			ep := h.endpoint()
			ep.SSH.HostKeys = []string{foreign, h.keys[family]}
			require.NoError(t, h.open(h.driver(), ep).Ping(t.Context()))
		})
	}
}

func TestAnotherHostKeyIsRefusedInWordsBeforeTheLogin(t *testing.T) {
	h := startHost(t, withKeys("ed25519", "rsa"))
	ep := h.endpoint()
	pin := fingerprint(t, newKey(t))
	ep.SSH.HostKeys = []string{pin}
	l := h.open(h.driver(), ep)
	for what, err := range map[string]error{"ping": l.Ping(t.Context()), "write": l.Write(t.Context(), set(h.config(), "x\n"))} {
		require.Equal(t, devices.Auth, devices.KindOf(err), what)
		require.ErrorContains(t, err, h.keys["ed25519"]+" (ssh-ed25519), "+h.keys["rsa"]+" (ssh-rsa), and "+pin+" is pinned")
	}
}

func TestAnotherClientKeyIsRefusedAndIsStillASignOfLife(t *testing.T) {
	h := startHost(t)
	ep := h.endpoint()
	ep.SSH.Signer = newKey(t)
	l := h.open(h.driver(), ep)
	_, err := l.Read(t.Context(), []devices.Point{h.config()})
	require.Equal(t, devices.Auth, devices.KindOf(err))
	require.ErrorContains(t, err, "authorized_keys")
	require.NoError(t, l.Ping(t.Context()))
}

func TestKeysOfEveryModernTypeLogIn(t *testing.T) {
	h := startHost(t)
	keys, err := hostKeys()
	require.NoError(t, err)
	for name, key := range keys {
		block, err := ssh.MarshalPrivateKey(key, "")
		require.NoError(t, err)
		parsed, err := credentials.ParsePrivateKey(pem.EncodeToMemory(block))
		require.NoError(t, err, name)
		h.authorize(parsed)
		ep := h.endpoint()
		ep.SSH.Signer = parsed
		_, err = h.open(h.driver(), ep).Read(t.Context(), []devices.Point{h.config()})
		require.NoError(t, err, name)
	}
}

func TestAnEndpointIsCheckedBeforeItIsDialled(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	d := sshhost.New(sshhost.Options{})
	defer d.Close()
	good := func() devices.Endpoint {
		return devices.Endpoint{DeviceID: "gw-1", Address: "192.0.2.1:22", SSH: &devices.SSHSecurity{User: "edge", HostKeys: []string{fingerprint(t, newKey(t))}, Signer: newKey(t)}}
	}
	for name, c := range map[string]struct {
		spoil func(*devices.Endpoint)
		kind  devices.Kind
		words string
	}{
		"no port":          {func(e *devices.Endpoint) { e.Address = "192.0.2.1" }, devices.Unsupported, "host:port"},
		"no security":      {func(e *devices.Endpoint) { e.SSH = nil }, devices.Auth, "no user, host key and private key"},
		"no user":          {func(e *devices.Endpoint) { e.SSH.User = "-oProxyCommand=x" }, devices.Auth, "not a login name"},
		"no pin":           {func(e *devices.Endpoint) { e.SSH.HostKeys = nil }, devices.Auth, "no host key is pinned"},
		"an MD5 print":     {func(e *devices.Endpoint) { e.SSH.HostKeys[0] = "MD5:00:11" }, devices.Auth, "is not a fingerprint"},
		"no private key":   {func(e *devices.Endpoint) { e.SSH.Signer = nil }, devices.Auth, "there is no private key for edge"},
		"a weak key":       {func(e *devices.Endpoint) { e.SSH.Signer = weak }, devices.Auth, "1024 bits, 2048 is the least"},
		"outside networks": {func(e *devices.Endpoint) { e.Allowed = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, devices.Auth, "outside allowed_networks"},
	} {
		t.Run(name, func(t *testing.T) {
			ep := good()
			c.spoil(&ep)
			l, err := d.Open(t.Context(), ep)
			if err == nil {
				err = l.Ping(t.Context())
				l.Close()
			}
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
		})
	}
}

func TestAnOpenConnectionIsNotForThoseWithOtherRules(t *testing.T) {
	h := startHost(t)
	d := h.driver()
	require.NoError(t, h.open(d, h.endpoint()).Ping(t.Context()))
	outside := h.endpoint()
	outside.Allowed = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	require.Equal(t, devices.Auth, devices.KindOf(h.open(d, outside).Ping(t.Context())))
	other := h.endpoint()
	other.SSH.HostKeys = []string{fingerprint(t, newKey(t))}
	require.Equal(t, devices.Auth, devices.KindOf(h.open(d, other).Ping(t.Context())))
}

func TestEnrolShowsEveryHostKeyWithoutLoggingIn(t *testing.T) {
	h := startHost(t)
	ep := h.endpoint()
	ep.SSH = nil
	keys, err := h.driver().Enrol(t.Context(), ep)
	require.NoError(t, err)
	require.Equal(t, []sshhost.HostKey{
		{Type: "ssh-ed25519", Fingerprint: h.keys["ed25519"]},
		{Type: "ecdsa-sha2-nistp256", Fingerprint: h.keys["ecdsa"]},
		{Type: "ssh-rsa", Fingerprint: h.keys["rsa"]},
	}, keys)
	prints, err := h.driver().Fingerprints(t.Context(), ep)
	require.NoError(t, err)
	require.Equal(t, []string{h.keys["ed25519"], h.keys["ecdsa"], h.keys["rsa"]}, prints)
	for _, print := range prints {
		pinned := h.endpoint()
		security := *pinned.SSH
		security.HostKeys = []string{print}
		pinned.SSH = &security
		require.NoError(t, h.open(h.driver(), pinned).Ping(t.Context()), "what it shows is what it is pinned by")
	}
	only := startHost(t, withKeys("ecdsa"))
	keys, err = only.driver().Enrol(t.Context(), only.endpoint())
	require.NoError(t, err)
	require.Len(t, keys, 1)
}

func TestIdentify(t *testing.T) {
	h := startHost(t)
	_, err := h.driver().Identify(t.Context(), h.endpoint(), &devices.HostCommand{Name: "agent version", Args: []string{"echo", "%s"}})
	require.ErrorContains(t, err, "it stands for the candidate file of a validation")
	got, err := h.driver().Identify(t.Context(), h.endpoint(), &devices.HostCommand{Name: "agent version", Args: []string{"echo", "edge-agent 1.2 `id`"}})
	require.NoError(t, err)
	require.Equal(t, "edge-agent 1.2 `id`", got.Agent)
	require.NotEmpty(t, got.OS)
	require.NotEmpty(t, got.Kernel)
	require.NotEmpty(t, got.Arch)
	require.NotEmpty(t, got.Hostname)
	require.Len(t, got.MachineID, 32)
}

func TestAHostWithoutModernAlgorithmsIsUnsupported(t *testing.T) {
	h := startHost(t, withConfig("KexAlgorithms diffie-hellman-group14-sha1"))
	require.Equal(t, devices.Unsupported, devices.KindOf(h.link().Ping(t.Context())))
}

func TestAHostWithoutFileTransferCanBeReadAndNotWritten(t *testing.T) {
	h := startHost(t, withoutSFTP())
	l := h.link()
	require.Equal(t, configText, readOne(t, l, h.config()))
	err := l.Write(t.Context(), set(h.config(), "rate: 20\n"))
	require.Equal(t, devices.Unsupported, devices.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "no file transfer")
}

func TestCallersShareOneConnection(t *testing.T) {
	h := startHost(t)
	d := h.driver()
	p := newProxy(t, h.address, 0, 0)
	var work sync.WaitGroup
	for range 12 {
		l := h.open(d, h.through(p.Addr().String()))
		work.Go(func() {
			v, err := l.Read(context.Background(), []devices.Point{h.config()})
			if err != nil || v[0] != configText {
				t.Errorf("%v %v", v, err)
			}
		})
	}
	work.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Len(t, p.conns, 2, "one connection has two ends in the proxy")
}

func TestACallThatEndsDoesNotEndThoseOfOthers(t *testing.T) {
	h := startHost(t)
	d := h.driver()
	slow := point("slow", devices.HostAddress{Kind: devices.HostOutput, Command: &devices.HostCommand{Name: "slow", Args: []string{"/bin/sh", "-c", "while [ -e " + h.path("hold") + " ]; do sleep 0.02; done; echo done"}}})
	h.write("hold", "", 0o644)
	a, b := h.open(d, h.endpoint()), h.open(d, h.endpoint())
	require.NoError(t, a.Ping(t.Context()))
	got := make(chan error, 1)
	go func() {
		v, err := a.Read(context.Background(), []devices.Point{slow})
		if err == nil && v[0] != "done" {
			t.Errorf("got %v", v)
		}
		got <- err
	}()
	require.Eventually(t, func() bool { return sshhost.Sessions(a) >= 1 }, patience, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := b.Read(ctx, []devices.Point{slow})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, devices.KindOf(err))
	require.NoError(t, b.Ping(t.Context()), "the next call has a fresh connection")
	h.remove("hold")
	require.NoError(t, <-got)
}

func TestAnIdleConnectionClosesAndTheNextCallOpensAnother(t *testing.T) {
	h := startHost(t)
	o := h.options()
	o.IdleClose = 20 * time.Millisecond
	d := sshhost.New(o)
	t.Cleanup(d.Close)
	p := newProxy(t, h.address, 0, 0)
	l := h.open(d, h.through(p.Addr().String()))
	require.NoError(t, l.Ping(t.Context()))
	require.Eventually(t, func() bool { return sshhost.Connections(d) == 0 }, patience, time.Millisecond)
	require.NoError(t, l.Ping(t.Context()))
}

func TestTheNumberOfConnectionsIsBounded(t *testing.T) {
	first, second := startHost(t), startHost(t)
	o := first.options()
	o.MaxConnections = 1
	d := sshhost.New(o)
	t.Cleanup(d.Close)
	a, b := first.open(d, first.endpoint()), second.open(d, second.endpoint())
	for range 2 {
		require.NoError(t, a.Ping(t.Context()))
		require.NoError(t, b.Ping(t.Context()))
		require.LessOrEqual(t, sshhost.Connections(d), 1)
	}
}

func TestAClosedLinkAndAClosedDriverSaySo(t *testing.T) {
	h := startHost(t)
	d := h.driver()
	l := h.open(d, h.endpoint())
	l.Close()
	l.Close()
	require.ErrorIs(t, l.Ping(t.Context()), sshhost.ErrClosed)
	d.Close()
	d.Close()
	_, err := d.Open(t.Context(), h.endpoint())
	require.ErrorIs(t, err, sshhost.ErrClosed)
	_, err = d.Enrol(t.Context(), h.endpoint())
	require.ErrorIs(t, err, sshhost.ErrClosed)
}
