package runbook

import "time"

// Limits bound what one run of a runbook may use. Every limit but Watchdog is
// deterministic: the same run ends at the same place on every replay. A field
// that is zero has the value that DefaultLimits gives it.
type Limits struct {
	// SegmentSteps bounds the work between two calls that wait, and
	// TotalSteps that of the whole run, in steps of the interpreter; guarded
	// operations charge a step per element, or per 64 bytes of text.
	SegmentSteps, TotalSteps uint64
	// TextBytes bounds one text, Elements one list, tuple or dict, and
	// IntBits one integer.
	TextBytes, Elements, IntBits int
	// AllocBytes bounds what guarded operations build over the whole run,
	// whether or not it is still in use. Everything else that a step can build
	// is small, so that TotalSteps bounds it.
	AllocBytes uint64
	// Depth bounds the nesting of a value that is printed, hashed or frozen.
	Depth int
	// Calls bounds the calls of a run that wait (actions, sleeps, approvals),
	// because each of them grows the workflow's history.
	Calls int
	// Prints and PrintBytes bound what print may say.
	Prints, PrintBytes int
	// Parallel bounds the functions in one call of parallel.
	Parallel int
	// ExitTime bounds all functions of on_exit together.
	ExitTime time.Duration
	// Watchdog is the real time that a segment may take before the workflow
	// task is given up, to be tried again. It stays below the one second
	// after which the SDK reports a deadlock.
	Watchdog time.Duration
}

// DefaultLimits returns the limits that a worker uses.
func DefaultLimits() Limits {
	return Limits{
		SegmentSteps: 500_000, TotalSteps: 2_000_000,
		TextBytes: 1 << 20, Elements: 100_000, IntBits: 4096,
		AllocBytes: 64 << 20, Depth: 64,
		Calls: 1000, Prints: 200, PrintBytes: 64 << 10, Parallel: 64,
		ExitTime: 10 * time.Minute, Watchdog: 600 * time.Millisecond,
	}
}

// withDefaults fills the fields that are zero.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	orDefault(&l.SegmentSteps, d.SegmentSteps)
	orDefault(&l.TotalSteps, d.TotalSteps)
	orDefault(&l.TextBytes, d.TextBytes)
	orDefault(&l.Elements, d.Elements)
	orDefault(&l.IntBits, d.IntBits)
	orDefault(&l.AllocBytes, d.AllocBytes)
	orDefault(&l.Depth, d.Depth)
	orDefault(&l.Calls, d.Calls)
	orDefault(&l.Prints, d.Prints)
	orDefault(&l.PrintBytes, d.PrintBytes)
	orDefault(&l.Parallel, d.Parallel)
	orDefault(&l.ExitTime, d.ExitTime)
	orDefault(&l.Watchdog, d.Watchdog)
	return l
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
