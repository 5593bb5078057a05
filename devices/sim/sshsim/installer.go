package sshsim

import (
	"fmt"
	"regexp"
	"strings"
)

// Paths of the agent's packages: what is installed, what was before, and where
// new ones are put.
const (
	edgeInstall     = "/usr/local/bin/edge-install"
	agentPackage    = "/usr/local/lib/edge/edge-agent.pkg"
	previousPackage = agentPackage + ".previous"
	incomingDir     = "/var/lib/edge/incoming"
)

// unwellLine is the second line of a package whose agent does not start.
const unwellLine = "does not start"

var packageHead = regexp.MustCompile(`^edge-agent [0-9][0-9A-Za-z.+-]*$`)

// Package is a package of the edge agent in that version, as the gateway
// installs it. One that is not well installs, and its agent does not start.
func Package(version string, well bool) string {
	text := fmt.Sprintf("edge-agent %s\n", version)
	if !well {
		text += unwellLine + "\n"
	}
	return text
}

// agentWell says whether the agent of a package starts.
func agentWell(text string) bool {
	lines := strings.SplitN(text, "\n", 3)
	return packageHead.MatchString(lines[0]) && (len(lines) < 2 || lines[1] != unwellLine)
}

// edgeInstall is /usr/local/bin/edge-install --verify FILE, --install FILE and
// --rollback. The one before is kept; what runs changes with a restart.
func (h *host) edgeInstall(p *process) int {
	switch {
	case len(p.args) == 3 && p.args[1] == "--verify":
		_, status := h.packageOf(p, p.args[2])
		return status
	case len(p.args) == 3 && p.args[1] == "--install":
		return h.installPackage(p, p.args[2])
	case len(p.args) == 2 && p.args[1] == "--rollback":
		return h.rollBackPackage(p)
	}
	return p.fail(64, "usage: edge-install --verify FILE | --install FILE | --rollback")
}

// packageOf reads a package, and refuses what is none.
func (h *host) packageOf(p *process, name string) (text string, status int) {
	h.mu.Lock()
	data, err := h.fs.read(p.who, name)
	h.mu.Unlock()
	if err != nil {
		return "", p.fail(66, "edge-install: %s: %s", name, strerror(err))
	}
	head, _, _ := strings.Cut(string(data), "\n")
	if !packageHead.MatchString(head) {
		return "", p.fail(65, "edge-install: %s is not a package of the edge agent", name)
	}
	return string(data), 0
}

func (h *host) installPackage(p *process, name string) int {
	text, status := h.packageOf(p, name)
	if status != 0 {
		return status
	}
	if !p.who.isRoot() {
		return p.fail(77, "edge-install: only root installs")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.contentLocked(agentPackage)
	h.storeLocked(previousPackage, before)
	h.replaceLocked("install", before, text)
	return 0
}

func (h *host) rollBackPackage(p *process) int {
	if !p.who.isRoot() {
		return p.fail(77, "edge-install: only root installs")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	previous := h.contentLocked(previousPackage)
	if previous == absent {
		return p.fail(66, "edge-install: there is no package from before")
	}
	h.replaceLocked("rollback", h.contentLocked(agentPackage), previous)
	return 0
}

func (h *host) replaceLocked(what, before, text string) {
	h.storeLocked(agentPackage, text)
	head := func(s string) string { line, _, _ := strings.Cut(s, "\n"); return line }
	h.journal.Add(what, agentPackage, head(before), head(text))
	h.onChange()
}
