package simfleet

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"edgefleet/devices/sim"
)

// ErrNotRunning says that no simulated fleet lives on a state file.
var ErrNotRunning = errors.New("no simulated fleet is running")

// ErrSilent says that a simulated fleet lives on a state file, and does not
// answer: it is starting, ending, or stopped.
var ErrSilent = errors.New("the simulated fleet does not answer")

// Client speaks to a living simulated fleet. It is safe for concurrent use.
type Client struct {
	stateFile string
	state     state
	devices   int
	mix       string
	http      *http.Client
}

// Find returns a client of the fleet that lives on the state file, after it
// has proved that it is the one that the file speaks of. The error is
// ErrNotRunning when none lives, and ErrSilent when one does and does not
// answer within two seconds.
func Find(ctx context.Context, stateFile string) (*Client, error) {
	alive, err := locked(stateFile)
	if err != nil {
		return nil, err
	}
	if !alive {
		return nil, fmt.Errorf("%w for %s; start it with make dev", ErrNotRunning, filepath.Dir(stateFile))
	}
	c := &Client{
		stateFile: stateFile,
		// Without kept connections a client needs no closing.
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	silent := func(err error) error {
		process := "that holds " + lockFile(stateFile)
		if c.state.PID != 0 {
			process = strconv.Itoa(c.state.PID)
		}
		return fmt.Errorf("%w for %s (%w); try again, or end the process %s", ErrSilent, filepath.Dir(stateFile), err, process)
	}
	if c.state, err = readState(stateFile); err != nil {
		return nil, silent(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	nonce := rand.Text()
	var got hello
	if err := c.do(ctx, http.MethodGet, helloPath+"?nonce="+nonce, "", nil, &got); err != nil {
		return nil, silent(err)
	}
	if !hmac.Equal([]byte(got.Proof), []byte(proof(c.state.Token, nonce))) {
		return nil, silent(fmt.Errorf("a stranger answers at %s", c.state.URL))
	}
	c.devices, c.mix = got.Devices, got.Mix
	return c, nil
}

// PID is the fleet's process.
func (c *Client) PID() int { return c.state.PID }

// URL is the control API's, http://host:port: it takes connections as long as
// the fleet lives.
func (c *Client) URL() string { return c.state.URL }

// Size is the number of devices, which is what Options.Devices asked for.
func (c *Client) Size() int { return c.devices }

// Mix says of what kinds they are, as Mix.String has it.
func (c *Client) Mix() string { return c.mix }

// Started is when the fleet's process began.
func (c *Client) Started() time.Time { return c.state.Started }

// Devices returns all devices: those of the plant, then the outlets, each in order.
func (c *Client) Devices(ctx context.Context) ([]Device, error) {
	return fetch[[]Device](ctx, c, http.MethodGet, devicesPath, nil)
}

// Device returns one device.
func (c *Client) Device(ctx context.Context, id string) (Device, error) {
	return c.device(ctx, http.MethodGet, id, "", nil)
}

// Break gives a device a fault. A stuck one is not cured by a power cycle; a
// stuck drift acknowledges writes and forgets them. The fault has begun, and
// is written down, when Break returns; the state is the one afterwards.
func (c *Client) Break(ctx context.Context, id string, fault sim.Fault, stuck bool) (Device, error) {
	return c.device(ctx, http.MethodPost, id, "/fault", faultRequest{Fault: fault, Stuck: stuck})
}

// Heal ends all faults of a device and undoes what is left of a drift.
func (c *Client) Heal(ctx context.Context, id string) (Device, error) {
	return c.device(ctx, http.MethodPost, id, "/heal", struct{}{})
}

// SetLatency delays every answer of a device.
func (c *Client) SetLatency(ctx context.Context, id string, latency time.Duration) (Device, error) {
	return c.device(ctx, http.MethodPost, id, "/latency", latencyRequest{Latency: latency})
}

// Writes returns what clients wrote to a device, since it was first made.
func (c *Client) Writes(ctx context.Context, id string) (Writes, error) {
	return fetch[Writes](ctx, c, http.MethodGet, devicesPath+"/"+url.PathEscape(id)+"/writes", nil)
}

// Stop ends the fleet, and returns when its process has written everything
// down and let go of the state file. A fleet that has ended meanwhile is no
// error. Without a deadline in ctx it waits for 15 seconds.
func (c *Client) Stop(ctx context.Context) error {
	ctx, cancel := withDeadline(ctx, 15*time.Second)
	defer cancel()
	_, asked := fetch[struct{}](ctx, c, http.MethodPost, stopPath, struct{}{})
	// Whatever came back: what counts is whether it ends.
	for {
		alive, err := locked(c.stateFile)
		if err != nil || !alive {
			return err
		}
		if s, err := readState(c.stateFile); err == nil && s.Token != c.state.Token {
			return nil // another fleet lives there by now
		}
		if asked != nil {
			return asked
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("the simulated fleet (process %d) has not ended: %w", c.state.PID, err)
		}
	}
}

func (c *Client) device(ctx context.Context, method, id, what string, body any) (Device, error) {
	return fetch[Device](ctx, c, method, devicesPath+"/"+url.PathEscape(id)+what, body)
}

// fetch makes a request with the token.
func fetch[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	err := c.do(ctx, method, path, c.state.Token, body, &out)
	return out, err
}

func (c *Client) do(ctx context.Context, method, path, token string, body, into any) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.state.URL+path, content)
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusBadRequest {
		var f failure
		if err := json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(&f); err != nil || f.Error == "" {
			return fmt.Errorf("simulated fleet: %s %s: %s", method, path, response.Status)
		}
		return errors.New(f.Error)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

func withDeadline(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
