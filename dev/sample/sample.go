// Package sample is the fleet directory that make dev and make demo run: a
// baseline for each kind of device, the runbooks, and a declaration of the
// simulated devices. Nothing in it is trusted on first use: the fingerprints of
// the devices that have one are declared. Passwords and keys stand elsewhere,
// in the credentials folder of package simfleet.
package sample

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"edgefleet/dev/simfleet"
	"edgefleet/devices/fleetdir"
)

//go:embed fleet
var files embed.FS

// Device is a simulated device to declare.
type Device struct {
	ID, Profile, Class, Address string
	// ResetDevice and ResetAction say what resets its network path; empty for
	// the outlets themselves.
	ResetDevice, ResetAction string
	// Credentials names the folder of the log-in of a device that has one.
	Credentials string
	// Thumbprint and ApplicationURI are what an OPC UA server is known by.
	Thumbprint, ApplicationURI string
	// HostKey is the fingerprint that a gateway is known by.
	HostKey string
}

// Of returns the declaration of a device of the simulated fleet.
func Of(d simfleet.Device) Device {
	out := Device{
		ID: d.ID, Profile: d.Profile, Class: d.Class, Address: d.Address, Credentials: d.Credentials,
		Thumbprint: d.Thumbprint, ApplicationURI: d.ApplicationURI, HostKey: d.HostKey,
	}
	if d.Outlet != "" {
		out.ResetDevice, out.ResetAction = d.Outlet, fmt.Sprintf("cycle-port-%d", d.Port)
	}
	return out
}

// regions of the sample; devices alternate between them by outlet, because a
// device and its outlet have to be in one.
var regions = []string{"us-east-1", "us-west-2"}

type (
	fleetFile struct {
		Fleet fleetDecl `yaml:"fleet"`
		// Devices is empty: they stand in a file of their own.
		Devices []deviceDecl `yaml:"devices"`
	}
	fleetDecl struct {
		Name       string                `yaml:"name"`
		Regions    map[string]regionDecl `yaml:"regions"`
		Monitoring bool                  `yaml:"monitoring"`
		Tags       map[string]string     `yaml:"tags"`
		Security   securityDecl          `yaml:"security"`
	}
	regionDecl struct {
		Reference string `yaml:"reference,omitempty"`
	}
	securityDecl struct {
		EnableEncryption bool     `yaml:"enable_encryption"`
		RotationPeriod   string   `yaml:"rotation_period"`
		AllowedNetworks  []string `yaml:"allowed_networks,flow"`
	}
	devicesFile struct {
		Devices []deviceDecl `yaml:"devices"`
	}
	deviceDecl struct {
		ID           string            `yaml:"id"`
		Site         string            `yaml:"site"`
		Region       string            `yaml:"region"`
		Class        string            `yaml:"class"`
		Profile      string            `yaml:"profile"`
		Address      string            `yaml:"address"`
		NetworkReset map[string]string `yaml:"network_reset,flow,omitempty"`
		Labels       map[string]string `yaml:"labels,flow,omitempty"`
		Credentials  string            `yaml:"credentials,omitempty"`
		OPCUA        *opcuaDecl        `yaml:"opcua,flow,omitempty"`
		SSH          *sshDecl          `yaml:"ssh,flow,omitempty"`
		Exception    string            `yaml:"plaintext_exception,omitempty"`
	}
	opcuaDecl struct {
		Policy         string `yaml:"policy"`
		Mode           string `yaml:"mode"`
		Thumbprint     string `yaml:"thumbprint"`
		ApplicationURI string `yaml:"application_uri"`
	}
	sshDecl struct {
		HostKeys []string `yaml:"host_keys,flow"`
	}
)

// mark begins the files that are written at every start, and header is all of
// their first line.
const (
	mark   = "# Written at every start of make dev"
	header = mark + ", for as long as fleet.yaml begins with this line.\n"
)

// Foreign says that the directory's fleet file is somebody else's, such as
// Terraform's: it is there, and does not begin as Write began it.
func Foreign(dir string) (bool, error) {
	data, err := os.ReadFile(filepath.Join(dir, fleetdir.FleetFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && !bytes.HasPrefix(data, []byte(mark)), err
}

// Write puts the sample into dir, unless that is Foreign: then nothing is
// written. The declaration of the simulated devices is written anew, because
// their ports may have changed; baselines and runbooks are only written when
// they are not there, because people edit them. The reference is a host:port
// that answers as long as the fleet runs.
func Write(dir, reference string, devices []Device) error {
	if foreign, err := Foreign(dir); err != nil || foreign {
		return err
	}
	if err := copyMissing(dir); err != nil {
		return fmt.Errorf("write the sample fleet: %w", err)
	}
	fleet := fleetFile{Devices: []deviceDecl{}, Fleet: fleetDecl{
		Name:       "edge-fleet",
		Regions:    map[string]regionDecl{},
		Monitoring: true,
		Tags:       map[string]string{"environment": "production", "type": "plc-gateway"},
		Security:   securityDecl{EnableEncryption: true, RotationPeriod: "72h", AllowedNetworks: []string{"127.0.0.0/8"}},
	}}
	for _, r := range regions {
		fleet.Fleet.Regions[r] = regionDecl{Reference: reference}
	}
	var declared devicesFile
	for i, d := range devices {
		declared.Devices = append(declared.Devices, declare(i, d))
	}
	if err := writeYAML(filepath.Join(dir, fleetdir.FleetFile), fleet); err != nil {
		return err
	}
	return writeYAML(filepath.Join(dir, fleetdir.DevicesDir, "simulated.yaml"), declared)
}

func declare(i int, d Device) deviceDecl {
	outlet := d.ResetDevice
	if outlet == "" {
		outlet = d.ID
	}
	n := 0
	for _, c := range outlet {
		if c >= '0' && c <= '9' {
			n = n*10 + int(c-'0')
		}
	}
	out := deviceDecl{
		ID: d.ID, Class: d.Class, Profile: d.Profile, Address: d.Address,
		Site:        fmt.Sprintf("substation-%d", n),
		Region:      regions[n%len(regions)],
		Credentials: d.Credentials,
	}
	switch {
	case d.Thumbprint != "":
		out.OPCUA = &opcuaDecl{Policy: "Basic256Sha256", Mode: "SignAndEncrypt", Thumbprint: d.Thumbprint, ApplicationURI: d.ApplicationURI}
	case d.HostKey != "":
		out.SSH = &sshDecl{HostKeys: []string{d.HostKey}}
	default:
		out.Exception = "simulated on loopback"
	}
	if d.ResetDevice != "" {
		out.NetworkReset = map[string]string{"device": d.ResetDevice, "action": d.ResetAction}
		out.Labels = map[string]string{"feeder": fmt.Sprintf("F%d", i+1)}
	}
	return out
}

// Regions returns the regions of the sample.
func Regions() []string { return append([]string(nil), regions...) }

func copyMissing(dir string) error {
	return fs.WalkDir(files, "fleet", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("fleet", filepath.FromSlash(path))
		if err != nil {
			return err
		}
		target := filepath.Join(dir, rel)
		if e.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if _, err := os.Stat(target); err == nil {
			return nil
		}
		data, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
}

func writeYAML(path string, v any) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the sample fleet: %w", err)
	}
	data, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Errorf("write the sample fleet: %w", err)
	}
	if err := os.WriteFile(path, append([]byte(header), data...), 0o644); err != nil {
		return fmt.Errorf("write the sample fleet: %w", err)
	}
	return nil
}
