package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	openapi "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	"github.com/prometheus/alertmanager/api/v2/client"
	"github.com/prometheus/alertmanager/api/v2/client/alertgroup"
	"github.com/prometheus/alertmanager/api/v2/client/receiver"
	"github.com/prometheus/alertmanager/api/v2/models"
)

const (
	// standingWithin bounds one question to an Alertmanager.
	standingWithin = 10 * time.Second
	// maxStanding bounds an Alertmanager's answer, in bytes: some 50,000
	// alerts.
	maxStanding = 64 << 20
	// stateActive is the state of an alert that Alertmanager notifies of.
	stateActive = "active"
)

// standing is an alert that stands at an Alertmanager and is routed to the
// bridge's receiver.
type standing struct {
	alert Alert
	// group are the labels by which it was grouped.
	group map[string]string
	// held says that Alertmanager notifies nobody of it: it is silenced,
	// inhibited, muted for the time being, or not processed yet.
	held bool
}

// alertmanager is one Alertmanager that is asked which alerts stand.
type alertmanager struct {
	// name is the URL without a password.
	name     string
	api      *client.AlertmanagerAPI
	receiver string
	idle     func()
}

// newAlertmanager returns the Alertmanager at base, such as
// "http://user:password@alertmanager:9093/prefix", without talking to it.
func newAlertmanager(base, receiver string) (*alertmanager, error) {
	u, err := url.Parse(base)
	if err != nil {
		// What cannot be parsed may hold a password, and is not quoted.
		return nil, fmt.Errorf("--%s: want http://host:port or https://host:port", flagAlertmanager)
	}
	if u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("--%s %q: want http://host:port or https://host:port", flagAlertmanager, u.Redacted())
	}
	links := http.DefaultTransport.(*http.Transport).Clone()
	links.MaxIdleConns = 1
	transport := openapi.NewWithClient(u.Host, u.JoinPath("/api/v2").Path, []string{u.Scheme},
		&http.Client{Transport: bounded{links}})
	if u.User != nil {
		password, _ := u.User.Password()
		transport.DefaultAuthentication = openapi.BasicAuth(u.User.Username(), password)
	}
	return &alertmanager{name: u.Redacted(), api: client.New(transport, strfmt.Default), receiver: receiver, idle: links.CloseIdleConnections}, nil
}

// bounded cuts answers that are larger than any list of alerts.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, maxStanding), answer.Body}
	}
	return answer, err
}

// standing asks which alerts stand for the receiver. A receiver that there is
// not is an error: nothing would ever stand for it.
func (am *alertmanager) standing(ctx context.Context) ([]standing, error) {
	ctx, cancel := context.WithTimeout(ctx, standingWithin)
	defer cancel()
	known, err := am.api.Receiver.GetReceivers(receiver.NewGetReceiversParamsWithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("alertmanager %s: %w", am.name, brief(err))
	}
	if !has(known.Payload, am.receiver) {
		return nil, fmt.Errorf("alertmanager %s has no receiver %q: name the one that posts here with --%s", am.name, am.receiver, flagReceiver)
	}
	only := regexp.QuoteMeta(am.receiver)
	answer, err := am.api.Alertgroup.GetAlertGroups(alertgroup.NewGetAlertGroupsParamsWithContext(ctx).WithReceiver(&only))
	if err != nil {
		return nil, fmt.Errorf("alertmanager %s: %w", am.name, brief(err))
	}
	var out []standing
	for _, g := range answer.Payload {
		// An alert stands in the group of every receiver that it is routed to.
		if g == nil || g.Receiver == nil || g.Receiver.Name == nil || *g.Receiver.Name != am.receiver {
			continue
		}
		for _, a := range g.Alerts {
			if s, ok := standingOf(a, g.Labels); ok {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

func has(receivers []*models.Receiver, name string) bool {
	for _, r := range receivers {
		if r != nil && r.Name != nil && *r.Name == name {
			return true
		}
	}
	return false
}

// standingOf is an alert of the API as a message would bring it; false where
// something is missing without which it is none.
func standingOf(a *models.GettableAlert, group models.LabelSet) (standing, bool) {
	if a == nil || a.Fingerprint == nil || a.StartsAt == nil || a.Status == nil || a.Status.State == nil {
		return standing{}, false
	}
	out := standing{
		alert: Alert{
			Status: statusFiring, Labels: a.Labels, Annotations: a.Annotations,
			StartsAt: time.Time(*a.StartsAt), GeneratorURL: string(a.GeneratorURL), Fingerprint: *a.Fingerprint,
		},
		group: group,
		held:  *a.Status.State != stateActive || len(a.Status.MutedBy) > 0,
	}
	if a.EndsAt != nil {
		out.alert.EndsAt = time.Time(*a.EndsAt)
	}
	for _, set := range []models.LabelSet{a.Labels, a.Annotations} {
		for name, value := range set {
			out.alert.size += len(name) + len(value)
		}
	}
	return out, true
}

// brief is an error of the API in one line of bounded length: it quotes the
// whole answer of whatever stands at the address.
func brief(err error) error {
	const most = 300
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) <= most {
		return err
	}
	return errors.New(cut(text, most) + "…")
}
