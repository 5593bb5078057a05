package devices

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

func TestAFilesContentIsAValueAsItIs(t *testing.T) {
	p := Point{Name: "config", Type: String, Host: &HostAddress{Kind: HostFile, Path: "/etc/a"}}
	for _, text := range []string{"", "\n", " a: 1\n\tb\r\n", HostAbsent} {
		v, err := p.Canonical(text)
		require.NoError(t, err)
		require.Equal(t, text, v)
		back, err := p.ParseExact(p.Exact(v))
		require.NoError(t, err)
		require.Equal(t, v, back)
	}
	_, err := p.Canonical(strings.Repeat("x", DefaultHostFile+1))
	require.EqualError(t, err, "config: 262145 bytes are more than the 262144 that /etc/a may have")
	_, err = p.Canonical(true)
	require.EqualError(t, err, "config: true is not a text; put it in quotes")
}

func TestHostValuesHaveOneForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Point{Name: "p", Type: String, Host: &HostAddress{
			Kind: rapid.SampledFrom([]HostKind{HostLine, HostMode, HostSSHD, HostService}).Draw(t, "kind"),
			Key:  "PermitRootLogin"}}
		v, err := p.Canonical(rapid.OneOf(
			rapid.SampledFrom([]string{"644 root:root", "0644 root:edge", "enabled  active", "Yes", "prohibit-password", " x "}).AsAny(),
			rapid.String().AsAny(), rapid.Int().AsAny()).Draw(t, "value"))
		if err != nil {
			return
		}
		again, err := p.Canonical(v)
		require.NoError(t, err)
		require.Equal(t, v, again)
	})
}

func TestParseHostCommandTakesWordsAndNoShell(t *testing.T) {
	words, err := ParseHostCommand("/usr/local/bin/edge-validate --config %s")
	require.NoError(t, err)
	require.Equal(t, []string{"/usr/local/bin/edge-validate", "--config", "%s"}, words)
	for _, text := range []string{"", "a; b", "a | b", "a 'b c'", "a $HOME", "a > b", "a *", "a `b`", "a\nb", "a && b"} {
		_, err := ParseHostCommand(text)
		require.Error(t, err, text)
	}
}

func TestThePrivateKeyIsNeverShown(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	s := SSHSecurity{User: "edge", HostKeys: []string{"SHA256:x"}, Signer: key}
	ep := Endpoint{SSH: &s}
	j, err := json.Marshal(ep)
	require.NoError(t, err)
	y, err := yaml.Marshal(s)
	require.NoError(t, err)
	shown := string(j) + string(y) + fmt.Sprintf("%v %+v %#v %s %+v", s, s, s, s, ep)
	seed := key.Seed()
	var numbers []string
	for _, b := range seed[:8] {
		numbers = append(numbers, fmt.Sprint(int(b)))
	}
	for _, secret := range []string{string(seed), hex.EncodeToString(seed[:8]), strings.Join(numbers, " ")} {
		require.NotContains(t, shown, secret)
	}
	require.NotContains(t, shown, "Signer")
}

func TestHostAddressesThatAreRefused(t *testing.T) {
	command := func(args ...string) *HostCommand { return &HostCommand{Name: "c", Args: args} }
	for name, c := range map[string]struct {
		address HostAddress
		words   string
	}{
		"a kind that is not known":           {HostAddress{Kind: "registry"}, "unknown kind"},
		"a path with a way up":               {HostAddress{Kind: HostFile, Path: "/etc/../shadow"}, "not an absolute path"},
		"a path with a line end":             {HostAddress{Kind: HostFile, Path: "/etc/a\nb"}, "control character"},
		"the root":                           {HostAddress{Kind: HostMode, Path: "/"}, "not an absolute path"},
		"a separator that is none":           {HostAddress{Kind: HostLine, Path: "/etc/a", Key: "a", Separator: "::"}, "separator"},
		"a fact that nobody has":             {HostAddress{Kind: HostFact, Key: "colour"}, "not one of the facts os, os_version"},
		"an output without a command":        {HostAddress{Kind: HostOutput}, "has no command"},
		"a validation without its candidate": {HostAddress{Kind: HostFile, Path: "/etc/a", Validate: command("check")}, "has %s 0 times, want 1"},
		"a restart with a candidate":         {HostAddress{Kind: HostFile, Path: "/etc/a", Restart: command("restart", "%s")}, "has %s 1 times, want 0"},
		"a command that is an option":        {HostAddress{Kind: HostRun, Command: command("-u", "root")}, "has no program"},
		"a command that sets a variable":     {HostAddress{Kind: HostRun, Command: command("LD_PRELOAD=/x", "ls")}, "has no program"},
		"a file over the limit":              {HostAddress{Kind: HostFile, Path: "/etc/a", MaxSize: MaxHostFile + 1}, "max_size"},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, c.address.Check(), c.words) })
	}
}
