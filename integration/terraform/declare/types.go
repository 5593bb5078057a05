package declare

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"edgefleet/devices/fleetdir"
)

// Device is what a file of Terraform's says of one device, in the terms of the
// fleet directory. Empty fields are left out of the file.
type Device struct {
	ID                 string          `yaml:"id"`
	Site               string          `yaml:"site"`
	Region             string          `yaml:"region"`
	Class              string          `yaml:"class,omitempty"`
	Profile            string          `yaml:"profile"`
	Address            string          `yaml:"address"`
	Unit               *int64          `yaml:"unit,omitempty"`
	Modbus             *Modbus         `yaml:"modbus,omitempty"`
	OPCUA              *OPCUA          `yaml:"opcua,omitempty"`
	SSH                *SSH            `yaml:"ssh,omitempty"`
	Credentials        string          `yaml:"credentials,omitempty"`
	NetworkReset       *Reset          `yaml:"network_reset,omitempty"`
	Labels             map[string]Text `yaml:"labels,omitempty"`
	PlaintextException Text            `yaml:"plaintext_exception,omitempty"`
}

// Modbus says how the gateway at a device's address is spoken to.
type Modbus struct {
	Framing       string `yaml:"framing,omitempty"`
	SerialGateway *bool  `yaml:"serial_gateway,omitempty"`
}

// OPCUA says how a server is reached, and what it is known by.
type OPCUA struct {
	Policy         string `yaml:"policy,omitempty"`
	Mode           string `yaml:"mode,omitempty"`
	Thumbprint     string `yaml:"thumbprint,omitempty"`
	ApplicationURI string `yaml:"application_uri,omitempty"`
}

// SSH says what a host is known by.
type SSH struct {
	HostKeys []string `yaml:"host_keys,omitempty"`
}

// Reset names the device, and its action, that reset a network path.
type Reset struct {
	Device string `yaml:"device"`
	Action string `yaml:"action"`
}

// Fleet is what fleet.yaml says of the fleet as a whole.
type Fleet struct {
	Name       string            `yaml:"name"`
	Regions    map[string]Region `yaml:"regions"`
	Monitoring bool              `yaml:"monitoring"`
	Tags       map[string]Text   `yaml:"tags,omitempty"`
	Security   Security          `yaml:"security"`
}

// Region is a region of a Fleet.
type Region struct {
	Reference string `yaml:"reference,omitempty"`
}

// Security bounds what may be dialled, and how.
type Security struct {
	EnableEncryption bool     `yaml:"enable_encryption"`
	RotationPeriod   string   `yaml:"rotation_period,omitempty"`
	AllowedNetworks  []string `yaml:"allowed_networks"`
	TrustFirstUse    bool     `yaml:"trust_first_use,omitempty"`
}

// Baseline is a file of desired settings. The values of settings are YAML
// scalars as text.
type Baseline struct {
	Name      string     `yaml:"name"`
	Version   string     `yaml:"version"`
	Profile   string     `yaml:"profile"`
	Select    *Select    `yaml:"select,omitempty"`
	Settings  Settings   `yaml:"settings,omitempty"`
	Ignore    []string   `yaml:"ignore,omitempty"`
	Overrides *Overrides `yaml:"overrides,omitempty"`
}

// Select says which devices a Baseline is for.
type Select struct {
	IDs    []string            `yaml:"ids,omitempty"`
	Site   []string            `yaml:"site,omitempty"`
	Region []string            `yaml:"region,omitempty"`
	Class  []string            `yaml:"class,omitempty"`
	Labels map[string][]string `yaml:"labels,omitempty"`
}

// Overrides are the settings that differ at a site, or on a device.
type Overrides struct {
	Sites   map[string]Settings `yaml:"sites,omitempty"`
	Devices map[string]Settings `yaml:"devices,omitempty"`
}

// Settings are values by the name of the setting.
type Settings map[string]Scalar

// Text is what people write in words.
type Text string

// MarshalYAML has a text of several lines, or with tabs, written in quotes: the
// block that the encoder would choose for it cannot always be read back.
func (t Text) MarshalYAML() (any, error) {
	if !strings.ContainsFunc(string(t), unicode.IsControl) {
		return string(t), nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: string(t), Style: yaml.DoubleQuotedStyle}, nil
}

// Scalar is one value of a setting as it is written in YAML: 50, 85.0, on.
type Scalar string

// MarshalYAML writes the value plain, so that 50 is a number and not a text.
func (s Scalar) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: string(s)}, nil
}

// UnmarshalYAML takes a value as it is written.
func (s *Scalar) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: want one value", n.Line)
	}
	*s = Scalar(n.Value)
	return nil
}

// Declaration is what one file declares: a Device, a Fleet or a Baseline.
type Declaration interface {
	// File is where it stands, relative to the fleet directory.
	File() string
	// document is what the file holds.
	document() any
}

// filePrefix keeps the files of devices and baselines apart from those that
// people write.
const filePrefix = "terraform-"

// File returns devices/terraform-ID.yaml.
func (d Device) File() string { return fleetdir.DevicesDir + "/" + filePrefix + d.ID + ".yaml" }

// File returns fleet.yaml.
func (Fleet) File() string { return fleetdir.FleetFile }

// File returns edge-configs/terraform-NAME.yaml.
func (b Baseline) File() string { return fleetdir.ConfigsDir + "/" + filePrefix + b.Name + ".yaml" }

type deviceFile struct {
	Devices []Device `yaml:"devices"`
}

type fleetFile struct {
	Fleet   Fleet    `yaml:"fleet"`
	Devices []Device `yaml:"devices"`
}

func (d Device) document() any   { return deviceFile{[]Device{d}} }
func (f Fleet) document() any    { return fleetFile{Fleet: f, Devices: []Device{}} }
func (b Baseline) document() any { return b }

// render is the whole text of a file. The same declaration of the same owner
// always has the same text.
func render(owner string, d Declaration) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s%s\n# Written by Terraform: change its configuration and apply that. What is changed\n# here shows in the next plan, and is taken back by the next apply.\n", marker, owner)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(d.document()), enc.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// parse reads a file that Terraform owns. What the provider has no attribute
// for is an error: it would be lost at the next apply.
func parse(file string, data []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%s, which Terraform owns, holds what it did not write (%s); take that out, or remove the first line and the resource from the state to hand the file over",
			file, strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " "))
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s, which Terraform owns, holds a second document; remove it", file)
	}
	return nil
}
