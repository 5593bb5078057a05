package service

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"edgefleet/internal/telemetry"
	"edgefleet/internal/temporalx"
)

// Options are what a worker is built from.
type Options struct {
	// FleetDir is the fleet directory.
	FleetDir string
	// FleetInterval is the time between two looks at the fleet directory; what
	// two looks in a row show is taken up.
	FleetInterval time.Duration
	// CredentialsDir is the folder with what devices are logged in to with; see
	// package credentials. Empty is none.
	CredentialsDir string
	// StoreURL is "sqlite:PATH" or "postgres://...".
	StoreURL string
	// ArtifactsDir is where artifacts of patches stand beside those of the
	// fleet directory; empty is nowhere.
	ArtifactsDir string
	// LedgerKeyFile holds the secret of the ledger's chain; without it the
	// chain has no key.
	LedgerKeyFile string
	// Regions are served by this worker; empty means all that the fleet has at
	// a time.
	Regions []string
	// AdminAddr is where metrics, health, probes and service discovery are
	// served; port 0 is any free one.
	AdminAddr string
	// WebConfigFile is an exporter-toolkit web configuration of the admin port.
	WebConfigFile string
	// AlertmanagerURL is where escalations are posted; empty pages nobody.
	AlertmanagerURL string
	// PrometheusURL is where the checks of rollouts are evaluated; without it,
	// their expressions are unknown.
	PrometheusURL string
	// WebURL is the Temporal Web UI with the namespace, for links in
	// escalations: "http://127.0.0.1:8233/namespaces/default".
	WebURL string
	// MaxActivities bounds the activities at once on each queue.
	MaxActivities int
	// Watch says which devices service discovery lists: WatchOnboarded, the
	// default, or WatchDeclared.
	Watch string
	// ProbeMaxAge is how old an answer of a device may be that is given to
	// another scrape, so that two Prometheus do not ask it twice; 10 s.
	ProbeMaxAge time.Duration
	// Housekeeping is the time between two looks at the leases.
	Housekeeping time.Duration
	// StopTimeout bounds Stop: activities that run are given this long.
	StopTimeout time.Duration

	// Tracing traces calls to devices; nil traces nothing. Temporal has to have
	// its Interceptors.
	Tracing *telemetry.Tracing

	Temporal   temporalx.Options
	Logger     *zap.Logger
	Registerer prometheus.Registerer
	Gatherer   prometheus.Gatherer
}

func (o Options) withDefaults() Options {
	if o.AdminAddr == "" {
		o.AdminAddr = ":9464"
	}
	if o.MaxActivities == 0 {
		o.MaxActivities = 100
	}
	if o.FleetInterval == 0 {
		o.FleetInterval = 10 * time.Second
	}
	if o.Watch == "" {
		o.Watch = WatchOnboarded
	}
	if o.ProbeMaxAge == 0 {
		o.ProbeMaxAge = 10 * time.Second
	}
	if o.Housekeeping == 0 {
		o.Housekeeping = 30 * time.Second
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 15 * time.Second
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Registerer == nil {
		registry := prometheus.NewRegistry()
		o.Registerer, o.Gatherer = registry, registry
	}
	return o
}

func (o Options) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.FleetDir == "" {
		bad("--fleet: which directory declares the fleet?")
	}
	switch scheme, rest, _ := strings.Cut(o.StoreURL, ":"); {
	case o.StoreURL == "":
		bad("--store: where is the store? sqlite:PATH or postgres://user@host/database")
	case rest == "" || !slices.Contains([]string{"sqlite", "postgres", "postgresql"}, scheme):
		// The URL is not quoted as a whole: it may hold a password.
		bad("--store: the URL begins with %.20q: want sqlite:PATH or postgres://user@host/database", scheme)
	}
	if u, err := url.Parse(o.WebURL); o.WebURL != "" && (err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https")) {
		bad("--web-url %q: want a URL up to the namespace, as in http://127.0.0.1:8233/namespaces/default", o.WebURL)
	}
	if o.MaxActivities < 1 {
		bad("--max-activities %d: want at least 1", o.MaxActivities)
	}
	if o.FleetInterval < 0 {
		bad("--fleet-interval %v: want a duration above 0", o.FleetInterval)
	}
	if o.Watch != WatchOnboarded && o.Watch != WatchDeclared {
		bad("--watch %q: want %s or %s", o.Watch, WatchOnboarded, WatchDeclared)
	}
	if o.ProbeMaxAge < 0 || o.ProbeMaxAge > time.Minute {
		bad("--probe-max-age %v: want a duration up to 1m: an older answer says too little of the device", o.ProbeMaxAge)
	}
	if o.Housekeeping < 0 || o.StopTimeout < 0 {
		bad("housekeeping every %v, stop within %v: want durations above 0", o.Housekeeping, o.StopTimeout)
	}
	if o.Gatherer == nil {
		bad("a Registerer without the Gatherer that shows its metrics")
	}
	if _, err := o.ledgerKey(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// minLedgerKey is what the store asks for, in bytes.
const minLedgerKey = 16

// ledgerKey reads the key; a file that others can read is refused, because
// whoever has the key can forge the ledger.
func (o Options) ledgerKey() ([]byte, error) {
	if o.LedgerKeyFile == "" {
		return nil, nil
	}
	info, err := os.Stat(o.LedgerKeyFile)
	if err != nil {
		return nil, fmt.Errorf("--ledger-key-file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("--ledger-key-file %s is not a file", o.LedgerKeyFile)
	}
	if info.Mode().Perm()&0o037 != 0 {
		return nil, fmt.Errorf("--ledger-key-file %s can be read by others, or written by its group (mode %o); chmod 600 it, or 640", o.LedgerKeyFile, info.Mode().Perm())
	}
	key, err := os.ReadFile(o.LedgerKeyFile)
	if err != nil {
		return nil, fmt.Errorf("--ledger-key-file: %w", err)
	}
	key = []byte(strings.TrimSpace(string(key)))
	if len(key) < minLedgerKey {
		return nil, fmt.Errorf("--ledger-key-file %s holds %d bytes; write at least %d random ones into it: openssl rand -hex 32",
			o.LedgerKeyFile, len(key), minLedgerKey)
	}
	return key, nil
}

// regions returns the regions to serve, each once; one that the fleet does not
// have is a mistake, because nothing would ever come for it.
func (o Options) regions(declared []string) ([]string, error) {
	// An environment variable that was emptied, not unset, names one region "".
	named := slices.DeleteFunc(slices.Clone(o.Regions), func(r string) bool { return strings.TrimSpace(r) == "" })
	if len(named) == 0 {
		return declared, nil
	}
	for _, r := range named {
		if !slices.Contains(declared, r) {
			return nil, fmt.Errorf("--regions: the fleet has no region %q; it has %s", r, strings.Join(declared, ", "))
		}
	}
	slices.Sort(named)
	return slices.Compact(named), nil
}
