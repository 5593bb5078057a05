package sshsim

import (
	"fmt"
	"io/fs"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices/sim/chassis"
)

func newTestHost() *host {
	now := func() time.Time { return time.Unix(1, 0) }
	h := newHost("gw", "edgefleet", time.Millisecond, now, "key\n", "host key\n")
	h.journal = chassis.NewJournal(now, nil, nil)
	return h
}

// TestWhateverIsDoneToTheFilesIsRemembered does anything to the file system,
// as root and as the log-in, and makes another host of what is written down.
func TestWhateverIsDoneToTheFilesIsRemembered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newTestHost()
		places := []string{"/etc", "/etc/edge", "/etc/edge/config.yaml", "/etc/edge/a", "/etc/ssh/sshd_config.d/10-edgefleet.conf", "/tmp", "/tmp/a", "/tmp/d",
			"/tmp/d/b", "/tmp/d/c", "/etc/hostname", "/run/x", "/home/edgefleet", "/home/edgefleet/.ssh/authorized_keys"}
		place := func(label string) string { return rapid.SampledFrom(places).Draw(t, label) }
		for i := range rapid.IntRange(0, 40).Draw(t, "steps") {
			w := h.login()
			if rapid.Bool().Draw(t, "root") {
				w = root()
			}
			name := place("name")
			// What is refused is refused; what counts is what stands there.
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0:
				if n, err := h.fs.open(w, name, true, rapid.Bool().Draw(t, "exclusive"), true, 0o644); err == nil {
					_ = h.fs.writeAt(n, rapid.SliceOf(rapid.Byte()).Draw(t, "content"), 0)
				}
			case 1:
				_ = h.fs.mkdir(w, name, 0o755)
			case 2:
				_ = h.fs.remove(w, name)
			case 3:
				_ = h.fs.rename(w, name, place("to"))
			case 4:
				_ = h.fs.link(w, name, place("to"))
			case 5:
				_ = h.fs.symlink(w, place("to"), name)
			case 6:
				if n, err := h.fs.find(w, name, true); err == nil {
					_ = h.fs.chmod(w, n, fromOctal(rapid.Uint32Range(0, 0o7777).Draw(t, "mode")))
				}
			case 7:
				if n, err := h.fs.find(w, name, true); err == nil {
					_ = h.fs.chown(w, n, uint32(i), shadowID)
				}
			}
		}
		again := newTestHost()
		require.NoError(t, again.recall(h.remember()))
		require.Equal(t, h.snapshot(), again.snapshot())
	})
}

func TestTheRightsAreThoseOfTheSystem(t *testing.T) {
	h := newTestHost()
	login := h.login()
	h.ensure("/tmp/mine", fs.ModeDir|0o755, loginID, loginID)
	for name, c := range map[string]struct {
		do   func() error
		want error
	}{
		"reads what others may read":        {func() error { _, err := h.fs.read(login, "/etc/hostname"); return err }, nil},
		"reads no secret":                   {func() error { _, err := h.fs.read(login, "/etc/shadow"); return err }, errDenied},
		"looks not into what is closed":     {func() error { _, err := h.fs.read(login, "/etc/edge/config.yaml"); return err }, errDenied},
		"nor knows whether something is":    {func() error { _, err := h.fs.find(login, "/etc/edge/nothing", true); return err }, errDenied},
		"writes no file of root's":          {func() error { _, err := h.fs.open(login, "/etc/hostname", false, false, true, 0); return err }, errDenied},
		"makes nothing where it may not":    {func() error { return h.fs.mkdir(login, "/etc/x", 0o755) }, errDenied},
		"makes what it likes in tmp":        {func() error { return h.fs.mkdir(login, "/tmp/x", 0o755) }, nil},
		"gives no file away":                {func() error { n, _ := h.fs.find(login, "/tmp/mine", true); return h.fs.chown(login, n, 0, 0) }, errNotOwner},
		"changes no mode of another's":      {func() error { n, _ := h.fs.find(root(), "/etc", true); return h.fs.chmod(login, n, 0o777) }, errNotOwner},
		"removes nothing that is not empty": {func() error { return h.fs.remove(root(), "/etc/edge") }, errNotEmpty},
		"moves no directory into itself":    {func() error { return h.fs.rename(root(), "/etc", "/etc/edge/etc") }, errInvalid},
		"has no directory below a file":     {func() error { _, err := h.fs.find(root(), "/etc/hostname/x", true); return err }, errNoDir},
		"grows no file beyond all measure": {func() error {
			n, _ := h.fs.find(root(), "/etc/hostname", true)
			return h.fs.writeAt(n, []byte("x"), maxFile)
		}, errTooLarge},
		"reads no directory":        {func() error { _, err := h.fs.read(root(), "/etc"); return err }, errIsDir},
		"moves the root to nowhere": {func() error { return h.fs.rename(root(), "/", "/tmp/root") }, errInvalid},
	} {
		require.ErrorIs(t, c.do(), c.want, name)
	}
	h.ensure("/tmp/of-root", 0o644, 0, 0)
	require.ErrorIs(t, h.fs.remove(login, "/tmp/of-root"), errDenied, "the sticky bit holds it")
	for i := range maxLinks + 2 {
		require.NoError(t, h.fs.symlink(root(), fmt.Sprintf("/tmp/l%d", i+1), fmt.Sprintf("/tmp/l%d", i)))
	}
	_, err := h.fs.find(root(), path.Join("/tmp", "l0"), true)
	require.ErrorIs(t, err, errLoop)
}
