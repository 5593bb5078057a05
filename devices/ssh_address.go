package devices

import (
	"crypto"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// HostKind is what a point on a Linux host is.
type HostKind string

// The kinds. The values of all of them are texts.
const (
	// HostFile is a file's whole content, or HostAbsent.
	HostFile HostKind = "file"
	// HostLine is the value behind Key in a file of lines "key<separator>value",
	// or HostAbsent.
	HostLine HostKind = "line"
	// HostMode is the permissions and owner of a path: "0640 root:edge".
	HostMode HostKind = "mode"
	// HostSSHD is an option as the SSH daemon understands its configuration
	// ("sshd -T"). It is written as a line of the drop-in file Path.
	HostSSHD HostKind = "sshd"
	// HostService is a systemd unit's state at boot and now: "enabled active".
	// A unit that is not installed is "disabled inactive".
	HostService HostKind = "service"
	// HostFact is what the host says it is, and is only read: Key is one of
	// HostFacts.
	HostFact HostKind = "fact"
	// HostOutput is the first line that Command prints, and is only read.
	HostOutput HostKind = "output"
	// HostRun runs Command when HostRunValue is written; it cannot be read.
	HostRun HostKind = "run"
)

const (
	// HostAbsent is the value of a file or line that does not exist. Written,
	// it removes the file or line. A file that contains exactly this is taken
	// for an absent one.
	HostAbsent = "(absent)"
	// HostNotText and HostTooLong begin the values of a file that is not a
	// text in UTF-8, or that is longer than it may be. They are only read.
	HostNotText = "(not a text: "
	HostTooLong = "(longer than "
	// HostRunValue is what is written to a HostRun point.
	HostRunValue = RunValue
	// MaxHostFile is the largest file, in bytes, that can be a point.
	MaxHostFile = 1 << 20
	// DefaultHostFile is the limit of a point that states none.
	DefaultHostFile = 256 << 10
)

// HostFacts returns the facts that a HostFact point can be: the ID and
// VERSION_ID of os-release, kernel release, machine, node name, and a hash of
// the machine ID.
func HostFacts() []string {
	return []string{"os", "os_version", "kernel", "arch", "hostname", "machine_id"}
}

// HostAddress is where a point stands on a Linux host, and what has to happen
// when it is changed. Commands come from a profile only.
type HostAddress struct {
	Kind HostKind
	// Path is the absolute path of a file, line or mode; of an sshd option the
	// drop-in file, or "" when the option is only read.
	Path string
	// Key is the key of a line, the option of sshd, the unit of a service, or
	// the name of a fact.
	Key string
	// Separator stands between a line's key and its value: ":", "=" or " ".
	// sshd options have " ".
	Separator string
	// Config is the configuration that the SSH daemon reads; "" is its default.
	Config string
	// MaxSize bounds a file, in bytes (0: DefaultHostFile).
	MaxSize int
	// NewMode is the mode of a file that did not exist (0: 0640).
	NewMode uint32
	// Become reads and writes the point as root, with sudo -n.
	Become bool
	// Command is for HostOutput and HostRun.
	Command *HostCommand
	// Validate has to accept a candidate for the file, whose path stands for
	// the %s in it, before the candidate replaces the file.
	Validate *HostCommand
	// Restart is run once after all changes of a write that name it; Health
	// has to succeed after that, within its HealthWithin.
	Restart, Health *HostCommand
}

// HostCommand is a command of a profile, which runs without a shell's reading
// of its arguments.
type HostCommand struct {
	// Name is what errors call it: "restart edge service".
	Name string
	// Args are the program, absolute or found in the driver's fixed PATH, and
	// its arguments.
	Args []string
	// Become runs it as root, with sudo -n.
	Become bool
	// Timeout bounds one run (0: 20 s).
	Timeout time.Duration
	// HealthWithin bounds how long a health command is asked again until it
	// succeeds (0: 15 s).
	HealthWithin time.Duration
}

// SSHSecurity is how a host is known, and how one is known to it. Printed or
// marshalled, it does not show the private key.
type SSHSecurity struct {
	// User logs in.
	User string
	// HostKeys are fingerprints, "SHA256:" and 43 characters of base64. The
	// host has to prove that it has one of these keys.
	HostKeys []string
	// Signer is the private key: ed25519, ECDSA, or RSA of 2048 bits or more.
	Signer crypto.Signer `json:"-" yaml:"-"`
}

// String names the user and the pinned keys only.
func (s SSHSecurity) String() string {
	return fmt.Sprintf("user %s, host keys %s", s.User, strings.Join(s.HostKeys, " "))
}

// GoString is String: %#v shows no private key either.
func (s SSHSecurity) GoString() string { return s.String() }

var (
	hostKeyPattern = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)
	userPattern    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?$`)
	optionPattern  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,62}$`)
	unitPattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:_.@\\-]{0,250}$`)
	modePattern    = regexp.MustCompile(`^([0-7]{3,4}) ([A-Za-z0-9_][A-Za-z0-9_.-]*\$?):([A-Za-z0-9_][A-Za-z0-9_.-]*\$?)$`)
	keyPattern     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./-]{0,126}$`)
)

