package opcua

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

// fault is why an exchange failed, before it is known what that means for the
// caller: the same fault is Unreachable for a read and Indeterminate for a
// write that was sent.
type fault struct {
	kind devices.Kind // "" says nothing about the device
	// sent says that at least one byte of the request may have reached the
	// device, and that no answer says that it was refused.
	sent bool
	// status is what the server answered; 0 when it did not.
	status ua.StatusCode
	err    error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// onlyAsked says of the fault of a request that changes nothing that it leaves
// no write open, although it was made for one.
func (f *fault) onlyAsked() *fault {
	out := *f
	out.sent = false
	return &out
}

// nonsense is a message that no OPC UA server sends.
type nonsense struct{ words string }

func (n *nonsense) Error() string { return n.words }

func wrong(format string, args ...any) error { return &nonsense{fmt.Sprintf(format, args...)} }

// distrust is a peer that could not prove to be the enrolled server.
type distrust struct{ words string }

func (d *distrust) Error() string { return d.words }

func doubt(format string, args ...any) error { return &distrust{fmt.Sprintf(format, args...)} }

// refused is an answer of the server that says no.
type refused struct {
	status ua.StatusCode
	reason string
	// fatal says that the server closed the connection with it, which leaves
	// open what came of the request.
	fatal bool
}

// open says that a write may have taken effect all the same.
func (r *refused) open() bool {
	return statusKind(r.status, true) == devices.Indeterminate || r.fatal && (!lost(r.status) || r.status == ua.StatusBadSecureChannelClosed)
}

func (r *refused) Error() string {
	if r.reason != "" {
		return fmt.Sprintf("%s (%q)", statusName(r.status), r.reason)
	}
	return statusName(r.status)
}

// statusName is "BadOutOfRange (0x803C0000)", with what helps for some.
func statusName(s ua.StatusCode) string {
	text := fmt.Sprintf("0x%08X", uint32(s))
	// The low half tells details of a value, such as limits, not the status.
	if known, ok := ua.StatusCodes[s&0xFFFF0000]; ok {
		text = fmt.Sprintf("%s (%s)", strings.TrimPrefix(known.Name, "Status"), text)
	}
	if help, ok := remedies[s&0xFFFF0000]; ok {
		text += ": " + help
	}
	return text
}

var remedies = map[ua.StatusCode]string{
	ua.StatusBadCertificateUntrusted:         "trust our certificate on the server",
	ua.StatusBadSecurityChecksFailed:         "the server may not trust our certificate: trust it on the server, and look at its log",
	ua.StatusBadCertificateURIInvalid:        "our certificate does not carry our application URI; make a new one",
	ua.StatusBadCertificateTimeInvalid:       "our certificate has expired, or the server's clock is wrong",
	ua.StatusBadIdentityTokenRejected:        "the server refused the user name, password or user certificate",
	ua.StatusBadUserAccessDenied:             "the user may not do this, or the password is wrong",
	ua.StatusBadIdentityTokenInvalid:         "the server does not take this way of logging in",
	ua.StatusBadTypeMismatch:                 "state the node's built-in type in the profile",
	ua.StatusBadNotWritable:                  "the node is read-only on the server",
	ua.StatusBadNodeIDUnknown:                "the server has no such node; compare the profile with the server's address space",
	ua.StatusBadSecurityModeRejected:         "the server does not offer this policy and mode",
	ua.StatusBadSecurityPolicyRejected:       "the server does not offer this policy",
	ua.StatusBadTooManySessions:              "another client has to close its session first",
	ua.StatusBadSecurityModeInsufficient:     "the server wants a stronger mode; enrol the device with SignAndEncrypt",
	ua.StatusBadApplicationSignatureInvalid:  "our certificate and our key do not belong together",
	ua.StatusBadCertificateHostNameInvalid:   "the certificate does not carry the host's name",
	ua.StatusBadCertificateUseNotAllowed:     "our certificate is not for OPC UA applications; make a new one",
	ua.StatusBadCertificatePolicyCheckFailed: "our certificate's key or hash is too weak for the server",
}

// bad says that the two highest bits of the status are not "good".
func bad(s ua.StatusCode) bool { return s&0xC0000000 != 0 }

// lost says that the server has forgotten the channel or session: the request
// was not carried out, and a fresh session may do it.
func lost(s ua.StatusCode) bool {
	switch s {
	case ua.StatusBadSessionIDInvalid, ua.StatusBadSessionClosed, ua.StatusBadSessionNotActivated,
		ua.StatusBadSecureChannelIDInvalid, ua.StatusBadSecureChannelClosed, ua.StatusBadSecureChannelTokenUnknown,
		ua.StatusBadTCPSecureChannelUnknown:
		return true
	}
	return false
}

// tooMuch says that fewer items at a time may succeed, and that nothing was
// done.
func tooMuch(s ua.StatusCode) bool {
	switch s {
	case ua.StatusBadTooManyOperations, ua.StatusBadRequestTooLarge, ua.StatusBadTCPMessageTooLarge:
		return true
	}
	return false
}

// statusKind says what a bad status means; the table is in the package's
// documentation.
func statusKind(s ua.StatusCode, write bool) devices.Kind {
	s &= 0xFFFF0000
	switch s {
	case ua.StatusBadUserAccessDenied, ua.StatusBadIdentityTokenInvalid, ua.StatusBadIdentityTokenRejected,
		ua.StatusBadSecurityChecksFailed, ua.StatusBadSecurityModeRejected, ua.StatusBadSecurityPolicyRejected,
		ua.StatusBadSecurityModeInsufficient, ua.StatusBadNonceInvalid, ua.StatusBadApplicationSignatureInvalid,
		ua.StatusBadUserSignatureInvalid, ua.StatusBadNoValidCertificates, ua.StatusBadRequestTypeInvalid,
		ua.StatusBadLicenseExpired, ua.StatusBadLicenseNotAvailable:
		return devices.Auth
	case ua.StatusBadTCPServerTooBusy, ua.StatusBadTooManySessions, ua.StatusBadTCPNotEnoughResources,
		ua.StatusBadTooManyOperations, ua.StatusBadResourceUnavailable, ua.StatusBadOutOfMemory,
		ua.StatusBadWaitingForInitialData, ua.StatusBadMaxConnectionsReached, ua.StatusBadServerHalted,
		ua.StatusBadShutdown, ua.StatusBadLicenseLimitsExceeded:
		return devices.Busy
	case ua.StatusBadServiceUnsupported, ua.StatusBadNotSupported, ua.StatusBadNotImplemented,
		ua.StatusBadWriteNotSupported, ua.StatusBadAttributeIDInvalid, ua.StatusBadDataEncodingUnsupported,
		ua.StatusBadProtocolVersionUnsupported, ua.StatusBadDataTypeIDUnknown:
		return devices.Unsupported
	case ua.StatusBadTimeout, ua.StatusBadRequestTimeout, ua.StatusBadCommunicationError, ua.StatusBadNoCommunication,
		ua.StatusBadConnectionClosed, ua.StatusBadRequestInterrupted, ua.StatusBadTCPInternalError, ua.StatusBadDisconnect:
		// What is open is read back, never repeated.
		if write {
			return devices.Indeterminate
		}
		return devices.Unreachable
	case ua.StatusBadNotConnected, ua.StatusBadServerNotConnected, ua.StatusBadConnectionRejected:
		return devices.Unreachable
	case ua.StatusBadInternalError, ua.StatusBadUnexpectedError, ua.StatusBadDeviceFailure,
		ua.StatusBadResponseTooLarge, ua.StatusBadEncodingLimitsExceeded, ua.StatusBadEncodingError:
		if write {
			return devices.Indeterminate
		}
		return devices.Rejected
	}
	switch {
	case lost(s):
		return devices.Unreachable
	case s >= 0x80120000 && s <= 0x801E0000 || s == 0x81140000 || s == 0x810D0000:
		// Every way in which a certificate can be wrong.
		return devices.Auth
	}
	return devices.Rejected
}

// explain makes a fault of what went wrong with an exchange; sent as in fault.
func explain(err error, sent bool) *fault {
	var f *fault
	var no *refused
	var badMessage *nonsense
	var stranger *distrust
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &no):
		return &fault{kind: statusKind(no.status, false), status: no.status, sent: sent && no.open(), err: err}
	case errors.As(err, &stranger):
		return &fault{kind: devices.Auth, sent: sent, err: err}
	case errors.As(err, &badMessage):
		return &fault{kind: devices.Rejected, sent: sent, err: err}
	}
	return &fault{kind: devices.Unreachable, sent: sent, err: err}
}

// cutSilently says that the peer had closed the connection before it answered.
func cutSilently(err error) bool {
	for _, sign := range []error{io.EOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}
