package httpserve_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"edgefleet/internal/httpserve"
	"edgefleet/internal/httpserve/webtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bcrypt of "secret" at the lowest cost.
const users = "basic_auth_users:\n  alertmanager: $2a$04$KIym3WT7chv8yEcAh4SNN.KhfGZQSL3/o4CDOhuc3gVQm5/pfkSkO\n"

func hello() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
}

func start(t *testing.T, o httpserve.Options) *httpserve.Server {
	t.Helper()
	o.Address, o.Logger = "127.0.0.1:0", zap.NewNop()
	if o.Handler == nil {
		o.Handler = hello()
	}
	s, err := httpserve.New(o)
	require.NoError(t, err)
	require.Empty(t, s.Addr())
	require.NoError(t, s.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	return s
}

func plainClient(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func get(t *testing.T, c *http.Client, url string, auth ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if len(auth) == 2 {
		req.SetBasicAuth(auth[0], auth[1])
	}
	resp, err := c.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

// try is a request from another goroutine, which must not end the test: the
// body that came, or "no answer".
func try(c *http.Client, url string) string {
	resp, err := c.Get(url) //nolint:noctx // the client has a time-out
	if err != nil {
		return "no answer"
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "no answer"
	}
	return string(body)
}

func TestServesPlainHTTPWithoutAWebConfiguration(t *testing.T) {
	s := start(t, httpserve.Options{})
	code, body := get(t, plainClient(t), "http://"+s.Addr())
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "hello", body)
}

func TestServesTLSAndAsksForThePassword(t *testing.T) {
	ca := webtest.NewCA(t)
	cert, key := ca.Issue("server")
	s := start(t, httpserve.Options{WebConfigFile: webtest.WebConfig(t, fmt.Sprintf("tls_server_config: {cert_file: %s, key_file: %s}\n%s", cert, key, users))})
	c := ca.Client("", "")
	code, _ := get(t, c, "https://"+s.Addr())
	require.Equal(t, http.StatusUnauthorized, code)
	code, _ = get(t, c, "https://"+s.Addr(), "alertmanager", "guess")
	require.Equal(t, http.StatusUnauthorized, code)
	code, body := get(t, c, "https://"+s.Addr(), "alertmanager", "secret")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "hello", body)
}

func TestRefusesAClientWithoutACertificateOfTheAuthority(t *testing.T) {
	ca := webtest.NewCA(t)
	cert, key := ca.Issue("server")
	s := start(t, httpserve.Options{WebConfigFile: webtest.WebConfig(t, fmt.Sprintf(
		"tls_server_config: {cert_file: %s, key_file: %s, client_ca_file: %s, client_auth_type: RequireAndVerifyClientCert}\n", cert, key, ca.File()))})

	certFile, keyFile := ca.Issue("alertmanager")
	code, _ := get(t, ca.Client(certFile, keyFile), "https://"+s.Addr())
	require.Equal(t, http.StatusOK, code)

	for name, client := range map[string]*http.Client{
		"no certificate":                     ca.Client("", ""),
		"a certificate of another authority": ca.Client(webtest.NewCA(t).Issue("alertmanager")),
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.Addr(), nil)
		require.NoError(t, err)
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		require.Error(t, err, name)
	}
}

func TestNewRefusesWhatCannotBeServed(t *testing.T) {
	ok := httpserve.Options{Address: "127.0.0.1:0", Handler: hello(), Logger: zap.NewNop()}
	for name, tc := range map[string]struct {
		change func(*httpserve.Options)
		want   string
	}{
		"no handler":       {func(o *httpserve.Options) { o.Handler = nil }, "no handler"},
		"no logger":        {func(o *httpserve.Options) { o.Logger = nil }, "no logger"},
		"no port":          {func(o *httpserve.Options) { o.Address = "localhost" }, `listen address "localhost"`},
		"no such file":     {func(o *httpserve.Options) { o.WebConfigFile = "/nowhere.yml" }, "--web.config.file /nowhere.yml"},
		"an unknown field": {func(o *httpserve.Options) { o.WebConfigFile = webtest.WebConfig(t, "tls: {}\n") }, "field tls not found"},
		"no such certificate": {func(o *httpserve.Options) {
			o.WebConfigFile = webtest.WebConfig(t, "tls_server_config: {cert_file: nowhere.pem, key_file: nowhere.key}\n")
		}, "nowhere.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			o := ok
			tc.change(&o)
			_, err := httpserve.New(o)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestStartNamesAnAddressThatIsTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, ln.Close()) }()
	s, err := httpserve.New(httpserve.Options{Address: ln.Addr().String(), Handler: hello(), Logger: zap.NewNop()})
	require.NoError(t, err)
	require.ErrorContains(t, s.Start(t.Context()), "cannot listen on "+ln.Addr().String())
	require.NoError(t, s.Stop(t.Context()))
}

