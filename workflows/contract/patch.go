package contract

import "time"

// What a plan and its rollout are of.
const (
	KindConfiguration = "configuration"
	KindPatch         = "patch"
)

// AskPatchReport asks which device runs which version, and which patches are
// owed: PatchQuery -> PatchPage. It asks no device.
const AskPatchReport = "patch_report"

// PatchQuery selects devices of the report, in the order of their IDs.
type PatchQuery struct {
	Site   string `json:"site,omitempty"`
	Region string `json:"region,omitempty"`
	// Owed wants only devices that a patch is owed to and nobody excepts,
	// OlderThan only those to which it is owed for longer.
	Owed      bool          `json:"owed,omitempty"`
	OlderThan time.Duration `json:"older_than_ns,omitempty"`
	// After is the Next of the page before.
	After string `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

// PatchPage is a page of the report. Next is the After of the next page, or ""
// when there is none; a page may be empty and have one.
type PatchPage struct {
	Devices []PatchStatus `json:"devices"`
	Next    string        `json:"next,omitempty"`
}

// PatchStatus is how a device stands with patches.
type PatchStatus struct {
	DeviceID string `json:"device_id"`
	Site     string `json:"site,omitempty"`
	Region   string `json:"region,omitempty"`
	Profile  string `json:"profile,omitempty"`
	// Version is what the device said last that it runs, at SeenAt; "" is not
	// known.
	Version string     `json:"version,omitempty"`
	SeenAt  *time.Time `json:"seen_at,omitempty"`
	// State is one of the Patch constants.
	State string `json:"state"`
	// Patch is the newest one for the device, of PatchVersion; "" where the
	// fleet has none for it.
	Patch        string `json:"patch,omitempty"`
	PatchVersion string `json:"patch_version,omitempty"`
	// OwedSince is since when the first of the patches that it lacks is owed:
	// since its release, or since the device is in service.
	OwedSince *time.Time `json:"owed_since,omitempty"`
	// ExceptedBy, ExceptedUntil and Detail say who has excepted the device from
	// the newest patch, until when, and why.
	ExceptedBy    string     `json:"excepted_by,omitempty"`
	ExceptedUntil *time.Time `json:"excepted_until,omitempty"`
	Detail        string     `json:"detail,omitempty"`
}

// The states of a device in the report.
const (
	PatchCurrent  = "current"  // it runs the newest patch's version, or a newer one
	PatchOwed     = "owed"     // it lacks a patch
	PatchExcepted = "excepted" // it lacks a patch, and somebody has excepted it
	PatchNone     = "no patch" // the fleet declares none for it
)
