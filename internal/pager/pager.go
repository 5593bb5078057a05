// Package pager raises and ends alerts at an Alertmanager through its own API
// client, so that the routes people already have page them.
package pager

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/go-openapi/strfmt"
	"github.com/prometheus/alertmanager/api/v2/client"
	"github.com/prometheus/alertmanager/api/v2/client/alert"
	"github.com/prometheus/alertmanager/api/v2/models"

	openapi "github.com/go-openapi/runtime/client"
)

// ErrNotConfigured says that no Alertmanager was given, so nobody can be paged.
var ErrNotConfigured = errors.New("no Alertmanager is configured (--alertmanager.url), so nobody can be paged")

// Alert is an alert to raise. Its labels identify it: the same labels again
// are the same alert.
type Alert struct {
	Labels       map[string]string
	Annotations  map[string]string
	StartsAt     time.Time
	EndsAt       time.Time
	GeneratorURL string
}

// Pager posts alerts to one Alertmanager.
type Pager struct {
	api *client.AlertmanagerAPI
}

// New returns a Pager for the Alertmanager at base, such as
// "http://alertmanager:9093"; an empty base gives a Pager whose every post
// fails with ErrNotConfigured.
func New(base string) (*Pager, error) {
	if base == "" {
		return &Pager{}, nil
	}
	u, err := url.Parse(base)
	if err != nil {
		// What cannot be parsed may hold a password, and is not quoted.
		return nil, errors.New("alertmanager URL: want http://host:port or https://host:port")
	}
	if u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("alertmanager URL %q: want http://host:port or https://host:port", u.Redacted())
	}
	transport := openapi.New(u.Host, u.JoinPath("/api/v2").Path, []string{u.Scheme})
	if u.User != nil {
		password, _ := u.User.Password()
		transport.DefaultAuthentication = openapi.BasicAuth(u.User.Username(), password)
	}
	return &Pager{api: client.New(transport, strfmt.Default)}, nil
}

// Post raises the alert, or ends it when EndsAt is not in the future. Posting
// the same alert again is harmless.
func (p *Pager) Post(ctx context.Context, a Alert) error {
	if p.api == nil {
		return ErrNotConfigured
	}
	params := alert.NewPostAlertsParamsWithContext(ctx).WithAlerts(models.PostableAlerts{{
		StartsAt:    strfmt.DateTime(a.StartsAt),
		EndsAt:      strfmt.DateTime(a.EndsAt),
		Annotations: a.Annotations,
		Alert:       models.Alert{Labels: a.Labels, GeneratorURL: strfmt.URI(a.GeneratorURL)},
	}})
	if _, err := p.api.Alert.PostAlerts(params); err != nil {
		return fmt.Errorf("post alert to Alertmanager: %w", err)
	}
	return nil
}
