package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"edgefleet/alertbridge/bridge"
	"edgefleet/internal/httpserve/webtest"
)

func TestARequestIsAnsweredByTheSendersRetryRule(t *testing.T) {
	ok := message(t, offline("edge-001"))
	for name, tc := range map[string]struct {
		change func(*http.Request)
		body   []byte
		code   int
		says   string
	}{
		"a message":                     {body: ok, code: 200},
		"a charset is fine":             {body: ok, change: func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }, code: 200},
		"no JSON can never work":        {body: []byte("{\n\"alerts\": nope}"), code: 400, says: "line 2"},
		"two values can never work":     {body: append(ok, ok...), code: 400, says: "not a message of Alertmanager"},
		"no message can never work":     {body: []byte(`{"text": "hello"}`), code: 400, says: `no field \"alerts\"`},
		"no object can never work":      {body: []byte(`[]`), code: 400, says: "not a message of Alertmanager"},
		"nothing can never work":        {body: nil, code: 400},
		"too large can never work":      {body: []byte(`{"alerts": [], "x": "` + strings.Repeat("x", 64<<10) + `"}`), code: 413, says: "max_alerts"},
		"another method":                {body: nil, change: func(r *http.Request) { r.Method = http.MethodGet }, code: 405},
		"text that a web page can send": {body: ok, change: func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, code: 415, says: "application/json"},
		"no content type":               {body: ok, change: func(r *http.Request) { r.Header.Del("Content-Type") }, code: 415, says: "application/json"},
		"a compressed body":             {body: ok, change: func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, code: 415, says: "Content-Encoding"},
		"another path":                  {body: ok, change: func(r *http.Request) { r.URL.Path = "/api/v2/alerts" }, code: 404},
	} {
		t.Run(name, func(t *testing.T) {
			b := run(t, bridge.Options{Temporal: &fakeTemporal{}, MaxBody: 32 << 10})
			req := request(t, "http://"+b.Addr(), tc.body)
			if tc.change != nil {
				tc.change(req)
			}
			got, err := do(client(t), req)
			require.NoError(t, err)
			require.Equal(t, tc.code, got.code, got.text)
			require.Contains(t, got.text, tc.says)
		})
	}
}

func TestFieldsOfANewerAlertmanagerArePassedOver(t *testing.T) {
	b := run(t, bridge.Options{Temporal: &fakeTemporal{}})
	body := strings.Replace(string(message(t, offline("a").with("novel", map[string]any{"x": 1}))), `"version":"4"`, `"version":"5","novel":[1,{"a":null}]`, 1)
	require.Equal(t, bridge.Summary{Started: 1}, post(t, client(t), b, []byte(body)).summary)
}

func TestABodyThatBreaksOffIsNoReasonToDropTheMessage(t *testing.T) {
	r := prometheus.NewRegistry()
	b := run(t, bridge.Options{Temporal: &fakeTemporal{}, Registry: r})
	conn, err := net.Dial("tcp", b.Addr())
	require.NoError(t, err)
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"alerts\": [", bridge.PathAlertmanager)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	reply, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Contains(t, string(reply), "503 Service Unavailable")
}

func TestOverItsBoundTheBridgeSaysLaterAndNeverSlowDown(t *testing.T) {
	f, r := &fakeTemporal{hold: make(chan struct{})}, prometheus.NewRegistry()
	b := run(t, bridge.Options{Temporal: f, Registry: r, MaxMessages: 1})
	c := client(t)
	var wg sync.WaitGroup
	first := make(chan answer, 1)
	req := request(t, "http://"+b.Addr(), message(t, offline("a")))
	wg.Go(func() {
		if a, err := do(c, req); err == nil {
			first <- a
		}
	})
	for f.atOnce() < 1 {
		runtime.Gosched()
	}
	require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_messages_in_flight", nil))
	got := post(t, c, b, message(t, offline("bb")))
	require.Equal(t, http.StatusServiceUnavailable, got.code)
	require.Equal(t, "5", got.header.Get("Retry-After"))
	close(f.hold)
	wg.Wait()
	require.Equal(t, http.StatusOK, (<-first).code)
}

