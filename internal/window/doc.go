// Package window says when devices may be written: in recurring maintenance
// windows of a time zone, and not in freezes.
//
// A time of day is meant as the clock on the wall shows it. Where summer time
// makes it a time that does not exist, the window begins or ends when the clock
// has jumped over it; where it comes twice, a window begins at the first and
// ends at the second, so that no promised minute is taken away.
package window
