package sshhost

import "edgefleet/devices"

// Sessions counts the commands and file sessions that a link's line has had.
func Sessions(l devices.Link) int64 { return l.(*link).line.execs.Load() }

// Connections counts the connections that are open.
func Connections(d *Driver) int {
	d.pool.mu.Lock()
	defer d.pool.mu.Unlock()
	return len(d.pool.conns)
}