func TestHealthAndMetricsAreThereWithoutAToken(t *testing.T) {
	b := run(t, bridge.Options{Temporal: &fakeTemporal{}, BearerTokenFile: writeFile(t, "token", "secret\n")})
	c := client(t)
	require.Equal(t, http.StatusOK, get(t, c, "http://"+b.Addr()+"/healthz").code)
	require.Equal(t, http.StatusOK, get(t, c, "http://"+b.Addr()+"/readyz").code)
	metrics := get(t, c, "http://"+b.Addr()+"/metrics")
	require.Equal(t, http.StatusOK, metrics.code)
	require.Contains(t, metrics.text, `edgefleet_bridge_refused_total{reason="no_device"} 0`)
}

func TestReadyFollowsTemporalAndItsReasonGoesToTheLogOnly(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	f := &fakeTemporal{check: errors.New("Temporal at 10.0.0.9:7233 does not answer")}
	b := run(t, bridge.Options{Temporal: f, Logger: zap.New(core)})
	c := client(t)
	got := get(t, c, "http://"+b.Addr()+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, got.code)
	require.NotContains(t, got.text, "10.0.0.9")
	require.Equal(t, http.StatusOK, get(t, c, "http://"+b.Addr()+"/healthz").code, "alive all the same")
	require.Equal(t, http.StatusServiceUnavailable, get(t, c, "http://"+b.Addr()+"/readyz").code)
	require.Len(t, logs.FilterMessage("not ready").All(), 1, "said once, not at every probe")
}

func TestABearerTokenIsAskedForAndCanBeRotated(t *testing.T) {
	file := writeFile(t, "token", "first-token\n")
	r := prometheus.NewRegistry()
	b := run(t, bridge.Options{Temporal: &fakeTemporal{}, Registry: r, BearerTokenFile: file})
	c := client(t)
	try := func(authorization string) int {
		req := request(t, "http://"+b.Addr(), message(t, offline("a")))
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		got, err := do(c, req)
		require.NoError(t, err)
		if got.code == http.StatusUnauthorized {
			require.Contains(t, got.header.Get("WWW-Authenticate"), "Bearer")
			require.NotContains(t, got.text, "first-token")
		}
		return got.code
	}
	require.Equal(t, 401, try(""))
	require.Equal(t, 401, try("Bearer wrong"))
	require.Equal(t, 401, try("Bearer "))
	require.Equal(t, 401, try("Basic first-token"))
	require.Equal(t, 200, try("Bearer first-token"))
	require.Equal(t, 200, try("bearer first-token"), "the scheme is not case-sensitive")

	require.NoError(t, os.WriteFile(file, []byte("first-token\n\n second-token \n"), 0o600))
	require.Equal(t, 200, try("Bearer first-token"), "while it is rotated, both count")
	require.Equal(t, 200, try("Bearer second-token"))
	require.NoError(t, os.WriteFile(file, []byte("second-token"), 0o600))
	require.Equal(t, 401, try("Bearer first-token"))
	require.Equal(t, 200, try("Bearer second-token"))

	require.NoError(t, os.Remove(file))
	require.Equal(t, 503, try("Bearer second-token"), "nobody is let in, and no alert is dropped")
	require.EqualValues(t, 5, value(t, r, "edgefleet_bridge_messages_total", map[string]string{"code": "401"}))
}

func TestTheLogStaysReadableWhenManyAreTurnedAway(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	b := run(t, bridge.Options{Temporal: &fakeTemporal{}, Logger: zap.New(core), BearerTokenFile: writeFile(t, "token", "secret")})
	c := client(t)
	for range 200 {
		require.Equal(t, http.StatusUnauthorized, post(t, c, b, nil).code)
	}
	turnedAway := logs.FilterMessage("message not taken").Len()
	require.Positive(t, turnedAway)
	require.Less(t, turnedAway, 100)

	req := request(t, "http://"+b.Addr(), message(t, offline(""), offline(""), offline("a").with("fingerprint", "")))
	req.Header.Set("Authorization", "Bearer secret")
	got, err := do(c, req)
	require.NoError(t, err)
	require.Equal(t, bridge.Summary{Refused: 3}, got.summary)
	require.Equal(t, 2, logs.FilterMessage("alert refused").Len(), "one for each reason")
}

