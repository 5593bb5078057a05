package sshsim_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices/sim/chassis"
	"edgefleet/devices/sim/sshsim"
)

// dial logs in with the library's client.
func dial(t testing.TB, d *sshsim.Device) *ssh.Client {
	t.Helper()
	signer, err := ssh.NewSignerFromSigner(clientKey(t))
	require.NoError(t, err)
	client, err := ssh.Dial("tcp", d.Addr(), &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if ssh.FingerprintSHA256(key) != d.Fingerprint() {
				return errors.New("another host key")
			}
			return nil
		}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// run runs a command line and returns what it printed and its status.
func run(t testing.TB, c *ssh.Client, line string) (stdout, stderr string, status int) {
	t.Helper()
	session, err := c.NewSession()
	require.NoError(t, err)
	defer func() { _ = session.Close() }()
	var out, problems bytes.Buffer
	session.Stdout, session.Stderr = &out, &problems
	err = session.Run(line)
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return out.String(), problems.String(), exit.ExitStatus()
	}
	require.NoError(t, err)
	return out.String(), problems.String(), 0
}

func TestTheShellIsOneAsFarAsScriptsNeedIt(t *testing.T) {
	c := dial(t, start(t))
	for line, want := range map[string]string{
		`echo a b`:                          "a b\n",
		`printf '%s\n' "x y" | cat`:         "x y\n",
		`a=$(uname -n); echo "[$a]"`:        "[gw-001]\n",
		`for i in 1 2; do echo $i; done`:    "1\n2\n",
		`id -u; sudo -n -- id -u`:           "1000\n0\n",
		`cat /etc/hostname`:                 "gw-001\n",
		`printf abc | sha256sum`:            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\n",
		`printf abc | base64 | tr -d '\n'`:  "YWJj",
		`head -c 3 /etc/hostname`:           "gw-",
		`printf '1\n2\n3' | head -n 2`:      "1\n2\n",
		`printf '1\n2' | head`:              "1\n2",
		`uname -a`:                          "Linux gw-001 6.1.0-28-arm64 aarch64\n",
		`stat -c '%a %U:%G %F' /etc/shadow`: "640 root:shadow regular file\n",
		`command -v systemctl`:              "/usr/bin/systemctl\n",
		`[ -x /usr/bin/cat ] && [ ! -w /etc/hostname ] && echo yes`:                               "yes\n",
		`echo one >/tmp/f; echo two >>/tmp/f; cat </tmp/f; rm /tmp/f; [ -e /tmp/f ] || echo gone`: "one\ntwo\ngone\n",
		`mkdir /tmp/d; cp /etc/hostname /tmp/d; mv /tmp/d/hostname /tmp/d/h; ls /tmp/d`:           "h\n",
		`env -i A=1 PATH=/usr/bin sh -c 'echo nothing'`:                                           "nothing\n",
		`env -i A=1 PATH=/bin sh -c 'echo "$A"'`:                                                  "1\n",
		`systemctl is-active edge-agent`:                                                          "active\n",
		`cat /dev/null; sync; hostname`:                                                           "gw-001\n",
	} {
		got, problems, _ := run(t, c, line)
		require.Equal(t, want, got, "%s: %s", line, problems)
	}
	for line, want := range map[string]int{
		`nothing`: 127, `/etc/hostname`: 126, `false`: 1, `exit 7`: 7, `cat /etc/nothing`: 1, `sudo id`: 1, `systemctl restart edge-agent`: 1,
		`sudo -n -- systemctl restart nothing`: 5, `sudo -n -- sshd -t`: 0, `sshd -T`: 1, `if`: 2, `edge-validate`: 64, `cat /etc/shadow`: 1,
		`sh -c 'exit 3'`: 3, `sleep x`: 1, `chmod 777 /etc/hostname`: 1, `sudo -n -- chown nobody:nogroup /etc/hostname`: 0,
	} {
		_, _, status := run(t, c, line)
		require.Equal(t, want, status, line)
	}
}

