package sshhost

import "edgefleet/devices"

// Sessions counts the commands and file sessions that a link's line has had.
func Sessions(l devices.Link) int64 { return l.(*link).Line.execs.Load() }

// Connections counts the connections that are in use or can be used.
func Connections(d *Driver) int {
	d.lines.mu.Lock()
	defer d.lines.mu.Unlock()
	n := 0
	for c := range d.lines.conns {
		if !c.retired {
			n++
		}
	}
	return n
}