func TestAWebConfigurationProtectsTheBridge(t *testing.T) {
	ca := webtest.NewCA(t)
	cert, key := ca.Issue("bridge")
	// The password is "secret", hashed at the lowest cost.
	users := "basic_auth_users: {alertmanager: $2a$04$KIym3WT7chv8yEcAh4SNN.KhfGZQSL3/o4CDOhuc3gVQm5/pfkSkO}\n"
	tls := fmt.Sprintf("tls_server_config: {cert_file: %s, key_file: %s}\n", cert, key)
	mutual := fmt.Sprintf("tls_server_config: {cert_file: %s, key_file: %s, client_ca_file: %s, client_auth_type: RequireAndVerifyClientCert}\n", cert, key, ca.File())
	send := func(t *testing.T, b *bridge.Bridge, c *http.Client, change func(*http.Request)) (answer, error) {
		req := request(t, "https://"+b.Addr(), message(t, offline("a")))
		if change != nil {
			change(req)
		}
		return do(c, req)
	}

	t.Run("TLS and basic authentication", func(t *testing.T) {
		b := run(t, bridge.Options{Temporal: &fakeTemporal{}, WebConfigFile: webtest.WebConfig(t, tls+users)})
		got, err := send(t, b, ca.Client("", ""), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, got.code)
		got, err = send(t, b, ca.Client("", ""), func(r *http.Request) { r.SetBasicAuth("alertmanager", "secret") })
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, got.code)
	})
	t.Run("client certificates beside a bearer token", func(t *testing.T) {
		b := run(t, bridge.Options{Temporal: &fakeTemporal{}, WebConfigFile: webtest.WebConfig(t, mutual), BearerTokenFile: writeFile(t, "token", "secret")})
		_, err := send(t, b, ca.Client("", ""), nil)
		require.Error(t, err, "no certificate, no connection")
		clientCert, clientKey := ca.Issue("alertmanager")
		got, err := send(t, b, ca.Client(clientCert, clientKey), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, got.code)
		got, err = send(t, b, ca.Client(clientCert, clientKey), func(r *http.Request) { r.Header.Set("Authorization", "Bearer secret") })
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, got.code)
	})
}