// Check says in words what is wrong with the user, the host keys or the
// private key, each with its remedy.
func (s SSHSecurity) Check() error {
	if !userPattern.MatchString(s.User) {
		return fmt.Errorf("user %.40q is not a login name", s.User)
	}
	if len(s.HostKeys) == 0 {
		return fmt.Errorf("no host key is pinned; read its fingerprint on the device (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) and compare it with what enrolling shows")
	}
	for _, k := range s.HostKeys {
		if err := ValidHostKey(k); err != nil {
			return err
		}
	}
	if s.Signer == nil {
		return fmt.Errorf("there is no private key for %s", s.User)
	}
	return nil
}

// ValidHostKey accepts the SHA-256 fingerprint of a host key.
func ValidHostKey(fingerprint string) error {
	if !hostKeyPattern.MatchString(fingerprint) {
		return fmt.Errorf("host key %.60q is not a fingerprint; give it as ssh-keygen -lf shows it, SHA256:... with 43 characters", fingerprint)
	}
	return nil
}

// Limit is the largest content of a file, in bytes.
func (a HostAddress) Limit() int {
	if a.MaxSize > 0 {
		return min(a.MaxSize, MaxHostFile)
	}
	return DefaultHostFile
}

// Check says in words what is wrong with the address. What it accepts is
// safe to be put, quoted, into a command line.
func (a HostAddress) Check() error {
	if err := a.checkKind(); err != nil {
		return err
	}
	if a.MaxSize < 0 || a.MaxSize > MaxHostFile {
		return fmt.Errorf("max_size %d is not within 1 to %d", a.MaxSize, MaxHostFile)
	}
	if a.NewMode > 0o7777 {
		return fmt.Errorf("new_mode %o is not a mode", a.NewMode)
	}
	if a.Config != "" {
		if err := ValidHostPath(a.Config); err != nil {
			return err
		}
	}
	for _, c := range []*HostCommand{a.Command, a.Restart, a.Health} {
		if c == nil {
			continue
		}
		if err := c.check(0); err != nil {
			return err
		}
	}
	if a.Validate != nil {
		return a.Validate.check(1)
	}
	return nil
}

func (a HostAddress) checkKind() error {
	switch a.Kind {
	case HostFile, HostMode:
		return ValidHostPath(a.Path)
	case HostLine:
		if !keyPattern.MatchString(a.Key) {
			return fmt.Errorf("key %.80q is not the key of a line", a.Key)
		}
		if a.Separator != ":" && a.Separator != "=" && a.Separator != " " {
			return fmt.Errorf("separator %.20q is not one of ':', '=' and ' '", a.Separator)
		}
		return ValidHostPath(a.Path)
	case HostSSHD:
		if !optionPattern.MatchString(a.Key) {
			return fmt.Errorf("%.80q is not the name of an option of sshd", a.Key)
		}
		if a.Path != "" {
			return ValidHostPath(a.Path)
		}
	case HostService:
		if !unitPattern.MatchString(a.Key) {
			return fmt.Errorf("%.80q is not the name of a systemd unit", a.Key)
		}
	case HostFact:
		if !slices.Contains(HostFacts(), a.Key) {
			return fmt.Errorf("%.80q is not one of the facts %s", a.Key, strings.Join(HostFacts(), ", "))
		}
	case HostOutput, HostRun:
		if a.Command == nil {
			return fmt.Errorf("kind %s has no command", a.Kind)
		}
	default:
		return fmt.Errorf("unknown kind %.40q", a.Kind)
	}
	return nil
}

