package service

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/temporalx"
)

func TestEveryBadOptionIsToldBeforeAnythingRuns(t *testing.T) {
	dir := t.TempDir()
	shared := write(t, filepath.Join(dir, "shared.key"), strings.Repeat("k", 32), 0o644)
	writable := write(t, filepath.Join(dir, "writable.key"), strings.Repeat("k", 32), 0o660)
	empty := write(t, filepath.Join(dir, "empty.key"), " \n", 0o600)
	short := write(t, filepath.Join(dir, "short.key"), "fifteen bytes..\n", 0o600)
	broken := write(t, filepath.Join(dir, "fleet", "fleet.yaml"), "fleet: {name: plant, colour: red}\n", 0o600)
	web := write(t, filepath.Join(dir, "web.yml"), "tls_server_config: {cert_file: absent.pem, key_file: absent.pem}\n", 0o600)
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"no fleet directory", func(o *Options) { o.FleetDir = "" }, "--fleet: which directory declares the fleet?"},
		{"looks that never come", func(o *Options) { o.FleetInterval = -1 }, "--fleet-interval -1ns: want a duration above 0"},
		{"no store", func(o *Options) { o.StoreURL = "" }, "--store: where is the store? sqlite:PATH or postgres://user@host/database"},
		{"a store of another kind", func(o *Options) { o.StoreURL = "mysql://root:secret@h/db" },
			`--store: the URL begins with "mysql": want sqlite:PATH or postgres://user@host/database`},
		{"a store that is only a path", func(o *Options) { o.StoreURL = "store.db" },
			`--store: the URL begins with "store.db": want sqlite:PATH or postgres://user@host/database`},
		{"several at once", func(o *Options) { o.FleetDir, o.StoreURL = "", "" },
			"--fleet: which directory declares the fleet?\n--store: where is the store? sqlite:PATH or postgres://user@host/database"},
		{"no activity at all", func(o *Options) { o.MaxActivities = -1 }, "--max-activities -1: want at least 1"},
		{"a Web UI that is no URL", func(o *Options) { o.WebURL = "localhost:8233" },
			`--web-url "localhost:8233": want a URL up to the namespace, as in http://127.0.0.1:8233/namespaces/default`},
		{"an Alertmanager that is no URL", func(o *Options) { o.AlertmanagerURL = "alertmanager:9093" },
			`--alertmanager.url: alertmanager URL "alertmanager:9093": want http://host:port or https://host:port`},
		{"time that runs backwards", func(o *Options) { o.StopTimeout = -1 }, "housekeeping every 30s, stop within -1ns: want durations above 0"},
		{"metrics that nobody can see", func(o *Options) { o.Registerer = prometheus.NewRegistry() },
			"a Registerer without the Gatherer that shows its metrics"},
		{"a region that the fleet does not have", func(o *Options) { o.Regions = []string{"north", "west"} },
			`--regions: the fleet has no region "west"; it has north, south`},
		{"a key file that is not there", func(o *Options) { o.LedgerKeyFile = filepath.Join(dir, "absent.key") },
			"--ledger-key-file: stat " + filepath.Join(dir, "absent.key") + ": no such file or directory"},
		{"a key that all can read", func(o *Options) { o.LedgerKeyFile = shared },
			"--ledger-key-file " + shared + " can be read by others, or written by its group (mode 644); chmod 600 it, or 640"},
		{"a key that its group can write", func(o *Options) { o.LedgerKeyFile = writable },
			"--ledger-key-file " + writable + " can be read by others, or written by its group (mode 660); chmod 600 it, or 640"},
		{"an empty key", func(o *Options) { o.LedgerKeyFile = empty },
			"--ledger-key-file " + empty + " holds 0 bytes; write at least 16 random ones into it: openssl rand -hex 32"},
		{"a short key", func(o *Options) { o.LedgerKeyFile = short },
			"--ledger-key-file " + short + " holds 15 bytes; write at least 16 random ones into it: openssl rand -hex 32"},
		{"a folder for a key", func(o *Options) { o.LedgerKeyFile = dir }, "--ledger-key-file " + dir + " is not a file"},
		{"an admin address without a port", func(o *Options) { o.AdminAddr = "localhost" },
			`listen address "localhost": want host:port or :port: address localhost: missing port in address`},
		{"a mistake in the fleet directory", func(o *Options) { o.FleetDir = filepath.Dir(broken) }, "fleet.yaml:1: "},
		{"a web configuration without its certificate", func(o *Options) { o.WebConfigFile = web }, "--web.config.file " + web + ": "},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t, temporalx.Options{})
			c.change(&o)
			_, err := New(o)
			require.Error(t, err)
			if strings.HasSuffix(c.want, ": ") {
				require.True(t, strings.HasPrefix(err.Error(), c.want), err.Error())
				return
			}
			require.Equal(t, c.want, err.Error())
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestRegions(t *testing.T) {
	declared := []string{"north", "south", "west"}
	for name, c := range map[string]struct{ asked, want []string }{
		"all where none is named": {nil, declared},
		"an empty name is none":   {[]string{""}, declared},
		"those that are named":    {[]string{"west", "north"}, []string{"north", "west"}},
		"each once":               {[]string{"south", "south"}, []string{"south"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Options{Regions: c.asked}.regions(declared)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestTheKeyIsWhatTheFileHoldsWithoutItsLineBreak(t *testing.T) {
	for _, mode := range []os.FileMode{0o600, 0o400, 0o640} {
		file := write(t, filepath.Join(t.TempDir(), "key"), "  sixteen bytes ok\n", 0o600)
		require.NoError(t, os.Chmod(file, mode))
		key, err := Options{LedgerKeyFile: file}.ledgerKey()
		require.NoError(t, err)
		require.Equal(t, "sixteen bytes ok", string(key))
	}
	key, err := Options{}.ledgerKey()
	require.NoError(t, err)
	require.Empty(t, key, "without a file the chain has no key")
}

func TestExitCodes(t *testing.T) {
	for _, name := range []string{"EDGEFLEET_FLEET", "EDGEFLEET_STORE", "EDGEFLEET_REGIONS", "EDGEFLEET_TEMPORAL_ADDRESS"} {
		t.Setenv(name, "")
	}
	o := options(t, temporalx.Options{})
	good := []string{"--fleet", o.FleetDir, "--store", o.StoreURL, "--admin", "127.0.0.1:0", "--temporal-address", closedPort(t)}
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"help is done", []string{"--help"}, 0, ""},
		{"an unknown flag is bad usage", []string{"--flet", "x"}, 2, "worker: flag provided but not defined: -flet"},
		{"an argument is bad usage", []string{"run"}, 2, `worker: unknown argument "run": the worker takes flags only, see --help`},
		{"a missing option is bad usage", nil, 2, "worker: --fleet: which directory declares the fleet?"},
		{"a bad log level is bad usage", append([]string{"--log-level", "loud"}, good...), 2, "worker: --log-level"},
		{"an unknown region is bad usage", append([]string{"--regions", "north,west"}, good...), 2, `the fleet has no region "west"`},
		{"Temporal away is a failure", good, 1, "does not answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := Main(context.Background(), append([]string{"worker"}, c.args...), &out, &errs)
			require.Equal(t, c.code, code, errs.String())
			require.Contains(t, errs.String(), c.says)
			if c.code == 0 {
				require.Contains(t, out.String(), "--ledger-key-file")
			}
		})
	}
}
