package sshhost

import (
	"fmt"
	"slices"
	"strings"

	"edgefleet/devices"
)

// job is the replacement of one file by one write.
type job struct {
	path   string
	become bool
	// address has what belongs to the file: all points of a file agree on it.
	address *devices.HostAddress
	// settings are of this file: one whole content, or values of lines.
	settings []planned

	// What the host has now: nil and "" when there is no file.
	now     *attributes
	content string
	// pending is what an interrupted change left to be done; nil when nothing.
	pending *marker
	// want is the new content; gone removes the file.
	want string
	gone bool
	// candidate is where the new content stands until it replaces the file.
	candidate string
	// previous says that the file before the change is kept.
	previous bool
	// marked and committed say how far the change has gone.
	marked, committed bool
}

// planned is a setting and its place in the write.
type planned struct {
	devices.Setting
	index int
}

// changes says whether the file has to become another one.
func (j *job) changes() bool {
	if j.gone {
		return j.now != nil
	}
	return j.now == nil || j.want != j.content
}

// watched says whether a marker stands beside the file while it changes.
func (j *job) watched() bool {
	return slices.ContainsFunc(j.settings, func(s planned) bool { return watched(s.Point.Host) })
}

// plan is a write, sorted by what has to be done.
type plan struct {
	jobs                  []*job
	modes, services, runs []planned
	// watch are the points to be read first.
	watch []devices.Point
	place []int
}

// planWrite checks every setting before anything is sent.
func planWrite(settings []devices.Setting) (*plan, *fault) {
	p := &plan{}
	byPath := map[string]*job{}
	seen := map[string]string{}
	for i, s := range settings {
		if err := checkPoint(s.Point); err != nil {
			return nil, &fault{kind: devices.Unsupported, err: err}
		}
		a := s.Point.Host
		v, err := s.Point.Canonical(s.Value)
		if err != nil {
			return nil, &fault{kind: devices.Rejected, err: err}
		}
		place := fmt.Sprintf("%s %s %s", a.Kind, a.Path, strings.ToLower(a.Key))
		if first, twice := seen[place]; twice && a.Kind != devices.HostRun {
			return nil, &fault{kind: devices.Rejected, err: fmt.Errorf("%s and %s are the same place on the host", first, s.Point.Name)}
		}
		seen[place] = s.Point.Name
		item := planned{devices.Setting{Point: s.Point, Value: v}, i}
		switch a.Kind {
		case devices.HostFact, devices.HostOutput:
			return nil, &fault{kind: devices.Unsupported, err: fmt.Errorf("%s can only be read", s.Point.Name)}
		case devices.HostRun:
			p.runs = append(p.runs, item)
			continue
		case devices.HostMode:
			p.modes = append(p.modes, item)
		case devices.HostService:
			p.services = append(p.services, item)
		default:
			if f := p.addToFile(byPath, item); f != nil {
				return nil, f
			}
		}
		p.watch, p.place = append(p.watch, s.Point), append(p.place, i)
	}
	return p, nil
}

func (p *plan) addToFile(byPath map[string]*job, item planned) *fault {
	a := item.Point.Host
	if a.Path == "" {
		return &fault{kind: devices.Unsupported, err: fmt.Errorf("%s has no drop-in file, so it can only be read", item.Point.Name)}
	}
	j := byPath[a.Path]
	if j == nil {
		j = &job{path: a.Path, become: a.Become, address: a}
		byPath[a.Path] = j
		p.jobs = append(p.jobs, j)
	} else {
		first := j.settings[0].Point
		switch {
		case first.Host.Kind == devices.HostFile || a.Kind == devices.HostFile:
			return &fault{kind: devices.Rejected, err: fmt.Errorf("%s and %s both write %s; one of them has to leave", first.Name, item.Point.Name, a.Path)}
		case a.Become != j.become || !same(a.Validate, j.address.Validate) || !same(a.Restart, j.address.Restart) || !same(a.Health, j.address.Health):
			return &fault{kind: devices.Unsupported, err: fmt.Errorf("%s and %s are both in %s and differ in their commands; let the profile give them the same", first.Name, item.Point.Name, a.Path)}
		}
	}
	j.settings = append(j.settings, item)
	return nil
}

func same(a, b *devices.HostCommand) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Become == b.Become && slices.Equal(a.Args, b.Args)
}

// content works out what the file shall have.
func (j *job) desire() error {
	text := j.content
	for _, s := range j.settings {
		value, a := s.Value.(string), s.Point.Host
		if a.Kind == devices.HostFile {
			j.want, j.gone = value, value == devices.HostAbsent
			return nil
		}
		var err error
		if text, err = setLine(text, value, a); err != nil {
			return refuse("%s: %v", s.Point.Name, err)
		}
	}
	j.want = text
	// A file that is not there and has no line stays so.
	j.gone = j.now == nil && text == ""
	return nil
}

// handlers returns the distinct commands of the jobs that chosen by pick, in
// the order of the settings.
func handlers(jobs []*job, pick func(*devices.HostAddress) *devices.HostCommand) []*devices.HostCommand {
	var out []*devices.HostCommand
	for _, j := range jobs {
		c := pick(j.address)
		if c != nil && !slices.ContainsFunc(out, func(o *devices.HostCommand) bool { return same(o, c) }) {
			out = append(out, c)
		}
	}
	return out
}