// check wants exactly so many %s.
func (c HostCommand) check(candidates int) error {
	if len(c.Args) == 0 || c.Args[0] == "" || strings.HasPrefix(c.Args[0], "-") || strings.Contains(c.Args[0], "=") {
		return fmt.Errorf("command %q has no program", c.Name)
	}
	found := 0
	for _, arg := range c.Args {
		found += strings.Count(arg, "%s")
		if !utf8.ValidString(arg) || strings.ContainsFunc(arg, unicode.IsControl) {
			return fmt.Errorf("command %q has a control character in %.80q", c.Name, arg)
		}
	}
	if found != candidates {
		return fmt.Errorf("command %q has %%s %d times, want %d: it stands for the candidate file of a validation, and for nothing else", c.Name, found, candidates)
	}
	return nil
}

// ParseHostCommand splits a command at its spaces, as the profile has it. What
// a shell would read as more than a word is refused: such a command is given
// as a list of its words.
func ParseHostCommand(text string) ([]string, error) {
	if i := strings.IndexAny(text, "'\"`\\$;&|<>(){}*?[]#~!\n\r\t"); i >= 0 {
		return nil, fmt.Errorf("%q in the command %.80q is for a shell, and none reads it; give the command as a list of words", text[i:i+1], text)
	}
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, fmt.Errorf("the command is empty")
	}
	return words, nil
}

// ValidHostPath accepts absolute paths in their shortest form, without control
// characters, whose last part leaves room for the names beside it.
func ValidHostPath(p string) error {
	switch {
	case !path.IsAbs(p) || path.Clean(p) != p || p == "/" || len(p) > 1024:
		return fmt.Errorf("path %.80q is not an absolute path in its shortest form", p)
	case len(path.Base(p)) > 200:
		return fmt.Errorf("the name in path %.80q... is longer than 200 bytes", p)
	case !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl):
		return fmt.Errorf("path %.80q has a control character", p)
	}
	return nil
}

// hostToRaw checks a value that is to stand on a host.
func (p Point) hostToRaw(v any) (Raw, error) {
	switch n := v.(type) {
	case int, int64, uint64:
		v = fmt.Sprint(n)
	}
	s, ok := v.(string)
	if !ok {
		return Raw{}, fmt.Errorf("%s: %v is not a text; put it in quotes", p.Name, v)
	}
	text, err := p.Host.canonical(s)
	if err != nil {
		return Raw{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	return Raw{Text: text}, nil
}

func (a HostAddress) canonical(s string) (string, error) {
	if a.Kind == HostFile {
		switch {
		case len(s) > a.Limit():
			return "", fmt.Errorf("%d bytes are more than the %d that %s may have", len(s), a.Limit(), a.Path)
		case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
			return "", fmt.Errorf("the content for %s is not a text in UTF-8", a.Path)
		case strings.HasPrefix(s, HostNotText) || strings.HasPrefix(s, HostTooLong):
			return "", fmt.Errorf("%.80q says what %s was, and is no content for it", s, a.Path)
		}
		return s, nil
	}
	s = strings.TrimSpace(s)
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "", fmt.Errorf("%.80q is not one line of text", s)
	}
	switch a.Kind {
	case HostMode:
		return canonicalMode(s)
	case HostService:
		return canonicalService(s)
	case HostSSHD:
		return canonicalOption(a.Key, s), nil
	case HostRun:
		if s != HostRunValue {
			return "", fmt.Errorf("%.80q is not %q", s, HostRunValue)
		}
	}
	return s, nil
}

func canonicalMode(s string) (string, error) {
	m := modePattern.FindStringSubmatch(s)
	switch {
	case s == HostAbsent:
		return s, nil
	case m == nil:
		return "", fmt.Errorf("%.80q is not permissions and owner, such as 0640 root:edge", s)
	case len(m[1]) == 3:
		return "0" + s, nil
	}
	return s, nil
}

func canonicalService(s string) (string, error) {
	words := strings.Fields(s)
	if len(words) != 2 {
		return "", fmt.Errorf("%.80q is not a unit's two states, such as enabled active", s)
	}
	return strings.Join(words, " "), nil
}

// canonicalOption gives a value the form in which sshd -T has it.
func canonicalOption(key, s string) string {
	if strings.EqualFold(key, "PermitRootLogin") && strings.EqualFold(s, "prohibit-password") {
		return "without-password"
	}
	if slices.Contains([]string{"yes", "no", "any", "none", "without-password", "forced-commands-only"}, strings.ToLower(s)) {
		return strings.ToLower(s)
	}
	return s
}
