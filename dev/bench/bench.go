// Package bench measures remediations on a running stack: how many a second,
// how long from an alert to the first packet to its device, and what stands in
// history, next to what the same engine does with workflows of the same shape
// whose activities are empty.
package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"time"

	"go.temporal.io/api/enums/v1"
	sdkclient "go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"edgefleet/dev/stack"
	"edgefleet/workflows/contract"
)

// Options say what to measure.
type Options struct {
	// Alerts is how many devices alert at once, Light how many alerts come one
	// after the other.
	Alerts, Light int
	Out           io.Writer
}

// Taps stand before the devices of a stack; its Address is for stack.Options.
type Taps struct{ byDevice map[string]*tap }

// NewTaps returns no taps yet.
func NewTaps() *Taps { return &Taps{map[string]*tap{}} }

// Address puts a tap before the device and returns where it listens.
func (t *Taps) Address(device, address string) (string, error) {
	tap, err := newTap(address)
	if err != nil {
		return "", err
	}
	t.byDevice[device] = tap
	return tap.addr(), nil
}

// Close closes all taps.
func (t *Taps) Close() {
	for _, tap := range t.byDevice {
		tap.close()
	}
}

// Run measures, and prints what it found.
func Run(ctx context.Context, s *stack.Stack, taps *Taps, o Options) error {
	b := &run{stack: s, taps: taps, opts: o}
	if err := b.lightLoad(ctx); err != nil {
		return err
	}
	stop, err := startEmpty(s.Conn())
	if err != nil {
		return err
	}
	defer stop()
	// In turns, because whatever else the machine does changes by the second.
	for round := range rounds {
		if err := b.burst(ctx, round); err != nil {
			return err
		}
		if err := b.ceiling(ctx, round); err != nil {
			return err
		}
	}
	b.report()
	return nil
}

// rounds is how often the burst and the ceiling are measured.
const rounds = 3

type run struct {
	stack *stack.Stack
	taps  *Taps
	opts  Options

	light      []time.Duration
	burstFirst []time.Duration
	// perSecond and ceilings are of each round.
	perSecond, ceilings []float64
	activities          int
	events, bytes       int
}

// alert is one alert as Alertmanager posts it.
func alert(device string, n int, at time.Time) map[string]any {
	return map[string]any{
		"status": "firing", "startsAt": at, "fingerprint": fmt.Sprintf("bench%011x", n),
		"labels": map[string]string{"alertname": "EdgeDeviceOffline", "device_id": device},
	}
}

