package devices

import (
	"errors"
	"fmt"
)

// Kind is what a failure of a device means for the caller. The set is closed.
type Kind string

const (
	// Unreachable: no connection, no answer in time, or the line was cut. For
	// a read nothing is known; a write is Indeterminate instead.
	Unreachable Kind = "unreachable"
	// Busy: the device or its gateway said "later".
	Busy Kind = "busy"
	// Rejected: the device said no, or answered nonsense; asking again the
	// same way will not help.
	Rejected Kind = "rejected"
	// Auth: credentials, certificates, or an address outside allowed_networks.
	Auth Kind = "auth"
	// Unsupported: the device or the driver cannot do this at all.
	Unsupported Kind = "unsupported"
	// Indeterminate: a write may or may not have taken effect. It is read
	// back, never blindly repeated.
	Indeterminate Kind = "indeterminate"
	// OwnPath: the region's reference target does not answer either, so the
	// worker's own path is down and nothing can be said of the device.
	OwnPath Kind = "own_path_down"
)

// Error is a failure of an operation on a device.
type Error struct {
	Kind Kind
	// Device is the device's ID, or its address where the ID is not known.
	Device string
	// Op is what was tried, in words: "read holding 40000+10".
	Op  string
	Err error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: %s: %v", e.Device, e.Op, e.Kind, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first Error in err's chain, or "" when there
// is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}
