//go:build linux

package sshhost_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/sshhost"
)

// artifactOf is an artifact with that version in its first line, of some parts
// and a bit.
func artifactOf(version string) devices.Artifact {
	content := []byte("version " + version + "\n" + strings.Repeat("0123456789abcde\n", 20_000))
	return devices.Artifact{Version: version, SHA256: sha256.Sum256(content), Size: int64(len(content)), Content: bytes.NewReader(content)}
}

// patched gives the host an agent of version 1.0, and what installs others.
func patched(t *testing.T, options ...hostOption) (*host, devices.Installation) {
	t.Helper()
	h := startHost(t, options...)
	h.write("bin/edge-install", "#!/bin/sh\nD="+h.dir+`
echo "$@" >>$D/install.log
case $1 in
--verify) head -n 1 "$2" | grep -q BROKEN && { echo "not an agent" >&2; exit 3; }; exit 0 ;;
--install) while [ -e $D/hold-install ]; do sleep 0.02; done
  [ -e $D/fail-install ] && { echo "no room" >&2; exit 4; }
  cp $D/agent $D/agent.previous; head -n 1 "$2" >$D/agent.new; mv $D/agent.new $D/agent ;;
--rollback) cp $D/agent.previous $D/agent ;;
esac`, 0o755)
	h.write("agent", "version 1.0\n", 0o644)
	h.write("bin/agent-restart", "#!/bin/sh\nD="+h.dir+"\necho restart >>$D/restarts\ncp $D/agent $D/running\n", 0o755)
	h.write("bin/agent-healthy", "#!/bin/sh\ngrep -q SICK "+h.dir+"/running && { echo sick >&2; exit 3; }; exit 0\n", 0o755)
	require.NoError(t, os.Mkdir(h.path("incoming"), 0o755))
	require.NoError(t, os.Chown(h.path("incoming"), h.uid, h.gid))
	return h, devices.Installation{Host: &devices.HostInstall{
		Upload: h.path("incoming/agent.bin"), Verify: h.command("edge-install", "--verify", "%s"),
		Install: h.command("edge-install", "--install", "%s"), Restart: h.command("agent-restart"),
		Health: h.command("agent-healthy"), Rollback: h.command("edge-install", "--rollback"),
	}}
}

func installer(t *testing.T, d *sshhost.Driver, ep devices.Endpoint, how devices.Installation) devices.Installer {
	t.Helper()
	i, err := d.OpenInstaller(t.Context(), ep, how)
	require.NoError(t, err)
	t.Cleanup(i.Close)
	return i
}

func (h *host) incoming() []string {
	h.t.Helper()
	entries, err := os.ReadDir(h.path("incoming"))
	require.NoError(h.t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAPatchIsStagedInstalledStartedCheckedAndTakenBack(t *testing.T) {
	h, how := patched(t)
	require.True(t, how.Reverts())
	i := installer(t, h.driver(), h.endpoint(), how)
	a := artifactOf("2.0")
	var last int64
	require.NoError(t, i.Stage(t.Context(), a, func(done int64) { require.GreaterOrEqual(t, done, last); last = done }))
	require.Equal(t, a.Size, last)
	require.Equal(t, []string{"agent.bin"}, h.incoming())
	require.Equal(t, "version 1.0\n", h.read("agent"), "staging changes nothing that runs")
	require.NoError(t, i.Install(t.Context(), a))
	require.NoError(t, i.Restart(t.Context()))
	require.NoError(t, i.Check(t.Context()))
	require.NoError(t, i.Confirm(t.Context()))
	require.Equal(t, "version 2.0\n", h.read("running"))
	require.NoError(t, i.Revert(t.Context()))
	require.NoError(t, i.Restart(t.Context()))
	require.Equal(t, "version 1.0\n", h.read("running"))
}

func TestWhatIsStagedAlreadyIsNotSentAgain(t *testing.T) {
	h, how := patched(t)
	p := newProxy(t, h.address, 0, 0)
	i := installer(t, h.driver(), h.through(p.Addr().String()), how)
	a := artifactOf("2.0")
	require.NoError(t, i.Stage(t.Context(), a, nil))
	sent := p.up.Load()
	require.Greater(t, sent, a.Size)
	require.NoError(t, i.Stage(t.Context(), a, nil))
	require.Less(t, p.up.Load()-sent, a.Size/10)
}

func TestAnUploadThatWasCutGoesOnFromWhereItWas(t *testing.T) {
	h, how := patched(t)
	a := artifactOf("2.0")
	p := newProxy(t, h.address, a.Size*3/4, 0)
	err := installer(t, h.driver(), h.through(p.Addr().String()), how).Stage(t.Context(), a, nil)
	require.Equal(t, devices.Unreachable, devices.KindOf(err), "%v", err)
	require.Len(t, h.incoming(), 1)
	require.True(t, strings.HasSuffix(h.incoming()[0], ".part"), "under the artifact's own name there is never half of one")
	again := newProxy(t, h.address, 0, 0)
	require.NoError(t, installer(t, h.driver(), h.through(again.Addr().String()), how).Stage(t.Context(), a, nil))
	require.Less(t, again.up.Load(), a.Size, "what was there is not sent again")
	require.Equal(t, []string{"agent.bin"}, h.incoming())
	sum := sha256.Sum256([]byte(h.read("incoming/agent.bin")))
	require.Equal(t, a.SHA256, sum)
}

func TestAPartThatIsSpoiltIsSentAnew(t *testing.T) {
	h, how := patched(t)
	a := artifactOf("2.0")
	part := fmt.Sprintf("incoming/.agent.bin.edgefleet-%x.part", a.SHA256[:8])
	h.write(part, strings.Repeat("x", 200_000), 0o600)
	h.write("incoming/.agent.bin.edgefleet-0000000000000000.part", "of another artifact", 0o600)
	require.NoError(t, installer(t, h.driver(), h.endpoint(), how).Stage(t.Context(), a, nil))
	require.Equal(t, []string{"agent.bin"}, h.incoming())
}

func TestAnotherFileInItsPlaceIsReplaced(t *testing.T) {
	h, how := patched(t)
	a := artifactOf("2.0")
	h.write("incoming/agent.bin", strings.Repeat("y", int(a.Size)), 0o600)
	require.NoError(t, installer(t, h.driver(), h.endpoint(), how).Stage(t.Context(), a, nil))
	sum := sha256.Sum256([]byte(h.read("incoming/agent.bin")))
	require.Equal(t, a.SHA256, sum)
}

func TestAnArtifactThatTheHostRefusesIsRemoved(t *testing.T) {
	h, how := patched(t)
	err := installer(t, h.driver(), h.endpoint(), how).Stage(t.Context(), artifactOf("BROKEN"), nil)
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "not an agent")
	require.Empty(t, h.incoming())
}

func TestAnUploadThatDoesNotFitIsRejected(t *testing.T) {
	h, how := patched(t, withFileLimit(100))
	err := installer(t, h.driver(), h.endpoint(), how).Stage(t.Context(), artifactOf("2.0"), nil)
	require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
	require.NotContains(t, h.incoming(), "agent.bin")
}

func TestAFolderThatIsNotThereIsNotMade(t *testing.T) {
	h, how := patched(t)
	how.Host.Upload = h.path("nowhere/agent.bin")
	err := installer(t, h.driver(), h.endpoint(), how).Stage(t.Context(), artifactOf("2.0"), nil)
	require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
}

func TestWhatAnInstallationThatFailsIsCalled(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *host, how *devices.Installation)
		kind   devices.Kind
		says   string
	}{
		"the command fails":        {func(h *host, _ *devices.Installation) { h.write("fail-install", "", 0o644) }, devices.Rejected, "no room"},
		"the command is not there": {func(h *host, how *devices.Installation) { how.Host.Install = h.command("nothing") }, devices.Unsupported, "cannot run it"},
		"the command does not end in time": {func(h *host, how *devices.Installation) {
			h.write("hold-install", "", 0o644)
			how.Host.Install.Timeout = 300 * time.Millisecond
		}, devices.Indeterminate, "no answer within"},
	} {
		t.Run(name, func(t *testing.T) {
			h, how := patched(t)
			c.change(h, &how)
			i := installer(t, h.driver(), h.endpoint(), how)
			err := i.Install(t.Context(), artifactOf("2.0"))
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			h.remove("hold-install")
		})
	}
}

