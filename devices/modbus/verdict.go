package modbus

import (
	"errors"
	"fmt"

	pdus "github.com/goburrow/modbus"

	"edgefleet/devices"
)

// Short names for the exceptions that leave something open.
const (
	exceptionAccepted      = pdus.ExceptionCodeAcknowledge
	exceptionBusy          = pdus.ExceptionCodeServerDeviceBusy
	exceptionNoGatewayPath = pdus.ExceptionCodeGatewayPathUnavailable
	exceptionNoTarget      = pdus.ExceptionCodeGatewayTargetDeviceFailedToRespond
)

// verdict says what a failed request means for the caller: the table in the
// package's documentation. The error of a call that learnt nothing has no
// kind.
func (l *link) verdict(op string, write bool, err error) error {
	var f *fault
	var exception *pdus.ModbusError
	switch {
	case errors.As(err, &f):
		if write && f.sent {
			return l.fail(devices.Indeterminate, op, f.err)
		}
		if f.kind == "" {
			return fmt.Errorf("%s: %s: %w", l.name(), op, f.err)
		}
		return l.fail(f.kind, op, f.err)
	case errors.As(err, &exception):
		return l.fail(exceptionKind(exception.ExceptionCode, write), op, err)
	case write:
		// Nothing else can fail; should it, caution costs one reading.
		return l.fail(devices.Indeterminate, op, err)
	}
	return l.fail(devices.Rejected, op, err)
}

func exceptionKind(code byte, write bool) devices.Kind {
	switch code {
	case pdus.ExceptionCodeIllegalFunction:
		return devices.Unsupported
	case exceptionAccepted:
		if write {
			return devices.Indeterminate
		}
		return devices.Busy
	case exceptionBusy:
		return devices.Busy
	case exceptionNoGatewayPath:
		return devices.Unreachable
	case exceptionNoTarget:
		if write {
			return devices.Indeterminate
		}
		return devices.Unreachable
	}
	return devices.Rejected
}

func (l *link) fail(kind devices.Kind, op string, err error) *devices.Error {
	return &devices.Error{Kind: kind, Device: l.name(), Op: op, Err: err}
}

func (l *link) name() string {
	if l.ep.DeviceID != "" {
		return l.ep.DeviceID
	}
	return l.ep.Address
}
