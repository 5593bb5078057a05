package sshhost

import (
	"fmt"
	"strings"

	"edgefleet/devices"
)

// lineAt says in which of a file's lines a key is set: -1 for none. Only lines
// that begin with the key count, so comments and what is indented do not.
func lineAt(lines []string, a *devices.HostAddress) (int, error) {
	at := -1
	for i, line := range lines {
		if _, ok := lineOf(line, a); !ok {
			continue
		}
		if at >= 0 {
			return 0, fmt.Errorf("%s says %s twice, in line %d and in line %d; remove one of them on the device", a.Path, a.Key, at+1, i+1)
		}
		at = i
	}
	return at, nil
}

// lineOf returns the value behind the key when the line sets it. Keys of sshd
// have no case.
func lineOf(line string, a *devices.HostAddress) (string, bool) {
	if len(line) < len(a.Key) {
		return "", false
	}
	key, rest := line[:len(a.Key)], line[len(a.Key):]
	same := key == a.Key
	if a.Kind == devices.HostSSHD {
		same = strings.EqualFold(key, a.Key)
	}
	if !same {
		return "", false
	}
	if separator(a) == " " {
		if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
			return "", false
		}
		return strings.TrimSpace(rest), true
	}
	value, ok := strings.CutPrefix(strings.TrimLeft(rest, " \t"), separator(a))
	return strings.TrimSpace(value), ok
}

// lineValue is the value of a line, or HostAbsent.
func lineValue(content string, a *devices.HostAddress) (string, error) {
	lines := strings.Split(content, "\n")
	at, err := lineAt(lines, a)
	if err != nil || at < 0 {
		return devices.HostAbsent, err
	}
	value, _ := lineOf(lines[at], a)
	return value, nil
}

// setLine returns the content with the key set to the value, or without its
// line for HostAbsent. All other lines stay as they are. A new line of sshd
// goes to the top, because there the first one counts and a Match block would
// swallow it; any other goes to the end.
func setLine(content, value string, a *devices.HostAddress) (string, error) {
	lines := strings.Split(content, "\n")
	at, err := lineAt(lines, a)
	if err != nil {
		return "", err
	}
	line := a.Key + separator(a) + " " + value
	if separator(a) != ":" {
		line = a.Key + separator(a) + value
	}
	switch {
	case value == devices.HostAbsent && at < 0:
		return content, nil
	case value == devices.HostAbsent:
		return strings.Join(append(lines[:at:at], lines[at+1:]...), "\n"), nil
	case at >= 0:
		lines[at] = line
		return strings.Join(lines, "\n"), nil
	case a.Kind == devices.HostSSHD:
		return line + "\n" + content, nil
	case content != "" && !strings.HasSuffix(content, "\n"):
		return content + "\n" + line + "\n", nil
	}
	return content + line + "\n", nil
}

func separator(a *devices.HostAddress) string {
	if a.Kind == devices.HostSSHD {
		return " "
	}
	return a.Separator
}
