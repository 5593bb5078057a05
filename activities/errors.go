package activities

import (
	"context"
	"errors"

	"go.temporal.io/sdk/temporal"

	"edgefleet/devices"
	"edgefleet/devices/fleetdir"
	"edgefleet/internal/pager"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// kinds maps the kinds of device errors to error types of the contract, and
// says whether asking again can help.
var kinds = map[devices.Kind]struct {
	reason string
	retry  bool
}{
	devices.Unreachable:   {contract.ErrUnreachable, true},
	devices.Busy:          {contract.ErrBusy, true},
	devices.Rejected:      {contract.ErrRejected, false},
	devices.Auth:          {contract.ErrAuth, false},
	devices.Unsupported:   {contract.ErrUnsupported, false},
	devices.Indeterminate: {contract.ErrIndeterminate, true},
	devices.OwnPath:       {contract.ErrOwnPath, true},
}

// reasonError carries a reason of the contract through this layer.
type reasonError struct {
	reason string
	retry  bool
	err    error
}

func (e *reasonError) Error() string { return e.err.Error() }
func (e *reasonError) Unwrap() error { return e.err }

func permanent(reason string, err error) error { return &reasonError{reason, false, err} }
func transient(reason string, err error) error { return &reasonError{reason, true, err} }

// detailedError carries what the workflow is told beside an error's message.
type detailedError struct {
	details any
	err     error
}

func (e *detailedError) Error() string { return e.err.Error() }
func (e *detailedError) Unwrap() error { return e.err }

// storeError marks an error as the store's, where the errors of a device may
// stand beside it: both can be of the network, and only their origin tells
// which of the two could not be reached.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// ofStore marks err as the store's; nil stays nil.
func ofStore(err error) error {
	if err == nil {
		return nil
	}
	return &storeError{err}
}

// reasonOf returns the bounded reason of an error, which is the error's type
// in Temporal and the label of the metric, and whether a retry can help. Where
// a device's error and the store's stand together, the store's word counts:
// what the ledger does not have yet has to be settled first.
func reasonOf(ctx context.Context, err error) (reason string, retry bool) {
	var own *reasonError
	var marked *storeError
	switch {
	case errors.As(err, &own):
		return own.reason, own.retry
	case errors.Is(err, context.DeadlineExceeded) && errors.Is(ctx.Err(), context.DeadlineExceeded):
		// It is the activity's own time that ran out, whoever noticed first.
		return contract.ErrTimeout, true
	case errors.Is(err, store.ErrLeaseLost):
		return contract.ErrLeaseLost, false
	case errors.Is(err, store.ErrLeaseHeld), errors.Is(err, store.ErrLeaseBusy):
		return contract.ErrLeaseHeld, true
	case errors.Is(err, store.ErrNotFound):
		return contract.ErrNotFound, false
	case errors.Is(err, pager.ErrNotConfigured):
		return contract.ErrConfig, false
	case errors.Is(err, fleetdir.ErrUnknownDevice):
		return contract.ErrUnknownDevice, false
	case refusedByStore(err):
		return contract.ErrStore, false
	case errors.Is(err, store.ErrClosed), errors.As(err, &marked):
		return contract.ErrStore, true
	}
	if k, ok := kinds[devices.KindOf(err)]; ok {
		return k.reason, k.retry
	}
	if store.IsTransient(err) {
		return contract.ErrStore, true
	}
	return contract.ErrInternal, true
}

// refusedByStore says that the store will say the same again: the request is
// wrong, or the ledger is not to be trusted until a person has looked.
func refusedByStore(err error) bool {
	for _, e := range []error{store.ErrInvalid, store.ErrIncidentEnded, store.ErrLedgerConflict,
		store.ErrNoIntent, store.ErrLedgerDamaged, store.ErrLedgerKey, store.ErrDamaged, store.ErrNewerSchema} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// toTemporal is the border: what leaves an activity is nil, the cancellation
// that the workflow asked for, or an application error with one of the
// contract's types. A context that ended for another reason, such as a worker
// that stops, says nothing of the workflow: the next worker tries again.
func toTemporal(ctx context.Context, err error) error {
	if err == nil || asked(ctx, err) {
		return err
	}
	reason, retry := reasonOf(ctx, err)
	o := temporal.ApplicationErrorOptions{NonRetryable: !retry, Cause: err}
	var detailed *detailedError
	if errors.As(err, &detailed) {
		o.Details = []any{detailed.details}
	}
	return temporal.NewApplicationErrorWithOptions(err.Error(), reason, o)
}

// asked says that err comes of a cancellation that the workflow asked for.
func asked(ctx context.Context, err error) bool {
	return errors.Is(err, context.Canceled) && temporal.IsCanceledError(context.Cause(ctx))
}
