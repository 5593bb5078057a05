// Package window says when devices may be written: in recurring maintenance
// windows of a time zone, and not in freezes.
//
// A time of day is meant as the clock on the wall shows it. Where summer time
// makes it a time that does not exist, the window begins or ends when the clock
// has jumped over it; where it comes twice, the first one is meant, so that a
// window of three quarters of an hour is not open for two.
package window
