package sshhost

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"edgefleet/devices"
)

// interpret takes the value of the i-th point out of the records.
func (s *script) interpret(records map[string]record, i int, p devices.Point) (found, error) {
	a := p.Host
	if watched(a) {
		before, pending, err := pendingValue(records, a)
		if err != nil || pending {
			return found{value: before, pending: pending}, err
		}
	}
	value, err := s.value(records, i, a)
	return found{value: value}, err
}

func (s *script) value(records map[string]record, i int, a *devices.HostAddress) (string, error) {
	switch a.Kind {
	case devices.HostFile, devices.HostLine:
		content, there, err := fileContent(records, strconv.Itoa(i), a.Path, a.Limit())
		switch {
		case err != nil:
			return "", err
		case !there:
			return devices.HostAbsent, nil
		case a.Kind == devices.HostLine:
			return lineValue(content, a)
		}
		return content, nil
	case devices.HostMode:
		return modeValue(records, strconv.Itoa(i), a.Path)
	case devices.HostSSHD:
		return optionValue(records, a)
	case devices.HostService:
		return s.unitValue(records, a.Key)
	case devices.HostFact:
		return factValue(records, a.Key)
	}
	return "", nil
}

func get(records map[string]record, key string) (record, error) {
	r, ok := records[key]
	if !ok {
		return r, errors.New("the host did not answer it")
	}
	return r, nil
}

// pathAnswer handles what files and modes have in common.
func pathAnswer(records map[string]record, key, path string) (payload string, there bool, err error) {
	r, err := get(records, key)
	if err != nil {
		return "", false, err
	}
	switch r.word {
	case "ok":
		return r.payload, true, nil
	case "absent":
		return "", false, nil
	case "symlink":
		return "", false, fmt.Errorf("%s is a symbolic link; let the profile name the file that it leads to", path)
	case "other":
		return "", false, fmt.Errorf("%s is not a regular file", path)
	}
	return "", false, fmt.Errorf("%s cannot be looked at (%s); let the profile say become, or the device give the log-in access", path, excerpt(r.payload))
}

func fileContent(records map[string]record, key, path string, limit int) (content string, there bool, err error) {
	payload, there, err := pathAnswer(records, key, path)
	if err != nil || !there {
		return "", there, err
	}
	content, ok := strings.CutSuffix(payload, "0\n")
	switch {
	case !ok:
		return "", false, fmt.Errorf("%s cannot be read; let the profile say become, or the device give the log-in access", path)
	case len(content) > limit:
		// What a power cut left is drift that can be repaired, so it is a
		// value, which differs from every one that can be wanted.
		return fmt.Sprintf("%s%d bytes)", devices.HostTooLong, limit), true, nil
	case !utf8.ValidString(content) || strings.ContainsRune(content, 0):
		return fmt.Sprintf("%s%d bytes, SHA-256 %x)", devices.HostNotText, len(content), sha256.Sum256([]byte(content))), true, nil
	}
	return content, true, nil
}

func modeValue(records map[string]record, key, path string) (string, error) {
	payload, there, err := pathAnswer(records, key, path)
	if err != nil {
		return "", err
	}
	if !there {
		return devices.HostAbsent, nil
	}
	// "640 root:edge 0:1001"; an ID without a name is UNKNOWN.
	words := strings.Fields(payload)
	if len(words) != 3 {
		return "", fmt.Errorf("the host gave %.80q for the mode of %s", payload, path)
	}
	owner, ids := strings.Split(words[1], ":"), strings.Split(words[2], ":")
	mode, err := strconv.ParseUint(words[0], 8, 16)
	if err != nil || len(owner) != 2 || len(ids) != 2 {
		return "", fmt.Errorf("the host gave %.80q for the mode of %s", payload, path)
	}
	for i := range owner {
		if owner[i] == "UNKNOWN" {
			owner[i] = ids[i]
		}
	}
	return fmt.Sprintf("%04o %s:%s", mode, owner[0], owner[1]), nil
}

func optionValue(records map[string]record, a *devices.HostAddress) (string, error) {
	r, err := get(records, sshdKey(a))
	switch {
	case err != nil:
		return "", err
	case r.word == "127":
		return "", errors.New("the host has no sshd in its path")
	case r.word != "0":
		return "", fmt.Errorf("sshd -T failed: %s", excerpt(r.payload))
	}
	var values []string
	for line := range strings.Lines(r.payload) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.EqualFold(key, a.Key) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	if len(values) == 0 {
		return devices.HostAbsent, nil
	}
	// Options that can be given several times are several lines.
	return strings.Join(values, "; "), nil
}

// unitValue reads the block of a unit: systemctl separates the units by an
// empty line, in the order in which they were asked for.
func (s *script) unitValue(records map[string]record, unit string) (string, error) {
	r, err := get(records, "units")
	switch {
	case err != nil:
		return "", err
	case r.word == "127":
		return "", errors.New("the host has no systemctl in its path")
	case r.word != "0":
		return "", fmt.Errorf("systemctl show failed: %s", excerpt(r.payload))
	}
	blocks := strings.Split(strings.TrimSpace(r.payload), "\n\n")
	if len(blocks) != len(s.units) {
		return "", fmt.Errorf("systemctl answered %d units of %d", len(blocks), len(s.units))
	}
	states := map[string]string{}
	for line := range strings.Lines(blocks[slices.Index(s.units, unit)]) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		states[key] = value
	}
	boot, now := states["UnitFileState"], states["ActiveState"]
	switch {
	case states["LoadState"] == "" || now == "":
		return "", fmt.Errorf("systemctl did not say how %s is", unit)
	case states["LoadState"] == "not-found":
		// What is not installed does not start, which is what is asked.
		boot = "disabled"
	case states["LoadState"] == "masked":
		boot = "masked"
	case boot == "":
		boot = "static"
	}
	return boot + " " + now, nil
}

func factValue(records map[string]record, fact string) (string, error) {
	key := map[string]string{"os": "os", "os_version": "os", "machine_id": "machine"}[fact]
	if key == "" {
		key = fact
	}
	r, err := get(records, key)
	if err != nil {
		return "", err
	}
	if r.word != "0" {
		return "", fmt.Errorf("the host does not say its %s: %s", fact, excerpt(r.payload))
	}
	switch fact {
	case "os":
		return osRelease(r.payload, "ID"), nil
	case "os_version":
		return osRelease(r.payload, "VERSION_ID"), nil
	case "machine_id":
		return hashMachineID(r.payload), nil
	}
	return excerpt(strings.TrimSpace(r.payload)), nil
}

// osRelease reads a field of os-release(5), or "" when it is not there.
func osRelease(text, field string) string {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key == field {
			return excerpt(strings.Trim(value, `"'`))
		}
	}
	return ""
}

// hashMachineID keeps the machine ID on the machine, as machine-id(5) asks:
// equal hosts have equal hashes, and nothing leads back.
func hashMachineID(text string) string {
	sum := sha256.Sum256([]byte("edgefleet machine-id\n" + strings.TrimSpace(text)))
	return hex.EncodeToString(sum[:16])
}
