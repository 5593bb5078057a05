package contract

import "time"

// AskRegistryList asks for a page of the registry: RegistryQuery ->
// RegistryPage.
const AskRegistryList = "registry_list"

// The states of a device in the registry.
const (
	RegistryOnboarding     = "onboarding"
	RegistryOnboarded      = "onboarded"
	RegistryFailed         = "failed"
	RegistryDecommissioned = "decommissioned"
)

// RegistryQuery selects a page of the registry, in the order of the IDs.
type RegistryQuery struct {
	// After is the Next of the page before.
	After string `json:"after,omitempty"`
	// Limit bounds the page; 0, and what is more than MaxDeviceList, is
	// MaxDeviceList. A page can be shorter, as far as an answer has room.
	Limit int `json:"limit,omitempty"`
}

// RegistryPage is a page of the registry, and what the worker that answered
// runs.
type RegistryPage struct {
	Devices []RegisteredDevice `json:"devices"`
	// Next is the After of the next page, or "" when there is none.
	Next string `json:"next,omitempty"`
	// Revision names the state of the worker's fleet directory; Commit is where
	// it was checked out from, if that can be said.
	Revision string `json:"revision"`
	Commit   string `json:"commit,omitempty"`
}

// RegisteredDevice is what the registry has of a device, declared or not. The
// facts are those of its last successful onboarding, or of a first one that
// was begun.
type RegisteredDevice struct {
	DeviceID     string `json:"device_id"`
	State        string `json:"state"`
	DeclaredHash string `json:"declared_hash,omitempty"`
	Revision     string `json:"revision,omitempty"`
	Site         string `json:"site,omitempty"`
	Region       string `json:"region,omitempty"`
	Profile      string `json:"profile,omitempty"`
	// Maker, Model, Firmware and Serial are what the device said of itself.
	Maker           string     `json:"maker,omitempty"`
	Model           string     `json:"model,omitempty"`
	Firmware        string     `json:"firmware,omitempty"`
	Serial          string     `json:"serial,omitempty"`
	Baseline        string     `json:"baseline,omitempty"`
	BaselineVersion string     `json:"baseline_version,omitempty"`
	OnboardedAt     *time.Time `json:"onboarded_at,omitempty"`
	ChangedAt       time.Time  `json:"changed_at"`
	// Detail says why the last onboarding failed, in short.
	Detail string `json:"detail,omitempty"`
}
