package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/starter/cli"
)

const withGateway = `fleet:
  name: edge
  regions: {north: {}}
  security: {enable_encryption: true, allowed_networks: ["10.0.0.0/8"]}
devices:
  - id: plc-7
    site: substation-7
    region: north
    profile: opcua-plc
    address: 10.1.2.4:4840
    credentials: plant-ops
    opcua: {thumbprint: "0123456789abcdef0123456789abcdef01234567"}
`

func TestCredentialsAreMadeAndChecked(t *testing.T) {
	fleet, folder := t.TempDir(), filepath.Join(t.TempDir(), "credentials")
	require.NoError(t, os.WriteFile(filepath.Join(fleet, "fleet.yaml"), []byte(withGateway), 0o644))
	t.Setenv("EDGEFLEET_CREDENTIALS", folder)

	s := newSession(t, nil)
	require.Equal(t, cli.ExitUsage, s.run("credentials", "opcua", "plant-ops", "--uri", "urn:plant-7:edgefleet:worker"))
	require.Contains(t, s.err.String(), "make it first")
	require.NoError(t, os.Mkdir(folder, 0o700))

	s = newSession(t, nil)
	require.Equal(t, cli.ExitFailed, s.run("credentials", "check", fleet, "--output", "json"), s.err.String())
	var found []struct{ Device, Credentials, Problem string }
	require.NoError(t, json.Unmarshal([]byte(s.out.String()), &found))
	require.Len(t, found, 1)
	require.Equal(t, "plc-7", found[0].Device)
	require.Contains(t, found[0].Problem, "plant-ops")

	s = newSession(t, nil)
	require.Equal(t, cli.ExitUsage, s.run("credentials", "opcua", "plant-ops"))
	require.Contains(t, s.err.String(), "--uri urn:plant-7")

	s = newSession(t, nil)
	require.Equal(t, cli.ExitDone, s.run("credentials", "opcua", "plant-ops", "--uri", "urn:plant-7:edgefleet:worker"), s.err.String())
	require.Equal(t, filepath.Join(folder, "plant-ops", "tls.crt")+"\n", s.out.String())

	s = newSession(t, nil)
	require.Equal(t, cli.ExitDone, s.run("credentials", "check", fleet), s.out.String())
	require.Contains(t, s.err.String(), "a worker can log in to every device that asks for it")

	s = newSession(t, nil)
	require.Equal(t, cli.ExitUsage, s.run("credentials", "opcua", "plant-ops", "--uri", "urn:x:y"), "servers trust the one that there is")
}

func TestEditorsGetTheSchemas(t *testing.T) {
	for _, kind := range []string{"fleet", "devices", "profile", "baseline", "patch"} {
		s := newSession(t, nil)
		require.Equal(t, cli.ExitDone, s.run("fleet", "schema", kind))
		want, err := os.ReadFile("../../devices/schema/" + kind + ".schema.json")
		require.NoError(t, err)
		require.Equal(t, string(want), s.out.String())
	}
	s := newSession(t, nil)
	require.Equal(t, cli.ExitUsage, s.run("fleet", "schema", "fleet", "--all", "x"))
	require.Equal(t, cli.ExitUsage, s.run("fleet", "schema", "route"))
	require.Contains(t, s.err.String(), `no schema "route": want one of baseline, devices, fleet, patch, profile`)
}

func TestAllSchemasAreWrittenWithTheSettingsOfAnEditor(t *testing.T) {
	t.Chdir(t.TempDir())
	s := newSession(t, nil)
	require.Equal(t, cli.ExitDone, s.run("fleet", "schema", "--all", ".schemas"), s.err.String())
	var settings struct {
		Schemas map[string]string `json:"yaml.schemas"`
	}
	require.NoError(t, json.Unmarshal([]byte(s.out.String()), &settings))
	require.Equal(t, map[string]string{"./.schemas/fleet.schema.json": "fleet.yaml", "./.schemas/devices.schema.json": "devices/*.yaml",
		"./.schemas/profile.schema.json": "profiles/*.yaml", "./.schemas/baseline.schema.json": "edge-configs/*.yaml", "./.schemas/patch.schema.json": "patches/*.yaml"}, settings.Schemas)
	for file := range settings.Schemas {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.True(t, json.Valid(text), file)
	}
}