func TestAnInstallationWhoseLineIsCutIsIndeterminate(t *testing.T) {
	h, how := patched(t)
	h.write("hold-install", "", 0o644)
	p := newProxy(t, h.address, 0, 0)
	i := installer(t, h.driver(), h.through(p.Addr().String()), how)
	a := artifactOf("2.0")
	require.NoError(t, i.Stage(t.Context(), a, nil))
	failed := make(chan error, 1)
	go func() { failed <- i.Install(context.Background(), a) }()
	require.Eventually(t, func() bool { return strings.Contains(h.read("install.log"), "--install") }, patience, 5*time.Millisecond)
	p.drop()
	require.Equal(t, devices.Indeterminate, devices.KindOf(<-failed))
	h.remove("hold-install")
	require.Eventually(t, func() bool { return h.read("agent") == "version 2.0\n" }, patience, 5*time.Millisecond, "it ran on")
}

func TestAnInstallationThatWasNotBegunIsUnreachable(t *testing.T) {
	h, how := patched(t)
	p := newProxy(t, h.address, 0, 0)
	i := installer(t, h.driver(), h.through(p.Addr().String()), how)
	p.kill()
	err := i.Install(t.Context(), artifactOf("2.0"))
	require.Equal(t, devices.Unreachable, devices.KindOf(err), "%v", err)
	require.Equal(t, devices.HostAbsent, h.read("install.log"))
}

func TestAHostThatIsNotWellSaysSo(t *testing.T) {
	h, how := patched(t)
	h.write("running", "version SICK\n", 0o644)
	err := installer(t, h.driver(), h.endpoint(), how).Check(t.Context())
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "sick")
}

func TestAnInstallationOfAnotherProtocolIsUnsupported(t *testing.T) {
	h, _ := patched(t)
	_, err := h.driver().OpenInstaller(t.Context(), h.endpoint(), devices.Installation{Mailbox: &devices.MailboxInstall{}})
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
}

func TestAnUploadThatIsCutAtAnyByteIsCompletedByTheNext(t *testing.T) {
	h, how := patched(t)
	a := artifactOf("2.0")
	measure := newProxy(t, h.address, 0, 0)
	require.NoError(t, installer(t, h.driver(), h.through(measure.Addr().String()), how).Stage(t.Context(), a, nil))
	const steps = 8
	for step := int64(1); step <= steps; step++ {
		h.remove("incoming/agent.bin")
		p := newProxy(t, h.address, measure.up.Load()*step/(steps+1), 0)
		d := sshhost.New(h.options())
		i, err := d.OpenInstaller(t.Context(), h.through(p.Addr().String()), how)
		require.NoError(t, err)
		err = i.Stage(t.Context(), a, nil)
		i.Close()
		d.Close()
		require.Equal(t, devices.Unreachable, devices.KindOf(err), "%v", err)
		require.NoError(t, installer(t, h.driver(), h.endpoint(), how).Stage(t.Context(), a, nil))
		sum := sha256.Sum256([]byte(h.read("incoming/agent.bin")))
		require.Equal(t, a.SHA256, sum)
	}
}
