package sshsim

import (
	"fmt"
	"slices"
	"strings"
)

// unitLocked returns the states of a unit as they are now: the agent takes its
// time to start.
func (h *host) unitLocked(name string) unit {
	u := *h.units[name]
	if name == agentUnit && u.Now == "active" && h.now().Before(h.agentReady) {
		u.Now = "activating"
	}
	return u
}

// startUnitLocked starts a unit. The agent loads its configuration, and fails
// when it cannot.
func (h *host) startUnitLocked(name string) (problem string) {
	u := h.units[name]
	u.Now = "active"
	if name != agentUnit {
		return ""
	}
	text := h.contentLocked(edgeConfig)
	if err := validateConfig([]byte(text)); err != nil || text == absent || !agentWell(h.contentLocked(agentPackage)) {
		u.Now = "failed"
		return "the control process exited with error code"
	}
	h.running = text
	h.agentReady = h.now().Add(h.settle)
	return ""
}

// systemctl does what the program of that name does with the verbs that the
// gateway needs.
func (h *host) systemctl(p *process) int {
	var properties, units []string
	verb, rest := "", false
	for _, arg := range p.args[1:] {
		switch {
		case rest || !strings.HasPrefix(arg, "-"):
			if verb == "" {
				verb = arg
			} else {
				units = append(units, arg)
			}
		case arg == "--":
			rest = true
		case strings.HasPrefix(arg, "--property="):
			properties = strings.Split(strings.TrimPrefix(arg, "--property="), ",")
		case arg != "--no-pager" && arg != "--no-ask-password" && arg != "--quiet":
			return p.fail(1, "systemctl: unrecognized option '%s'", arg)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, u := range units {
		if !strings.Contains(u, ".") {
			units[i] = u + ".service"
		}
	}
	switch verb {
	case "show":
		for i, name := range units {
			if i > 0 {
				p.print("\n")
			}
			h.showLocked(p, name, properties)
		}
		return 0
	case "is-active", "is-enabled":
		return h.isLocked(p, verb, units)
	}
	return h.orderLocked(p, verb, units)
}

func (h *host) showLocked(p *process, name string, properties []string) {
	values := map[string]string{"Id": name, "LoadState": "not-found", "ActiveState": "inactive", "UnitFileState": "", "SubState": "dead"}
	if h.units[name] != nil {
		u := h.unitLocked(name)
		values["LoadState"], values["ActiveState"], values["UnitFileState"] = "loaded", u.Now, u.Boot
		if u.Boot == "masked" {
			values["LoadState"] = "masked"
		}
	}
	for _, key := range []string{"Id", "LoadState", "ActiveState", "SubState", "UnitFileState"} {
		if len(properties) == 0 || slices.Contains(properties, key) {
			p.print("%s=%s\n", key, values[key])
		}
	}
}

func (h *host) isLocked(p *process, verb string, units []string) int {
	status := 0
	for _, name := range units {
		state, good := "inactive", false
		if verb == "is-enabled" {
			state = "not-found"
		}
		if h.units[name] != nil {
			u := h.unitLocked(name)
			if state, good = u.Now, u.Now == "active"; verb == "is-enabled" {
				state, good = u.Boot, u.Boot == "enabled"
			}
		}
		p.print("%s\n", state)
		if !good {
			status = 3
		}
	}
	return status
}

// orderLocked changes units, which only root may.
func (h *host) orderLocked(p *process, verb string, units []string) int {
	if !slices.Contains([]string{"start", "stop", "restart", "reload", "enable", "disable", "mask", "unmask"}, verb) {
		return p.fail(1, "Unknown command verb %s.", verb)
	}
	if !p.who.isRoot() {
		return p.fail(1, "Failed to %s %s: Interactive authentication required.", verb, strings.Join(units, " "))
	}
	for _, name := range units {
		u := h.units[name]
		switch {
		case u == nil:
			return p.fail(5, "Failed to %s %s: Unit %s not found.", verb, name, name)
		case u.Boot == "masked" && (verb == "start" || verb == "restart" || verb == "enable"):
			return p.fail(1, "Failed to %s %s: Unit %s is masked.", verb, name, name)
		case verb == "reload" && u.Now != "active":
			return p.fail(1, "%s is not active, cannot reload.", name)
		}
		before := u.String()
		problem := h.obeyLocked(verb, name, u)
		h.orderedLocked(verb, name, before)
		if problem != "" {
			return p.fail(1, "Job for %s failed because %s.", name, problem)
		}
	}
	return 0
}

func (h *host) obeyLocked(verb, name string, u *unit) (problem string) {
	switch verb {
	case "start":
		if u.Now != "active" {
			return h.startUnitLocked(name)
		}
	case "restart":
		return h.startUnitLocked(name)
	case "reload":
		if name == sshUnit {
			if _, err := h.sshdOptionsLocked(sshdConfig); err != nil {
				return "the control process exited with error code"
			}
		}
	case "stop":
		u.Now = "inactive"
	case "enable":
		u.Boot = "enabled"
	case "disable", "unmask":
		u.Boot = "disabled"
	case "mask":
		u.Boot = "masked"
	}
	return ""
}

// orderedLocked records an order to a unit.
func (h *host) orderedLocked(verb, name, before string) {
	after := h.units[name].String()
	setting, isSetting := unitSettings()[name]
	switch {
	case isSetting:
		h.journal.Add(setting, name, before, after)
	case name == agentUnit && verb == "restart":
		h.journal.Add("restart", name, before, after)
	default:
		h.journal.Add(fmt.Sprintf("%s %s", verb, name), name, before, after)
	}
	h.rewrittenLocked(name, isSetting)
}
