package cli

import (
	"fmt"
	"time"
)

// progressLine says how far something is in one line: on a terminal it is
// written over, elsewhere it is written now and then, and at the end.
type progressLine struct {
	app   *App
	said  string
	since time.Time
	drawn bool
}

// show says that part of whole is done, and text about it.
func (l *progressLine) show(part, whole int, text string, last bool) {
	o := l.app.opts
	if o.Terminal {
		fmt.Fprintf(o.Err, "\r%s  %s\x1b[K", bar(part, whole), text)
		l.drawn = true
		return
	}
	if text == l.said || (!last && !l.since.IsZero() && time.Since(l.since) < o.Every) {
		return
	}
	l.said, l.since = text, time.Now()
	fmt.Fprintln(o.Err, text)
}

// close ends a line that was written over.
func (l *progressLine) close() {
	if l.drawn {
		fmt.Fprintln(l.app.opts.Err)
	}
}