func TestNewRefusesWhatCouldNotWork(t *testing.T) {
	users := "basic_auth_users: {alertmanager: $2a$04$KIym3WT7chv8yEcAh4SNN.KhfGZQSL3/o4CDOhuc3gVQm5/pfkSkO}\n"
	for name, tc := range map[string]struct {
		change func(*bridge.Options)
		want   string
	}{
		"no Temporal":               {func(o *bridge.Options) { o.Temporal = nil }, "no Temporal"},
		"no logger":                 {func(o *bridge.Options) { o.Logger = nil }, "no logger"},
		"a bound below 0":           {func(o *bridge.Options) { o.MaxCalls = -1 }, "above 0"},
		"no port":                   {func(o *bridge.Options) { o.Listen = "localhost" }, `listen address "localhost"`},
		"routes that are not there": {func(o *bridge.Options) { o.RoutesFile = "/nowhere.yaml" }, "--routes: open /nowhere.yaml"},
		"a token that is not there": {func(o *bridge.Options) { o.BearerTokenFile = "/nowhere" }, "--bearer-token-file: open /nowhere"},
		"an empty token file":       {func(o *bridge.Options) { o.BearerTokenFile = writeFile(t, "token", "\n \n") }, "empty: want one token in a line"},
		"a token file too large":    {func(o *bridge.Options) { o.BearerTokenFile = writeFile(t, "token", strings.Repeat("x", 20<<10)) }, "larger than 16384 bytes"},
		"a rate limit, which drops alerts": {func(o *bridge.Options) {
			o.WebConfigFile = webtest.WebConfig(t, "rate_limit: {burst: 1, interval: 1s}\n")
		}, "429, which Alertmanager never sends again"},
		"two secrets in one header": {func(o *bridge.Options) {
			o.WebConfigFile, o.BearerTokenFile = webtest.WebConfig(t, users), writeFile(t, "token", "x")
		}, "both need the Authorization header"},
		"metrics that are there already": {func(o *bridge.Options) {
			_, err := bridge.New(*o)
			require.NoError(t, err)
		}, "metrics cannot be registered"},
	} {
		t.Run(name, func(t *testing.T) {
			o := bridge.Options{Temporal: &fakeTemporal{}, Logger: zap.NewNop(), Registry: prometheus.NewRegistry(), Listen: "127.0.0.1:0"}
			tc.change(&o)
			_, err := bridge.New(o)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestABridgeThatIsOpenToEverybodySaysSo(t *testing.T) {
	for name, tc := range map[string]struct {
		listen, token string
		want          string
	}{
		"open":                 {":0", "", "open to everybody who can connect"},
		"a token in the clear": {"0.0.0.0:0", "x", "secrets arrive unencrypted"},
		"on this machine only": {"127.0.0.1:0", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zapcore.WarnLevel)
			o := bridge.Options{Temporal: &fakeTemporal{}, Logger: zap.New(core), Listen: tc.listen}
			if tc.token != "" {
				o.BearerTokenFile = writeFile(t, "token", tc.token)
			}
			_, err := bridge.New(o)
			require.NoError(t, err)
			if tc.want == "" {
				require.Zero(t, logs.Len())
				return
			}
			require.Equal(t, 1, logs.Len())
			require.Contains(t, logs.All()[0].Message, tc.want)
		})
	}
}

func TestStopFinishesTheMessagesInFlight(t *testing.T) {
	f := &fakeTemporal{hold: make(chan struct{})}
	b := run(t, bridge.Options{Temporal: f})
	c := client(t)
	var wg sync.WaitGroup
	answers := make(chan answer, 1)
	req := request(t, "http://"+b.Addr(), message(t, offline("a")))
	wg.Go(func() {
		if a, err := do(c, req); err == nil {
			answers <- a
		}
	})
	for f.atOnce() < 1 {
		runtime.Gosched()
	}
	stopped := make(chan error, 2)
	for range 2 {
		wg.Go(func() { stopped <- b.Stop(context.Background()) })
	}
	close(f.hold)
	wg.Wait()
	require.Equal(t, bridge.Summary{Started: 1}, (<-answers).summary)
	require.NoError(t, <-stopped)
	require.NoError(t, <-stopped)
}

func TestStopCutsWhatDoesNotFinishAndLeavesNothingBehind(t *testing.T) {
	f := &fakeTemporal{hold: make(chan struct{})}
	b := run(t, bridge.Options{Temporal: f, StopTimeout: 20 * time.Millisecond, CallTimeout: time.Hour, MessageTimeout: time.Hour})
	c := client(t)
	var wg sync.WaitGroup
	req := request(t, "http://"+b.Addr(), message(t, offline("a")))
	wg.Go(func() { _, _ = do(c, req) })
	for f.atOnce() < 1 {
		runtime.Gosched()
	}
	require.ErrorContains(t, b.Stop(context.Background()), "requests were cut")
	require.Zero(t, f.atOnce(), "no call outlives the bridge")
	wg.Wait()
}

func TestASenderThatHangsUpDoesNotUndoTheWork(t *testing.T) {
	f := &fakeTemporal{hold: make(chan struct{})}
	b := run(t, bridge.Options{Temporal: f})
	ctx, hangUp := context.WithCancel(t.Context())
	req := request(t, "http://"+b.Addr(), message(t, offline("a"))).WithContext(ctx)
	c := client(t)
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = do(c, req) })
	for f.atOnce() < 1 {
		runtime.Gosched()
	}
	hangUp()
	wg.Wait()
	close(f.hold)
	require.NoError(t, b.Stop(context.Background()))
	require.Equal(t, []string{idOf("a")}, f.startedIDs())
}
