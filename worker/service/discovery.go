package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"edgefleet/devices/inventory"
	"edgefleet/internal/store"
)

// What --watch takes.
const (
	// WatchOnboarded watches the devices that are in service: a device that is
	// declared and not yet installed is not dark, and one that was taken out of
	// service is not to be remediated.
	WatchOnboarded = "onboarded"
	// WatchDeclared watches whatever the fleet file declares.
	WatchDeclared = "declared"
)

// LabelExporter is the label of the fleet file that names a device's own
// exporter, "host:port". Prometheus scrapes such a device itself.
const LabelExporter = "exporter"

// targetGroup is Prometheus' HTTP service discovery format.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// discoveryWithin bounds the question which devices are in service.
const discoveryWithin = 5 * time.Second

// serviceDiscovery lists the devices of this worker's regions. The target is
// the address of the device, which the scrape configuration turns into a probe
// of this worker, or that of the device's own exporter. With ?exporters=probe
// it lists only the devices that have one, as targets of a probe.
//
// When it cannot be found out which devices are in service the answer is 503,
// and Prometheus keeps the targets that it has.
func (w *Worker) serviceDiscovery(rw http.ResponseWriter, r *http.Request) {
	now := w.now.Load()
	inv := now.declared().Inventory
	inService, err := w.inService(r.Context())
	if err != nil {
		w.opts.Logger.Warn("service discovery cannot tell which devices are in service; Prometheus keeps its targets", zap.Error(err))
		http.Error(rw, err.Error(), http.StatusServiceUnavailable)
		return
	}
	probeExporters := r.URL.Query().Get("exporters") == "probe"
	groups := []targetGroup{}
	for _, d := range inv.Devices {
		exporter := d.Labels[LabelExporter]
		if !inv.Monitoring || !slices.Contains(now.regions, d.Region) || !inService(d.ID) || (probeExporters && exporter == "") {
			continue
		}
		if probeExporters {
			exporter = ""
		}
		groups = append(groups, target(inv, d, exporter))
	}
	rw.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(rw).Encode(groups); err != nil {
		w.opts.Logger.Debug("service discovery was not read to its end", zap.Error(err))
	}
}

func target(inv *inventory.Inventory, d inventory.Device, exporter string) targetGroup {
	labels := map[string]string{"device_id": d.ID, "site": d.Site, "region": d.Region, "class": d.Class, "profile": d.Profile}
	for name, value := range inv.Tags {
		labels["__meta_edgefleet_tag_"+labelName(name)] = value
	}
	for name, value := range d.Labels {
		labels["__meta_edgefleet_label_"+labelName(name)] = value
	}
	address := d.Address
	if exporter != "" {
		address = exporter
		labels["__meta_edgefleet_exporter"] = exporter
	}
	return targetGroup{Targets: []string{address}, Labels: labels}
}

// inService returns whether a device is watched.
func (w *Worker) inService(ctx context.Context) (func(id string) bool, error) {
	if w.opts.Watch == WatchDeclared {
		return func(string) bool { return true }, nil
	}
	ctx, cancel := context.WithTimeout(ctx, discoveryWithin)
	defer cancel()
	onboarded := map[string]bool{}
	for after := ""; ; {
		page, err := w.store.ListRegistered(ctx, store.RegisteredQuery{After: after, Limit: store.MaxBulk})
		if err != nil {
			return nil, fmt.Errorf("which devices are in service: %w", err)
		}
		for _, r := range page {
			// One that is onboarded again stays in service meanwhile.
			onboarded[r.DeviceID] = r.OnboardedAt != nil && r.State != store.StateDecommissioned
		}
		if len(page) < store.MaxBulk {
			return func(id string) bool { return onboarded[id] }, nil
		}
		after = page[len(page)-1].DeviceID
	}
}

// labelName makes of a tag's name what Prometheus takes as part of a label's.
func labelName(tag string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') {
			return r
		}
		return '_'
	}, tag)
}
