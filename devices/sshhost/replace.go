package sshhost

import (
	"fmt"
	"io/fs"
	"strings"

	"edgefleet/devices"
)

// prepare finds out what the host has, and puts a candidate beside the file
// when that is not what is wanted. It changes nothing that anyone reads.
func (f *files) prepare(j *job) error {
	candidate := j.candidate
	j.candidate = ""
	if err := f.clean(j.path); err != nil {
		return fmt.Errorf("look into its directory: %w", err)
	}
	now, err := f.lstat(j.path)
	if err != nil {
		return err
	}
	if j.now = now; now != nil {
		if j.content, err = f.read(j.path, devices.MaxHostFile+1); err != nil {
			return err
		}
	}
	if err := f.readMarker(j); err != nil {
		return err
	}
	if err := j.desire(); err != nil {
		return err
	}
	if !j.changes() {
		return nil
	}
	if !j.gone {
		j.candidate = candidate
		mode := fs.FileMode(j.address.NewMode)
		switch {
		case now != nil:
			mode = now.mode
		case mode == 0:
			mode = 0o640
		}
		if err := f.create(j.candidate, j.want, mode, now); err != nil {
			return fmt.Errorf("upload a candidate: %w", err)
		}
	}
	return nil
}

func (f *files) readMarker(j *job) error {
	name := markerOf(j.path)
	at, err := f.lstat(name)
	if err != nil || at == nil {
		return err
	}
	text, err := f.read(name, maxMarker)
	if err != nil {
		return err
	}
	m, err := parseMarker(text)
	if err != nil {
		return refuse("%s: %v; look at it and remove it", name, err)
	}
	j.pending, j.previous, j.marked = &m, m.previous, true
	return nil
}

// keep keeps the file as it is beside itself, and notes that a change is under
// way. The file of an interrupted change was never in effect: what is kept is
// the one before it.
func (f *files) keep(j *job, generations int, before []found) error {
	if j.changes() && j.pending == nil && j.now != nil {
		if err := f.rotate(j, generations); err != nil {
			return fmt.Errorf("keep the present file: %w", err)
		}
		j.previous = true
	}
	if !j.watched() {
		return nil
	}
	var m marker
	if j.pending != nil {
		m = *j.pending
	}
	m.previous = j.previous
	for _, s := range j.settings {
		m.set(entryKey(s.Point.Host), before[s.index].value)
	}
	j.marked = true
	if err := f.put(markerOf(j.path), m.String(), 0o600, nil); err != nil {
		return fmt.Errorf("note the change: %w", err)
	}
	return nil
}

// kept names an earlier content; 1 is the latest.
func kept(target string, n int) string { return beside(target, fmt.Sprintf("prev.%d", n)) }

// rotate keeps the present file as the latest earlier one, unless an attempt
// that died has done so.
func (f *files) rotate(j *job, generations int) error {
	at, err := f.lstat(kept(j.path, 1))
	if err != nil {
		return err
	}
	if at != nil && at.size == j.now.size {
		latest, err := f.read(kept(j.path, 1), devices.MaxHostFile+1)
		if err != nil {
			return err
		}
		if latest == j.content && at.mode == j.now.mode && at.uid == j.now.uid && at.gid == j.now.gid && len(latest) <= devices.MaxHostFile {
			return nil
		}
	}
	for n := generations; n > 1 && at != nil; n-- {
		if err := ignoreAbsent(f.client.PosixRename(kept(j.path, n-1), kept(j.path, n))); err != nil {
			return err
		}
	}
	return f.twin(j.path, kept(j.path, 1))
}

// commit makes the candidate the file. It refuses when someone else has
// changed the file since it was looked at.
func (f *files) commit(j *job) error {
	j.committed = false
	now, err := f.lstat(j.path)
	if err != nil {
		return err
	}
	if (now == nil) != (j.now == nil) || now != nil && *now != *j.now {
		return refuse("someone else changed %s meanwhile; compare it with its baseline again", j.path)
	}
	j.committed = true
	if j.gone {
		err = ignoreAbsent(f.client.Remove(j.path))
	} else {
		err = f.client.PosixRename(j.candidate, j.path)
	}
	if err != nil && !lostErr(err) {
		j.committed = false
	}
	return err
}

// discard removes the candidate of a change that is not made, and the note of
// one that has changed nothing.
func (f *files) discard(j *job) error {
	if j.candidate != "" && !j.committed {
		if err := ignoreAbsent(f.client.Remove(j.candidate)); err != nil {
			return err
		}
	}
	if j.marked && !j.committed && j.pending == nil {
		return f.unmark(j)
	}
	return nil
}

// restore puts back the file from before. The candidate goes first, so that a
// rename which was left behind unanswered cannot come after it.
func (f *files) restore(j *job) error {
	if j.candidate != "" {
		if err := ignoreAbsent(f.client.Remove(j.candidate)); err != nil {
			return err
		}
	}
	if !j.previous {
		return ignoreAbsent(f.client.Remove(j.path))
	}
	return f.twin(kept(j.path, 1), j.path)
}

// unmark says that nothing is left to be done.
func (f *files) unmark(j *job) error {
	err := ignoreAbsent(f.client.Remove(markerOf(j.path)))
	if err == nil {
		j.marked = false
	}
	return err
}

// sumLine asks for the hash of a file, once it is safely on the disk.
func sumLine(s *script, key, name string) {
	dir, _, _ := strings.Cut(name, "\x00")
	if i := strings.LastIndexByte(dir, '/'); i > 0 {
		dir = dir[:i]
	} else {
		dir = "/"
	}
	s.once(key, 1024, "sum", name, dir)
}
