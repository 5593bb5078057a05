package sshhost

import (
	"time"

	"edgefleet/devices"
	"edgefleet/devices/dial"
)

// undoAtLeast is how long at least a write outlives its caller to put back
// what was.
const undoAtLeast = 30 * time.Second

// serviceCommands is how many commands of systemctl lead a unit from any state
// to any other: stop, unmask, enable, start.
const serviceCommands = 4

// WriteWithin returns how long a Write of the settings may take in the worst
// case on a host that is slow and answers: the sum of the time limits of all
// its steps, each taken once, and of putting everything back because the last
// of them failed. A restart and its health check alone may take far longer than
// any single command, so a caller that bounds a write chooses no less. Not in
// it is the time that the call waits for other callers' writes to the host.
//
// The limits are those of the commands (devices.HostCommand.Timeout and
// HealthWithin) and of endpoints that state no time-outs. Settings that Write
// refuses before anything is sent take no time: 0.
func WriteWithin(settings []devices.Setting) time.Duration {
	p, f := planWrite(settings)
	if f != nil || len(settings) == 0 {
		return 0
	}
	const answer = DefaultResponseTimeout
	// Connecting, and looking with and without the rights of root.
	total := dial.DefaultTimeout + answer + scripts(answer)
	if len(p.jobs) > 0 {
		// File sessions with and without these rights, and hashes.
		total += 2*answer + scripts(answer)
	}
	for _, j := range p.jobs {
		// Prepare, keep, replace, unmark.
		total += 4 * answer
		if v := j.address.Validate; v != nil {
			total += commandTimeout(v)
		}
	}
	if len(p.modes) > 0 {
		total += scripts(answer)
	}
	if len(p.jobs)+len(p.modes) > 0 {
		total += p.aftermath() + p.undoWithin(answer)
	}
	total += time.Duration(len(p.services)*serviceCommands) * DefaultCommandTimeout
	for _, r := range p.runs {
		total += commandTimeout(r.Point.Host.Command)
	}
	return total
}

// scripts is how long one of the driver's scripts may take as root and one as
// the log-in.
func scripts(answer time.Duration) time.Duration { return 2 * max(answer, DefaultCommandTimeout) }

// aftermath is how long the restarts and health checks may take.
func (p *plan) aftermath() time.Duration {
	var total time.Duration
	for _, cmd := range handlers(p.jobs, func(a *devices.HostAddress) *devices.HostCommand { return a.Restart }) {
		total += commandTimeout(cmd)
	}
	for _, cmd := range handlers(p.jobs, func(a *devices.HostAddress) *devices.HostCommand { return a.Health }) {
		// The last question is given a second, however late it is asked.
		total += healthWithin(cmd) + time.Second
	}
	return total
}

// undoWithin is how long putting back may take where an answer may take so
// long: it must not be cut short between the files from before and the restart
// that brings them into effect.
func (p *plan) undoWithin(answer time.Duration) time.Duration {
	// Connecting anew and file sessions, modes, and of each file restoring and
	// unmarking.
	total := dial.DefaultTimeout + 3*answer + scripts(answer) + time.Duration(len(p.jobs))*2*answer + p.aftermath()
	return max(undoAtLeast, total)
}

func healthWithin(cmd *devices.HostCommand) time.Duration {
	if cmd.HealthWithin > 0 {
		return cmd.HealthWithin
	}
	return DefaultHealthWithin
}
