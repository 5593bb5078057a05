package activities

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"edgefleet/devices"
	"edgefleet/devices/fleetdir"
	"edgefleet/internal/pager"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

func ofDevice(kind devices.Kind, err error) error {
	return &devices.Error{Kind: kind, Device: "edge-001", Op: "read", Err: err}
}

// refused is what the network says of a peer, be it a device or a database.
func refused() error { return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED} }

func TestEveryErrorHasOneReasonAndSaysWhetherAskingAgainHelps(t *testing.T) {
	what := errors.New("what")
	const yes, no = true, false
	for _, tt := range []struct {
		name   string
		err    error
		reason string
		retry  bool
	}{
		{"a device that does not answer", ofDevice(devices.Unreachable, what), contract.ErrUnreachable, yes},
		{"a device that is busy", ofDevice(devices.Busy, what), contract.ErrBusy, yes},
		{"a device that refuses", ofDevice(devices.Rejected, what), contract.ErrRejected, no},
		{"a device that does not let us in", ofDevice(devices.Auth, what), contract.ErrAuth, no},
		{"a device that cannot", ofDevice(devices.Unsupported, what), contract.ErrUnsupported, no},
		{"a write of which nothing is known", ofDevice(devices.Indeterminate, what), contract.ErrIndeterminate, yes},
		{"our own path", ofDevice(devices.OwnPath, what), contract.ErrOwnPath, yes},
		{"a kind of a newer driver", ofDevice("novel", what), contract.ErrInternal, yes},

		{"a refused connection to a device is the device's", ofDevice(devices.Unreachable, refused()), contract.ErrUnreachable, yes},
		{"a cut line to a device is the device's", ofDevice(devices.Rejected, io.EOF), contract.ErrRejected, no},
		{"a refused connection to the database is the store's", ofStore(refused()), contract.ErrStore, yes},
		{"so it is without a mark, where no device is about", refused(), contract.ErrStore, yes},
		{"any error of the journal is the store's", fmt.Errorf("record: %w", ofStore(what)), contract.ErrStore, yes},
		{"the store's word counts before the device's", errors.Join(ofStore(refused()), ofDevice(devices.Rejected, what)), contract.ErrStore, yes},
		{"a lost lease counts before the device's word", errors.Join(ofStore(store.ErrLeaseLost), ofDevice(devices.Busy, what)), contract.ErrLeaseLost, no},

		{"a lost lease", fmt.Errorf("intent: %w", store.ErrLeaseLost), contract.ErrLeaseLost, no},
		{"a held lease", &store.LeaseHeldError{}, contract.ErrLeaseHeld, yes},
		{"a lease with a write in flight", fmt.Errorf("reap: %w", store.ErrLeaseBusy), contract.ErrLeaseHeld, yes},
		{"a row that is not there", fmt.Errorf("incident: %w", store.ErrNotFound), contract.ErrNotFound, no},
		{"a store that closes", fmt.Errorf("begin: %w", store.ErrClosed), contract.ErrStore, yes},
		{"a wrong request to the store", fmt.Errorf("begin: %w", store.ErrInvalid), contract.ErrStore, no},
		{"an incident that has ended", store.ErrIncidentEnded, contract.ErrStore, no},
		{"a conflict in the ledger", store.ErrLedgerConflict, contract.ErrStore, no},
		{"a result without its intent", store.ErrNoIntent, contract.ErrStore, no},
		{"a damaged ledger", store.ErrLedgerDamaged, contract.ErrStore, no},
		{"a wrong key of the ledger", store.ErrLedgerKey, contract.ErrStore, no},
		{"a damaged file", store.ErrDamaged, contract.ErrStore, no},
		{"a newer schema", store.ErrNewerSchema, contract.ErrStore, no},
		{"a damaged ledger is not mended by asking the journal again", ofStore(store.ErrLedgerDamaged), contract.ErrStore, no},

		{"a device that is not declared", fmt.Errorf("x: %w", fleetdir.ErrUnknownDevice), contract.ErrUnknownDevice, no},
		{"nobody to page", pager.ErrNotConfigured, contract.ErrConfig, no},
		{"a reason of this layer", fmt.Errorf("x: %w", permanent(contract.ErrConfig, refused())), contract.ErrConfig, no},
		{"a passing reason of this layer", transient(contract.ErrUnreachable, what), contract.ErrUnreachable, yes},
		{"anything else", what, contract.ErrInternal, yes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reason, retry := reasonOf(t.Context(), tt.err)
			require.Equal(t, tt.reason, reason)
			require.Equal(t, tt.retry, retry)
			var app *temporal.ApplicationError
			require.ErrorAs(t, toTemporal(t.Context(), tt.err), &app)
			require.Equal(t, tt.reason, app.Type())
			require.Equal(t, tt.retry, !app.NonRetryable())
			require.Equal(t, tt.err.Error(), app.Message())
			require.ErrorIs(t, app, tt.err)
			require.Contains(t, reasons(), reason, "the label of a metric is bounded")
		})
	}
}

// reasons are the error types that an activity can have.
func reasons() []string {
	return []string{contract.ErrUnreachable, contract.ErrBusy, contract.ErrRejected, contract.ErrAuth, contract.ErrUnsupported,
		contract.ErrIndeterminate, contract.ErrTimeout, contract.ErrOwnPath, contract.ErrUnknownDevice, contract.ErrConfig, contract.ErrLeaseLost,
		contract.ErrLeaseHeld, contract.ErrStore, contract.ErrInternal, contract.ErrNotFound}
}

func TestEveryKindOfADeviceErrorHasAReason(t *testing.T) {
	for _, kind := range []devices.Kind{devices.Unreachable, devices.Busy, devices.Rejected, devices.Auth,
		devices.Unsupported, devices.Indeterminate, devices.OwnPath} {
		require.Equal(t, string(kind), kinds[kind].reason, "an operator reads one word for one thing")
		require.True(t, slices.Contains(reasons(), kinds[kind].reason))
	}
	require.Len(t, kinds, 7)
}

func TestATimeThatRanOutIsTheActivitysOwn(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for _, err := range []error{ctx.Err(), fmt.Errorf("edge-001: probe: %w", ctx.Err()), ofDevice(devices.Unreachable, ctx.Err())} {
		reason, retry := reasonOf(ctx, err)
		require.Equal(t, contract.ErrTimeout, reason)
		require.True(t, retry)
	}
	reason, _ := reasonOf(ctx, ofDevice(devices.Busy, errors.New("later")))
	require.Equal(t, contract.ErrBusy, reason, "what was learnt before counts")
}

func TestNoErrorStaysNone(t *testing.T) {
	require.NoError(t, toTemporal(t.Context(), nil))
	require.NoError(t, ofStore(nil))
}

func TestAttemptsAreCountedByReason(t *testing.T) {
	p := newPlant(t)
	for range 3 {
		_, err := do[contract.HealthReport](p, contract.ActionVerifyDevice, actionInput(contract.Scope{DeviceID: "edge-001"}))
		require.NoError(t, err)
	}
	_, err := do[contract.HealthReport](p, contract.ActionVerifyDevice, actionInput(contract.Scope{DeviceID: "edge-009"}))
	require.Error(t, err)
	require.Equal(t, 3.0, p.metric("edgefleet_activities_total", contract.ActionVerifyDevice, "ok"))
	require.Equal(t, 1.0, p.metric("edgefleet_activities_total", contract.ActionVerifyDevice, contract.ErrUnknownDevice))
}
