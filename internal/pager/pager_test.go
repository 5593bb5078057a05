package pager_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/internal/pager"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// posted is an alert as it stands on the wire.
type posted struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
}

// request is what the receiver got.
type request struct {
	method, path, user, password string
	alerts                       []posted
}

// receiver takes posts and answers them with a status and a body.
func receiver(t *testing.T, status int, body string) (url string, got chan request) {
	t.Helper()
	got = make(chan request, 10)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		in := request{method: r.Method, path: r.URL.Path}
		in.user, in.password, _ = r.BasicAuth()
		if err := json.NewDecoder(r.Body).Decode(&in.alerts); err != nil {
			t.Errorf("the body is no list of alerts: %v", err)
		}
		got <- in
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(status)
		_, _ = rw.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

func page() pager.Alert {
	began := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	return pager.Alert{
		Labels:       map[string]string{"alertname": "EdgeRemediationFailed", "device_id": "edge-003"},
		Annotations:  map[string]string{"summary": "edgefleet could not heal edge-003"},
		StartsAt:     began,
		EndsAt:       began.Add(24 * time.Hour),
		GeneratorURL: "http://web.example/namespaces/default/workflows/w/r",
	}
}

func TestAnAlertArrivesAsItWasRaised(t *testing.T) {
	url, got := receiver(t, http.StatusOK, "")
	p, err := pager.New(url)
	require.NoError(t, err)
	want := page()
	require.NoError(t, p.Post(context.Background(), want))
	in := <-got
	require.Equal(t, http.MethodPost, in.method)
	require.Equal(t, "/api/v2/alerts", in.path)
	require.Equal(t, []posted{{Labels: want.Labels, Annotations: want.Annotations, GeneratorURL: want.GeneratorURL,
		StartsAt: want.StartsAt, EndsAt: want.EndsAt}}, in.alerts)
	require.Empty(t, in.user)
}

func TestAnEndIsPostedWithTheSameLabels(t *testing.T) {
	url, got := receiver(t, http.StatusOK, "")
	p, err := pager.New(url)
	require.NoError(t, err)
	end := page()
	end.Annotations, end.GeneratorURL = nil, ""
	end.EndsAt = end.StartsAt.Add(time.Minute)
	require.NoError(t, p.Post(context.Background(), end))
	in := <-got
	require.Equal(t, page().Labels, in.alerts[0].Labels)
	require.True(t, end.EndsAt.Equal(in.alerts[0].EndsAt))
}

func TestWhereAlertmanagerStands(t *testing.T) {
	for name, c := range map[string]struct{ suffix, path string }{
		"at the root":                     {"", "/api/v2/alerts"},
		"at the root with a slash":        {"/", "/api/v2/alerts"},
		"below a path":                    {"/alertmanager", "/alertmanager/api/v2/alerts"},
		"below a path, ending in a slash": {"/alertmanager/", "/alertmanager/api/v2/alerts"},
	} {
		t.Run(name, func(t *testing.T) {
			url, got := receiver(t, http.StatusOK, "")
			p, err := pager.New(url + c.suffix)
			require.NoError(t, err)
			require.NoError(t, p.Post(context.Background(), page()))
			require.Equal(t, c.path, (<-got).path)
		})
	}
}

func TestBasicAuthenticationComesFromTheURL(t *testing.T) {
	url, got := receiver(t, http.StatusOK, "")
	p, err := pager.New(strings.Replace(url, "http://", "http://edgefleet:pass%2Fword@", 1))
	require.NoError(t, err)
	require.NoError(t, p.Post(context.Background(), page()))
	in := <-got
	require.Equal(t, "edgefleet", in.user)
	require.Equal(t, "pass/word", in.password)
}

func TestAURLThatCannotWorkIsRefused(t *testing.T) {
	for url, want := range map[string]string{
		"alertmanager:9093":       `alertmanager URL "alertmanager:9093": want http://host:port or https://host:port`,
		"ftp://alertmanager:9093": `alertmanager URL "ftp://alertmanager:9093": want http://host:port or https://host:port`,
		"http://":                 `alertmanager URL "http:": want http://host:port or https://host:port`,
		"/alertmanager":           `alertmanager URL "/alertmanager": want http://host:port or https://host:port`,
		"://":                     `alertmanager URL: want http://host:port or https://host:port`,
		"ftp://me:secret@host":    `alertmanager URL "ftp://me:xxxxx@host": want http://host:port or https://host:port`,
		"http://me:secret@ho st/": `alertmanager URL: want http://host:port or https://host:port`,
	} {
		t.Run(url, func(t *testing.T) {
			_, err := pager.New(url)
			require.EqualError(t, err, want)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestWithoutAURLNobodyIsPagedAndThatIsSaid(t *testing.T) {
	p, err := pager.New("")
	require.NoError(t, err)
	require.ErrorIs(t, p.Post(context.Background(), page()), pager.ErrNotConfigured)
}

func TestARefusalSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		says   string
	}{
		"a bad alert":       {http.StatusBadRequest, `"start time must be before end time"`, "start time must be before end time"},
		"a failure":         {http.StatusInternalServerError, `"disk is full"`, "disk is full"},
		"a proxy":           {http.StatusBadGateway, `"upstream"`, "502"},
		"no authentication": {http.StatusUnauthorized, `"who are you"`, "401"},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := receiver(t, c.status, c.body)
			p, err := pager.New(strings.Replace(url, "http://", "http://me:secret@", 1))
			require.NoError(t, err)
			err = p.Post(context.Background(), page())
			require.ErrorContains(t, err, "post alert to Alertmanager: ")
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "secret")
			require.NotContains(t, err.Error(), "0x", "no address of memory instead of words")
		})
	}
}

func TestAnAlertmanagerThatIsAwayIsAnError(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	p, err := pager.New("http://" + ln.Addr().String())
	require.NoError(t, err)
	require.ErrorContains(t, p.Post(context.Background(), page()), "connection refused")
}

func TestTheContextEndsAPost(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	}))
	defer server.Close()
	defer close(release)
	p, err := pager.New(server.URL)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- p.Post(ctx, page()) }()
	<-arrived
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestADeadlineEndsAPost(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	p, err := pager.New(server.URL)
	require.NoError(t, err)
	require.ErrorIs(t, p.Post(ctx, page()), context.DeadlineExceeded)
}
