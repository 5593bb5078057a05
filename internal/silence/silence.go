// Package silence keeps an Alertmanager from paging about devices that are being
// worked on, through its own API, for as long as that takes and not longer.
//
// A silence is made for a short time and extended while it is held. So the end
// of a process that was killed ends its silences, a moment later.
package silence

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	openapi "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	"github.com/prometheus/alertmanager/api/v2/client"
	"github.com/prometheus/alertmanager/api/v2/client/silence"
	"github.com/prometheus/alertmanager/api/v2/models"
)

const (
	// lease is how long a silence lasts that nobody extends.
	lease = 3 * time.Minute
	// perCall bounds one call of the API.
	perCall = 10 * time.Second
)

// Silence says what is silenced. The same Marker and Labels are the same
// silence, whoever makes it.
type Silence struct {
	// Labels are compared for equality, all of them.
	Labels map[string]string
	// Marker stands in the comment, and finds the silence again after its maker
	// died.
	Marker string
	// Comment and By are for people.
	Comment, By string
}

// Client talks to one Alertmanager.
type Client struct {
	api *client.AlertmanagerAPI
	// lease is the package's, but for tests.
	lease time.Duration
}

// New returns a client of the Alertmanager at base, such as
// "http://alertmanager:9093". An empty base gives nil, which silences nothing.
func New(base string) (*Client, error) {
	if base == "" {
		return nil, nil
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
	return &Client{api: client.New(transport, strfmt.Default), lease: lease}, nil
}

// Hold is a silence that is in force.
type Hold struct {
	c    *Client
	s    Silence
	stop context.CancelFunc
	done sync.WaitGroup
}

// Hold makes the silence, or takes up the one that is there, and extends it
// until Release is called. A nil client holds nothing.
func (c *Client) Hold(ctx context.Context, s Silence) (*Hold, error) {
	if c == nil {
		return nil, nil
	}
	if len(s.Labels) == 0 || s.Marker == "" {
		return nil, errors.New("a silence without labels would silence everything, and one without a marker would not be found again")
	}
	if err := c.put(ctx, s); err != nil {
		return nil, err
	}
	// It outlives the caller's context: Release ends it, on every way out.
	extending, stop := context.WithCancel(context.WithoutCancel(ctx))
	h := &Hold{c: c, s: s, stop: stop}
	h.done.Go(func() {
		ticker := time.NewTicker(c.lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-extending.Done():
				return
			case <-ticker.C:
				// One that fails is tried again; the silence lasts two more.
				_ = c.put(extending, s)
			}
		}
	})
	return h, nil
}

// Release ends the silence. It can be called on nil, and when the context of
// the work has ended. That it fails is a matter of minutes, because the silence
// ends by itself.
func (h *Hold) Release(ctx context.Context) error {
	if h == nil {
		return nil
	}
	h.stop()
	h.done.Wait()
	return h.c.End(context.WithoutCancel(ctx), h.s)
}

// End ends the silence, whoever made it.
func (c *Client) End(ctx context.Context, s Silence) error {
	if c == nil {
		return nil
	}
	ids, err := c.find(ctx, s)
	if err != nil {
		return err
	}
	for _, id := range ids {
		call, cancel := context.WithTimeout(ctx, perCall)
		_, failed := c.api.Silence.DeleteSilence(silence.NewDeleteSilenceParamsWithContext(call).WithSilenceID(strfmt.UUID(id)))
		cancel()
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("end the silence %s: %w", id, failed))
		}
	}
	return err
}

func (c *Client) put(ctx context.Context, s Silence) error {
	ids, err := c.find(ctx, s)
	if err != nil {
		return err
	}
	now := time.Now()
	begins, ends := strfmt.DateTime(now), strfmt.DateTime(now.Add(c.lease))
	comment := s.Comment + " [" + s.Marker + "]"
	p := &models.PostableSilence{Silence: models.Silence{Comment: &comment, CreatedBy: &s.By, StartsAt: &begins, EndsAt: &ends, Matchers: matchers(s.Labels)}}
	if len(ids) > 0 {
		p.ID = ids[0]
	}
	call, cancel := context.WithTimeout(ctx, perCall)
	defer cancel()
	if _, err := c.api.Silence.PostSilences(silence.NewPostSilencesParamsWithContext(call).WithSilence(p)); err != nil {
		return fmt.Errorf("silence %s at Alertmanager: %w", s.Marker, err)
	}
	return nil
}

// find returns the IDs of the silences in force that have the marker.
func (c *Client) find(ctx context.Context, s Silence) ([]string, error) {
	var filter []string
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		filter = append(filter, name+"="+strconv.Quote(s.Labels[name]))
	}
	call, cancel := context.WithTimeout(ctx, perCall)
	defer cancel()
	found, err := c.api.Silence.GetSilences(silence.NewGetSilencesParamsWithContext(call).WithFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("look for the silence %s at Alertmanager: %w", s.Marker, err)
	}
	var ids []string
	for _, g := range found.Payload {
		if g.ID == nil || g.Status == nil || g.Status.State == nil || *g.Status.State == models.SilenceStatusStateExpired || g.Comment == nil {
			continue
		}
		if strings.HasSuffix(*g.Comment, "["+s.Marker+"]") && len(g.Matchers) == len(s.Labels) {
			ids = append(ids, *g.ID)
		}
	}
	return ids, nil
}

func matchers(labels map[string]string) models.Matchers {
	var out models.Matchers
	yes, no := true, false
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		value := labels[name]
		out = append(out, &models.Matcher{Name: &name, Value: &value, IsEqual: &yes, IsRegex: &no})
	}
	return out
}
