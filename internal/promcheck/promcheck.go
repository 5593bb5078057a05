// Package promcheck evaluates a PromQL expression that says whether all is well.
//
// The answer is healthy when there is at least one sample and none is 0 or NaN,
// and failed when one is. No sample is unknown, and never healthy: a series
// that is gone says nothing. So an expression is best written with a comparison
// that keeps its samples: "up{job="edge-fleet"} == bool 1".
package promcheck

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// Verdict is what an answer comes to.
type Verdict string

// The verdicts.
const (
	Healthy Verdict = "healthy"
	Failed  Verdict = "failed"
	Unknown Verdict = "unknown"
)

// within bounds one query.
const within = 20 * time.Second

// ErrNotConfigured says that no Prometheus was given, so nothing can be asked.
var ErrNotConfigured = errors.New("no Prometheus is configured (--prometheus.url), so the expression cannot be evaluated")

// Checker asks one Prometheus.
type Checker struct{ api v1.API }

// New returns a checker for the Prometheus at base, such as
// "http://prometheus:9090". An empty base gives one that knows nothing.
func New(base string) (*Checker, error) {
	if base == "" {
		return &Checker{}, nil
	}
	u, err := url.Parse(base)
	if err != nil {
		// What cannot be parsed may hold a password, and is not quoted.
		return nil, errors.New("prometheus URL: want http://host:port or https://host:port")
	}
	if u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("prometheus URL %q: want http://host:port or https://host:port", u.Redacted())
	}
	c, err := api.NewClient(api.Config{Address: base, RoundTripper: basicAuth{u.User}})
	if err != nil {
		return nil, errors.New("prometheus URL: want http://host:port or https://host:port")
	}
	return &Checker{v1.NewAPI(c)}, nil
}

// basicAuth sends the name and password of the URL, if it has them.
type basicAuth struct{ user *url.Userinfo }

func (b basicAuth) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.user != nil {
		r = r.Clone(r.Context())
		password, _ := b.user.Password()
		r.SetBasicAuth(b.user.Username(), password)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// Check evaluates the expression now. An error says that Prometheus could not
// be asked, which says nothing of the fleet; permanent is true when asking
// again will not help.
func (c *Checker) Check(ctx context.Context, expression string) (v Verdict, detail string, permanent bool, err error) {
	if c == nil || c.api == nil {
		return Unknown, "", true, ErrNotConfigured
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	answer, warnings, _, err := c.api.Query(ctx, expression, time.Now())
	if err != nil {
		var refused *v1.Error
		permanent = errors.As(err, &refused) && refused.Type == v1.ErrBadData
		return Unknown, "", permanent, fmt.Errorf("evaluate %q: %w", expression, err)
	}
	if len(warnings) > 0 {
		// What is missing from a part of an answer may be what is wrong.
		return Unknown, "Prometheus answers with a warning: " + warnings[0], false, nil
	}
	switch a := answer.(type) {
	case *model.Scalar:
		if good(a.Value) {
			return Healthy, "it is " + a.Value.String(), false, nil
		}
		return Failed, "it is " + a.Value.String(), false, nil
	case model.Vector:
		v, detail = verdict(a)
		return v, detail, false, nil
	}
	return Unknown, "", true, fmt.Errorf("evaluate %q: the answer is a %s, and a scalar or an instant vector is wanted", expression, answer.Type())
}

func good(v model.SampleValue) bool { return v != 0 && !math.IsNaN(float64(v)) }

func verdict(a model.Vector) (Verdict, string) {
	bad := 0
	first := ""
	for _, s := range a {
		if !good(s.Value) {
			if bad == 0 {
				first = fmt.Sprintf("%s is %s", s.Metric, s.Value)
			}
			bad++
		}
	}
	switch {
	case len(a) == 0:
		return Unknown, "there is no sample, which says nothing"
	case bad == 0:
		return Healthy, fmt.Sprintf("none of %d samples is 0", len(a))
	case bad == 1:
		return Failed, first
	}
	return Failed, fmt.Sprintf("%s, and %d others of %d", first, bad-1, len(a))
}
