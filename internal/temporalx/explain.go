package temporalx

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/api/serviceerror"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Explain turns an error of a call to Temporal into one line that says what
// is wrong and what to do, and that wraps err. Errors that are not about the
// connection (not found, already started, bad argument) come back as they are.
func (c *Conn) Explain(err error) error {
	if err == nil {
		return nil
	}
	var missing *serviceerror.NamespaceNotFound
	if errors.As(err, &missing) {
		return oneLine(fmt.Sprintf("Temporal at %s has no namespace %q", c.Address, c.Namespace), err,
			fmt.Sprintf("create it (temporal operator namespace create --namespace %s), or name another with --%s or TEMPORAL_NAMESPACE", c.Namespace, FlagNamespace))
	}
	text := err.Error()
	switch code := codeOf(err); {
	case code == codes.PermissionDenied || code == codes.Unauthenticated:
		return oneLine("Temporal at "+c.Address+" refuses these credentials", err,
			"check TEMPORAL_API_KEY, or TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH")
	case code == codes.Unavailable && (strings.Contains(text, "tls:") || strings.Contains(text, "x509:") || strings.Contains(text, "server preface")):
		return oneLine("Temporal at "+c.Address+" does not agree on TLS", err,
			"check TEMPORAL_TLS, TEMPORAL_TLS_SERVER_CA_CERT_PATH and TEMPORAL_TLS_SERVER_NAME")
	case code == codes.Unavailable || code == codes.DeadlineExceeded:
		return oneLine("Temporal at "+c.Address+" does not answer", err,
			fmt.Sprintf("start it, or name the right one with --%s or TEMPORAL_ADDRESS", FlagAddress))
	}
	return err
}

// Away tells an error of a server that is down, too busy or out of reach from
// one of a server that looked at the call and said no: the same call may well
// succeed later, and others now will fare no better.
func Away(err error) bool {
	switch codeOf(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Canceled:
		return true
	}
	return false
}

func codeOf(err error) codes.Code {
	if errors.Is(err, context.Canceled) {
		return codes.Canceled
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return codes.DeadlineExceeded
	}
	// The SDK's service errors carry their gRPC status, but some only by
	// their own method and not by the one that status.FromError looks for.
	var service serviceerror.ServiceError
	if errors.As(err, &service) {
		return service.Status().Code()
	}
	return status.Code(err)
}

// oneLine builds "what: cause; remedy". Causes from gRPC and from TOML run
// over several lines, which no log shows well.
func oneLine(what string, err error, remedy string) error {
	return &explained{text: fmt.Sprintf("%s: %s; %s", what, strings.Join(strings.Fields(err.Error()), " "), remedy), cause: err}
}

type explained struct {
	text  string
	cause error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.cause }
