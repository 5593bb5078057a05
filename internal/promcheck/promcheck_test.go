package promcheck_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/internal/promcheck"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(v string) string {
	return fmt.Sprintf(`{"metric":{"device_id":"edge-%s"},"value":[1700000000,"%s"]}`, v, v)
}

func TestAnExpressionHoldsWhenNoSampleIsZero(t *testing.T) {
	vector := func(samples string) string {
		return `{"status":"success","data":{"resultType":"vector","result":[` + samples + `]}}`
	}
	for _, c := range []struct {
		name, body string
		verdict    promcheck.Verdict
		detail     string
	}{
		{"a vector of ones", vector(sample("1") + "," + sample("2")), promcheck.Healthy, "none of 2 samples is 0"},
		{"one zero among them", vector(sample("1") + "," + sample("0")), promcheck.Failed, `{device_id="edge-0"} is 0`},
		{"not a number", vector(sample("NaN")), promcheck.Failed, "is NaN"},
		{"no sample says nothing", vector(""), promcheck.Unknown, "there is no sample"},
		{"a scalar", `{"status":"success","data":{"resultType":"scalar","result":[1700000000,"1"]}}`, promcheck.Healthy, "it is 1"},
		{"a scalar of zero", `{"status":"success","data":{"resultType":"scalar","result":[1700000000,"0"]}}`, promcheck.Failed, "it is 0"},
		{"a part of an answer is not one", `{"status":"success","warnings":["a store did not answer"],"data":{"resultType":"vector","result":[` + sample("1") + `]}}`,
			promcheck.Unknown, "a store did not answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			checker := serving(t, http.StatusOK, c.body)
			v, detail, _, err := checker.Check(t.Context(), "up")
			require.NoError(t, err)
			require.Equal(t, c.verdict, v)
			require.Contains(t, detail, c.detail)
		})
	}
}

func TestWhatCannotBeAskedIsAnError(t *testing.T) {
	for _, c := range []struct {
		name      string
		code      int
		body      string
		permanent bool
	}{
		{"a mistake in the expression is for good", http.StatusBadRequest, `{"status":"error","errorType":"bad_data","error":"parse error"}`, true},
		{"a Prometheus that is starting is not", http.StatusServiceUnavailable, "starting", false},
		{"a range is no answer", http.StatusOK, `{"status":"success","data":{"resultType":"matrix","result":[]}}`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, _, permanent, err := serving(t, c.code, c.body).Check(t.Context(), "up[5m]")
			require.Error(t, err)
			require.Equal(t, promcheck.Unknown, v)
			require.Equal(t, c.permanent, permanent)
		})
	}
	none, err := promcheck.New("")
	require.NoError(t, err)
	_, _, permanent, err := none.Check(t.Context(), "up")
	require.ErrorIs(t, err, promcheck.ErrNotConfigured)
	require.True(t, permanent)
	for _, bad := range []string{"prometheus:9090", "ftp://x", "http://user:secret@%zz"} {
		_, err := promcheck.New(bad)
		require.ErrorContains(t, err, "want http://host:port")
		require.NotContains(t, err.Error(), "secret")
	}
}

// serving is a checker of something that answers so to the right user.
func serving(t *testing.T, code int, body string) *promcheck.Checker {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "edge" || password != "fleet" || r.URL.Path != "/prefix/api/v1/query" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	checker, err := promcheck.New("http://edge:fleet@" + server.Listener.Addr().String() + "/prefix")
	require.NoError(t, err)
	return checker
}
