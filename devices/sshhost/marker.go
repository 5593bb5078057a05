package sshhost

import (
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"strings"

	"edgefleet/devices"
)

// A change of a file with a restart or a health check is in effect only after
// these. Until then a marker beside the file says so, with the values from
// before. So a change that was interrupted, however hard, is seen as not made,
// is made again, and gets its restart.

// maxMarker bounds a marker, in bytes.
const maxMarker = 2 * devices.MaxHostFile

const markerHead = "edgefleet: this change has not been completed"

// beside names a file beside target, hidden from those who read all files of a
// directory with a certain ending.
func beside(target, what string) string {
	return path.Join(path.Dir(target), "."+path.Base(target)+".edgefleet-"+what)
}

func markerOf(target string) string { return beside(target, "pending") }

func markerKey(target string) string { return "pending:" + target }

// watched says whether a change of the point can be pending.
func watched(a *devices.HostAddress) bool {
	switch a.Kind {
	case devices.HostFile, devices.HostLine, devices.HostSSHD:
		return a.Path != "" && (a.Restart != nil || a.Health != nil)
	}
	return false
}

// entryKey names a point within its file.
func entryKey(a *devices.HostAddress) string {
	return string(a.Kind) + ":" + base64.StdEncoding.EncodeToString([]byte(strings.ToLower(a.Key)))
}

// marker is what stands beside a file while a change of it is pending.
type marker struct {
	// previous says that there was a file before; it is the latest kept one.
	previous bool
	// before are the values from before by entryKey; keys are in order.
	before map[string]string
	keys   []string
}

func (m *marker) set(key, value string) {
	if m.before == nil {
		m.before = map[string]string{}
	}
	if _, known := m.before[key]; !known {
		m.keys = append(m.keys, key)
		m.before[key] = value
	}
}

func (m *marker) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nprevious %t\n", markerHead, m.previous)
	for _, k := range m.keys {
		fmt.Fprintf(&b, "%s %s\n", k, base64.StdEncoding.EncodeToString([]byte(m.before[k])))
	}
	b.WriteString("end\n")
	return b.String()
}

// parseMarker is the inverse of String.
func parseMarker(text string) (marker, error) {
	var m marker
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] != markerHead || lines[len(lines)-2] != "end" || lines[len(lines)-1] != "" {
		return m, errors.New("it is not one of edgefleet's")
	}
	m.previous = lines[1] == "previous true"
	if !m.previous && lines[1] != "previous false" {
		return m, errors.New("it does not say whether there was a file before")
	}
	for _, line := range lines[2 : len(lines)-2] {
		key, payload, ok := strings.Cut(line, " ")
		value, err := base64.StdEncoding.DecodeString(payload)
		if _, twice := m.before[key]; !ok || err != nil || twice {
			return m, errors.New("it has a line that is not one of edgefleet's")
		}
		m.set(key, string(value))
	}
	return m, nil
}

// pendingValue returns the point's value from before a change that has not
// been completed.
func pendingValue(records map[string]record, a *devices.HostAddress) (before string, pending bool, err error) {
	text, there, err := fileContent(records, markerKey(a.Path), markerOf(a.Path), maxMarker)
	if err != nil || !there {
		return "", false, err
	}
	m, err := parseMarker(text)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w; look at it and remove it", markerOf(a.Path), err)
	}
	before, pending = m.before[entryKey(a)]
	return before, pending, nil
}