func (b *run) post(ctx context.Context, alerts []map[string]any) error {
	body, err := json.Marshal(map[string]any{
		"version": "4", "status": "firing", "receiver": "edgefleet", "groupKey": "bench", "alerts": alerts,
		"groupLabels": map[string]string{}, "commonLabels": map[string]string{}, "commonAnnotations": map[string]string{},
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.stack.BridgeURL()+"/api/v1/alertmanager", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("the bridge answered %s: %s", resp.Status, text)
	}
	return nil
}

// one posts alerts for the devices, waits for the first packet to each and for
// the end of each remediation, and returns the times to the first packets.
func (b *run) one(ctx context.Context, devices []string, from int) ([]time.Duration, error) {
	at := time.Now().Truncate(time.Second)
	var alerts []map[string]any
	firsts := make([]<-chan time.Time, len(devices))
	for i, d := range devices {
		alerts = append(alerts, alert(d, from+i, at))
		firsts[i] = b.taps.byDevice[d].arm()
	}
	posted := time.Now()
	if err := b.post(ctx, alerts); err != nil {
		return nil, err
	}
	took := make([]time.Duration, len(devices))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, d := range devices {
		group.Go(func() error {
			select {
			case first := <-firsts[i]:
				took[i] = first.Sub(posted)
			case <-groupCtx.Done():
				return groupCtx.Err()
			}
			id := contract.Episode{DeviceID: d, AlertName: "EdgeDeviceOffline", Fingerprint: fmt.Sprintf("bench%011x", from+i), StartsAt: at}.WorkflowID()
			return b.stack.Conn().Client.GetWorkflow(groupCtx, id, "").Get(groupCtx, nil)
		})
	}
	err := group.Wait()
	if err == nil && b.events == 0 {
		id := contract.Episode{DeviceID: devices[0], AlertName: "EdgeDeviceOffline", Fingerprint: fmt.Sprintf("bench%011x", from), StartsAt: at}.WorkflowID()
		err = b.weigh(ctx, id)
	}
	return took, err
}

func (b *run) device(i int) string { return fmt.Sprintf("edge-%03d", i%b.opts.Alerts+1) }

func (b *run) lightLoad(ctx context.Context) error {
	// One to warm up: the first remediation compiles, connects and caches.
	for i := range b.opts.Light + 1 {
		took, err := b.one(ctx, []string{b.device(i)}, i)
		if err != nil {
			return fmt.Errorf("light load: %w", err)
		}
		if i > 0 {
			b.light = append(b.light, took...)
		}
	}
	return nil
}

func (b *run) burst(ctx context.Context, round int) error {
	devices := make([]string, b.opts.Alerts)
	for i := range devices {
		devices[i] = b.device(i)
	}
	began := time.Now()
	took, err := b.one(ctx, devices, (round+1)<<20)
	if err != nil {
		return fmt.Errorf("burst: %w", err)
	}
	b.burstFirst = append(b.burstFirst, took...)
	b.perSecond = append(b.perSecond, float64(len(devices))/time.Since(began).Seconds())
	return nil
}

// weigh counts what one remediation leaves in history.
func (b *run) weigh(ctx context.Context, workflowID string) error {
	history := b.stack.Conn().Client.GetWorkflowHistory(ctx, workflowID, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		event, err := history.Next()
		if err != nil {
			return err
		}
		b.events++
		b.bytes += proto.Size(event)
		if event.GetEventType() == enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED {
			b.activities++
		}
	}
	return nil
}

func (b *run) ceiling(ctx context.Context, round int) error {
	began := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	starts := make(chan struct{}, 16)
	for i := range b.opts.Alerts {
		group.Go(func() error {
			starts <- struct{}{}
			run, err := b.stack.Conn().Client.ExecuteWorkflow(groupCtx, sdkclient.StartWorkflowOptions{
				ID: fmt.Sprintf("bench/empty/%d/%d", round, i), TaskQueue: emptyQueue}, emptyWorkflow, b.activities)
			<-starts
			if err != nil {
				return err
			}
			return run.Get(groupCtx, nil)
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("ceiling: %w", err)
	}
	b.ceilings = append(b.ceilings, float64(b.opts.Alerts)/time.Since(began).Seconds())
	return nil
}

func (b *run) report() {
	p := func(format string, args ...any) { fmt.Fprintf(b.opts.Out, format+"\n", args...) }
	p("one remediation (alert, device healthy and in sync)")
	p("  activities                     %8d", b.activities)
	p("  history                        %8d events, %d bytes", b.events, b.bytes)
	p("light load, %d alerts one after the other", len(b.light))
	p("  alert to first packet          %8.1f ms p50, %.1f ms p99", ms(percentile(b.light, 0.5)), ms(percentile(b.light, 0.99)))
	ratios := make([]float64, rounds)
	for i := range ratios {
		ratios[i] = b.perSecond[i] / b.ceilings[i]
	}
	p("%d devices alerting at once, in one message; median of %d rounds", b.opts.Alerts, rounds)
	p("  remediations                   %8.1f /s", percentile(b.perSecond, 0.5))
	p("  alert to first packet          %8.1f ms p50, %.1f ms p99", ms(percentile(b.burstFirst, 0.5)), ms(percentile(b.burstFirst, 0.99)))
	p("the engine's ceiling: as many workflows of as many empty activities, in turns with the above")
	p("  workflows                      %8.1f /s", percentile(b.ceilings, 0.5))
	p("  remediations against it        %8.0f %%", 100*percentile(ratios, 0.5))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// percentile is the nearest rank.
func percentile[T cmp.Ordered](list []T, p float64) T {
	if len(list) == 0 {
		var none T
		return none
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[max(0, int(math.Ceil(p*float64(len(sorted))))-1)]
}
