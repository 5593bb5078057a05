package fleet_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"aead.dev/minisign"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/devices/patch"
)

// hostInstall is the section of the small gateway that says how it is patched.
const hostInstall = `install:
  upload: /var/lib/edge/agent.pkg
  install: install-edge
  restart: restart-edge
  health: edge-healthy
  rollback: rollback-edge
  upload_within: 2s
  within: 100ms
`

// box is a gateway that can be patched: what is on its disk says which version
// it has, and a restart has that run.
type box struct {
	*host
	mu sync.Mutex
	// disk, running and before are versions; staged is what was uploaded.
	disk, running, before, staged string
	// sick are versions that are not well.
	sick map[string]bool
	// calls counts what was asked of the installer. twice counts installations
	// of what was installed already.
	calls map[string]int
	twice int
	// hook stands around each call.
	hook func(what string, call func() error) error
}

func newBox() *box {
	return &box{host: newHost(), disk: "edge 3.2.1", running: "edge 3.2.1", sick: map[string]bool{}, calls: map[string]int{}}
}

func (b *box) Open(ctx context.Context, ep devices.Endpoint) (devices.Link, error) {
	l, err := b.host.Open(ctx, ep)
	if err != nil {
		return nil, err
	}
	return &boxLink{l, b}, nil
}

type boxLink struct {
	devices.Link
	b *box
}

func (l *boxLink) Read(ctx context.Context, points []devices.Point) (got []devices.Value, err error) {
	l.b.mu.Lock()
	l.b.set("firmware", l.b.disk)
	l.b.set("agent", "enabled active")
	l.b.mu.Unlock()
	err = l.b.do("read", func() (err error) { got, err = l.Link.Read(ctx, points); return err })
	return got, err
}

func (b *box) do(what string, call func() error) error {
	if b.hook == nil {
		return call()
	}
	return b.hook(what, call)
}

func (b *box) OpenInstaller(_ context.Context, ep devices.Endpoint, how devices.Installation) (devices.Installer, error) {
	if ep.SSH == nil || how.Host == nil {
		return nil, b.fail(devices.Unsupported, "not a host's")
	}
	return b, nil
}

// step counts a call and makes its effect.
func (b *box) step(what string, effect func() error) error {
	return b.do(what, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.calls[what]++
		return effect()
	})
}

func (b *box) Stage(_ context.Context, a devices.Artifact, progress func(int64)) error {
	return b.step("stage", func() error {
		text, err := io.ReadAll(io.NewSectionReader(a.Content, 0, a.Size))
		if err == nil && sha256.Sum256(text) != a.SHA256 {
			err = b.fail(devices.Rejected, "another content")
		}
		b.staged = strings.TrimSpace(string(text))
		progress(a.Size)
		return err
	})
}

func (b *box) Install(context.Context, devices.Artifact) error {
	return b.step("install", func() error {
		if b.disk == b.staged {
			b.twice++
		} else {
			b.before, b.disk = b.disk, b.staged
		}
		return nil
	})
}

func (b *box) Restart(context.Context) error {
	return b.step("restart", func() error { b.running = b.disk; return nil })
}

func (b *box) Check(context.Context) error {
	return b.step("check", func() error {
		if b.sick[b.running] || b.running != b.disk {
			return b.fail(devices.Rejected, b.running+" is sick")
		}
		return nil
	})
}

func (b *box) Confirm(context.Context) error { return b.step("confirm", func() error { return nil }) }

func (b *box) Revert(context.Context) error {
	return b.step("revert", func() error { b.disk = b.before; return nil })
}

func (b *box) Close() {}

// patchSite is a site with one gateway and one signed patch for it.
type patchSite struct {
	*gateway
	box     *box
	private minisign.PrivateKey
}

func newPatchSite(t *testing.T) *patchSite {
	t.Helper()
	public, private, err := minisign.GenerateKey(nil)
	require.NoError(t, err)
	s := &patchSite{gateway: newGateway(t), box: newBox(), private: private}
	s.declare(fmt.Sprintf("trust_first_use: true, patch_keys: [%q]", public), keyA)
	s.profile(hostInstall)
	s.patch("agent", "edge 3.3.0", "3.3.0")
	return s
}

func (s *patchSite) profile(install string) {
	commands := `  install-edge: {run: "/usr/local/bin/edge-install %s"}
  rollback-edge: {run: "/usr/local/bin/edge-install --back"}
identity:`
	s.write("profiles/small-gateway.yaml", strings.Replace(hostProfile, "identity:", commands, 1)+install)
}

// patch declares a patch whose artifact is the text, and signs it.
func (s *patchSite) patch(name, content, version string) {
	s.t.Helper()
	r := minisign.NewReader(strings.NewReader(content))
	_, err := io.Copy(io.Discard, r)
	require.NoError(s.t, err)
	s.write("patches/"+name+".pkg", content)
	s.write("patches/"+name+".pkg.minisig", string(r.Sign(s.private)))
	s.write("patches/"+name+".yaml", fmt.Sprintf(`name: %s
profile: small-gateway
version: %s
file: %s.pkg
sha256: "%x"
size: %d
released: 2026-11-01
`, name, version, name, sha256.Sum256([]byte(content)), len(content)))
}

func (s *patchSite) work(o *fleet.Operator) fleet.PatchWork {
	s.t.Helper()
	p, ok := o.Fleet().Patches.Patch("agent")
	require.True(s.t, ok)
	return fleet.PatchWork{DeviceID: "gw-1", Patch: p, From: "edge 3.2.1"}
}

func (s *patchSite) apply(j fleet.Journal) (fleet.PatchReport, error) {
	s.t.Helper()
	o := s.operator(s.box)
	return o.ApplyPatch(s.t.Context(), s.work(o), j, nil)
}

func (s *patchSite) plan(downgrade bool) (fleet.PatchPlan, error) {
	s.t.Helper()
	o := s.operator(s.box)
	return o.PlanPatch(s.t.Context(), "gw-1", s.work(o).Patch, downgrade)
}

// spoil changes one byte of the artifact.
func (s *patchSite) spoil() {
	s.t.Helper()
	name := filepath.Join(s.dir, patch.Dir, "agent.pkg")
	data, err := os.ReadFile(name)
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(name, bytes.ToUpper(data), 0o600))
}

var errCut = errors.New("the line is cut")

// failing makes a call fail with a kind, after or instead of its effect.
func failing(what string, kind devices.Kind, effect bool) func(string, func() error) error {
	return func(now string, call func() error) error {
		if now != what {
			return call()
		}
		if effect {
			if err := call(); err != nil {
				return err
			}
		}
		return &devices.Error{Kind: kind, Device: "gw-1", Op: what, Err: errCut}
	}
}