// TestNothingThatAClientSendsReachesThisMachine: the files that it makes are
// not here, and what is here is not there.
func TestNothingThatAClientSendsReachesThisMachine(t *testing.T) {
	here := t.TempDir()
	require.NoError(t, os.Chmod(here, 0o777)) //nolint:gosec // so that only the simulation keeps a client away
	file := filepath.Join(here, "file")
	require.NoError(t, os.WriteFile(file, []byte("here"), 0o600))
	tool := filepath.Join(here, "tool")
	require.NoError(t, os.WriteFile(tool, []byte("#!/bin/sh\necho here\n"), 0o700)) //nolint:gosec // a program has to be executable
	c := dial(t, start(t))
	for _, line := range []string{
		"cat " + file, "cat <" + file, "[ -e " + file + " ] && echo here", "[ -x " + tool + " ] && echo here", "[ -r " + file + " -o -x " + tool + " ] && echo here",
		"command -v " + tool, "type " + tool, ". " + tool, tool, "sudo -n -- " + tool, "exec " + tool, "echo " + here + "/*",
		"cd " + here + " && echo here", "ls " + here, "sh -c 'cat " + file + "'", "cat /proc/self/environ", "cat <(cat " + file + ")",
	} {
		stdout, _, _ := run(t, c, line)
		require.NotContains(t, strings.ReplaceAll(stdout, here+"/*", ""), "here", line)
		require.NotContains(t, stdout, "PATH=", line)
	}
	run(t, c, "echo x >"+here+"/made; sudo -n -- cp /etc/hostname "+here+"/copied; rm -rf "+here+"; echo $$ >"+file)
	files, err := sftp.NewClient(c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = files.Close() })
	_, err = files.Stat(file)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = files.Create(file)
	require.Error(t, err)
	entries, err := os.ReadDir(here)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "here", string(text))
}

func TestACommandThatIsInFlightEndsWithItsDevice(t *testing.T) {
	for _, line := range []string{"sleep 3600", "sh -s", "cat", "cat /etc/hostname | sleep 3600", "exec /usr/lib/openssh/sftp-server"} {
		d := start(t)
		session, err := dial(t, d).NewSession()
		require.NoError(t, err)
		_, err = session.StdinPipe() // which nobody closes
		require.NoError(t, err)
		require.NoError(t, session.Start(line))
		began := time.Now()
		require.NoError(t, d.Break(chassis.FaultOffline, true), line)
		require.Less(t, time.Since(began), patience, line)
		require.Error(t, session.Wait(), line)
	}
}

func TestTheFileTransferKnowsLinksModesAndOwners(t *testing.T) {
	c := dial(t, start(t))
	files, err := sftp.NewClient(c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = files.Close() })
	f, err := files.OpenFile("/tmp/a", os.O_CREATE|os.O_WRONLY|os.O_EXCL)
	require.NoError(t, err)
	_, err = f.Write([]byte("content"))
	require.NoError(t, err)
	require.NoError(t, f.Chmod(0o600))
	require.NoError(t, f.Close())
	_, err = files.OpenFile("/tmp/a", os.O_CREATE|os.O_WRONLY|os.O_EXCL)
	require.Error(t, err, "it is there")
	require.NoError(t, files.Link("/tmp/a", "/tmp/b"))
	require.NoError(t, files.Symlink("a", "/tmp/l"))
	target, err := files.ReadLink("/tmp/l")
	require.NoError(t, err)
	require.Equal(t, "a", target)
	info, err := files.Lstat("/tmp/l")
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	info, err = files.Stat("/tmp/l")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	require.EqualValues(t, 1000, info.Sys().(*sftp.FileStat).UID)
	require.Error(t, files.Rename("/tmp/a", "/tmp/b"), "a plain rename replaces nothing")
	require.NoError(t, files.PosixRename("/tmp/a", "/tmp/b"), "two names of one file both stay")
	entries, err := files.ReadDir("/tmp")
	require.NoError(t, err)
	require.Len(t, entries, 3)
	require.NoError(t, files.Remove("/tmp/a"))
	again, err := files.Open("/tmp/b")
	require.NoError(t, err)
	text := make([]byte, 16)
	n, _ := again.Read(text)
	require.Equal(t, "content", string(text[:n]))
	require.NoError(t, again.Close())
	_, err = files.Stat("/tmp/l")
	require.ErrorIs(t, err, os.ErrNotExist, "the link leads nowhere now")
	require.ErrorIs(t, files.Chown("/tmp/b", 0, 0), os.ErrPermission)
	_, err = files.Open("/etc/shadow")
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorIs(t, files.Remove("/etc/hostname"), os.ErrPermission)
	require.NoError(t, files.Mkdir("/tmp/d"))
	require.NoError(t, files.PosixRename("/tmp/b", "/tmp/d/b"))
	require.Error(t, files.RemoveDirectory("/tmp/d"), "it is not empty")
	require.NoError(t, files.Remove("/tmp/d/b"))
	require.NoError(t, files.RemoveDirectory("/tmp/d"))
}