func TestStopLetsARequestInFlightFinishAndIsIdempotent(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := start(t, httpserve.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "finished")
	})})
	answer, stopped := make(chan string, 1), make(chan error, 3)
	go func() { answer <- try(plainClient(t), "http://"+s.Addr()) }()
	<-entered
	for range cap(stopped) {
		go func() { stopped <- s.Stop(context.Background()) }()
	}
	// Serving ends at once, while the request is still in flight.
	<-s.Done()
	close(release)
	require.Equal(t, "finished", <-answer)
	for range cap(stopped) {
		require.NoError(t, <-stopped)
	}
	require.NoError(t, s.Err())
	require.ErrorContains(t, s.Start(t.Context()), "started already")
}

func TestStopCutsARequestThatDoesNotFinishInTime(t *testing.T) {
	entered := make(chan struct{})
	s, err := httpserve.New(httpserve.Options{
		Name: "admin", Address: "127.0.0.1:0", Logger: zap.NewNop(), StopTimeout: 20 * time.Millisecond,
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
		}),
	})
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	answer := make(chan string, 1)
	go func() { answer <- try(plainClient(t), "http://"+s.Addr()) }()
	<-entered
	require.ErrorContains(t, s.Stop(t.Context()), "admin: requests were cut")
	require.Equal(t, "no answer", <-answer)
}

func TestStopBeforeStartKeepsItFromStarting(t *testing.T) {
	s, err := httpserve.New(httpserve.Options{Address: "127.0.0.1:0", Handler: hello(), Logger: zap.NewNop()})
	require.NoError(t, err)
	require.NoError(t, s.Stop(t.Context()))
	<-s.Done()
	require.Error(t, s.Start(t.Context()))
}

func TestASlowHeaderIsCut(t *testing.T) {
	s := start(t, httpserve.Options{ReadHeaderTimeout: 20 * time.Millisecond})
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\n")
	require.NoError(t, err)
	// The server hangs up; without the bound this would be our own deadline.
	rest, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.NotContains(t, string(rest), "hello")
}

func TestInspectSaysWhatIsAskedOfClients(t *testing.T) {
	ca := webtest.NewCA(t)
	cert, key := ca.Issue("server")
	for name, tc := range map[string]struct {
		config string
		want   httpserve.Protection
	}{
		"nothing": {"", httpserve.Protection{}},
		"TLS":     {fmt.Sprintf("tls_server_config: {cert_file: %s, key_file: %s}\n", cert, key), httpserve.Protection{TLS: true}},
		"client certificates": {fmt.Sprintf(
			"tls_server_config: {cert_file: %s, key_file: %s, client_ca_file: %s, client_auth_type: RequireAndVerifyClientCert}\n", cert, key, ca.File()),
			httpserve.Protection{TLS: true, ClientCerts: true}},
		"basic authentication": {users, httpserve.Protection{BasicAuth: true}},
		"a rate limit":         {"rate_limit: {burst: 1, interval: 1s}\n", httpserve.Protection{RateLimit: true}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := httpserve.Inspect(webtest.WebConfig(t, tc.config))
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
	got, err := httpserve.Inspect("")
	require.NoError(t, err)
	require.Zero(t, got)
	_, err = httpserve.Inspect("/nowhere.yml")
	require.ErrorContains(t, err, "--web.config.file /nowhere.yml")
}
