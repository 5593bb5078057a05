package contract

import "time"

// Questions that the command line asks the workers: each is an activity, run
// by WorkflowInspect, so that a laptop needs nothing but Temporal.
const (
	AskDeviceList   = "device_list"   // DeviceQuery -> []DeviceStatus
	AskDeviceShow   = "device_show"   // DeviceQuery -> DeviceDetail
	AskDeviceProbe  = "device_probe"  // DeviceQuery -> NetworkReport, on the region's queue
	AskDeviceDrift  = "device_drift"  // DeviceQuery -> DriftReport, on the region's queue
	AskIncidentList = "incident_list" // IncidentQuery -> []Incident
	AskIncidentShow = "incident_show" // IncidentQuery -> IncidentDetail
	AskAuditList    = "audit_list"    // AuditQuery -> AuditPage
	AskAuditVerify  = "audit_verify"  // AuditVerifyQuery -> AuditVerdict
	AskDriftReport  = "drift_report"  // EvidenceQuery -> EvidencePage

	// AskDeviceFingerprint takes a DeviceQuery to a FingerprintReport, on the
	// region's queue.
	AskDeviceFingerprint = "device_fingerprint"
)

// InspectInput is the input of WorkflowInspect; exactly the query that the
// question takes is set.
type InspectInput struct {
	Question string            `json:"question"`
	By       string            `json:"by"`
	Device   *DeviceQuery      `json:"device,omitempty"`
	Incident *IncidentQuery    `json:"incident,omitempty"`
	Audit    *AuditQuery       `json:"audit,omitempty"`
	Verify   *AuditVerifyQuery `json:"verify,omitempty"`
	Registry *RegistryQuery    `json:"registry,omitempty"`
	Evidence *EvidenceQuery    `json:"evidence,omitempty"`
	Rollout  *RolloutQuery     `json:"rollout,omitempty"`
	Patch    *PatchQuery       `json:"patch,omitempty"`
}

// InspectResult is the result of WorkflowInspect: the answer's field is set.
type InspectResult struct {
	Devices   []DeviceStatus  `json:"devices,omitempty"`
	Device    *DeviceDetail   `json:"device,omitempty"`
	Network   *NetworkReport  `json:"network,omitempty"`
	Drift     *DriftReport    `json:"drift,omitempty"`
	Incidents []Incident      `json:"incidents,omitempty"`
	Incident  *IncidentDetail `json:"incident,omitempty"`
	Audit     *AuditPage      `json:"audit,omitempty"`
	Verdict   *AuditVerdict   `json:"verdict,omitempty"`
	Registry  *RegistryPage   `json:"registry,omitempty"`
	Evidence  *EvidencePage   `json:"evidence,omitempty"`

	Fingerprint *FingerprintReport `json:"fingerprint,omitempty"`

	Rollouts       []RolloutSummary   `json:"rollouts,omitempty"`
	RolloutPlan    *RolloutPlanPage   `json:"rollout_plan,omitempty"`
	RolloutDevices *RolloutDevicePage `json:"rollout_devices,omitempty"`

	Patches *PatchPage `json:"patches,omitempty"`
}

// DeviceQuery selects devices: one by ID, or a page of a list in the order of
// the IDs.
type DeviceQuery struct {
	ID     string `json:"id,omitempty"`
	Site   string `json:"site,omitempty"`
	Region string `json:"region,omitempty"`
	// After is the last ID of the page before.
	After string `json:"after,omitempty"`
	// Limit bounds the page; 0, and what is more than MaxDeviceList, is
	// MaxDeviceList. A page can be shorter, as far as an answer has room.
	Limit int `json:"limit,omitempty"`
}

// MaxDeviceList is the most devices that one answer has.
const MaxDeviceList = 1000

// DeviceStatus is a row of the device list: the declaration, and what the
// store last learnt.
type DeviceStatus struct {
	Device
	// State is "unknown", "healthy", "unreachable", "drifted" or "unhealthy".
	State     string     `json:"state"`
	CheckedAt *time.Time `json:"checked_at,omitempty"`
	Detail    string     `json:"detail,omitempty"`
	// LeasedBy is the workflow that holds the device now.
	LeasedBy string `json:"leased_by,omitempty"`
	// More, on the last device of a page, says that the list goes on after it.
	More bool `json:"more,omitempty"`
}

// DeviceDetail is everything about one device.
type DeviceDetail struct {
	DeviceStatus
	// Protocol is what the device speaks, and Security how it is protected:
	// "Basic256Sha256/SignAndEncrypt". Credentials names what it is logged in to
	// with; no secret is ever among the answers.
	Protocol    string `json:"protocol,omitempty"`
	Security    string `json:"security,omitempty"`
	Credentials string `json:"credentials,omitempty"`
	// Fingerprints are those that the fleet file states, Pin what the device
	// proved itself with when it was taken into service.
	Fingerprints []string `json:"fingerprints,omitempty"`
	Pin          string   `json:"pin,omitempty"`
	// Registry is the device's state in the registry, Serial and Firmware what
	// it said of itself when it was last taken into service.
	Registry     string        `json:"registry,omitempty"`
	Serial       string        `json:"serial,omitempty"`
	Firmware     string        `json:"firmware,omitempty"`
	Baseline     string        `json:"baseline,omitempty"`
	NetworkReset string        `json:"network_reset,omitempty"`
	Incidents    []Incident    `json:"incidents,omitempty"`
	Ledger       []LedgerEntry `json:"ledger,omitempty"`
}

// FingerprintReport is what a device shows to be known by, beside what is known
// of it. What it shows proves nothing: a person compares it with what the device
// says on its own console.
type FingerprintReport struct {
	DeviceID string `json:"device_id"`
	Protocol string `json:"protocol"`
	Address  string `json:"address"`
	// Shown are fingerprints of host keys ("SHA256:..."), or SHA-256
	// thumbprints of certificates in hexadecimal digits.
	Shown []string `json:"shown"`
	// Declared are those of the fleet file, Pinned those of the registry.
	Declared []string `json:"declared,omitempty"`
	Pinned   []string `json:"pinned,omitempty"`
	// Verdict is one of the Fingerprint constants.
	Verdict string `json:"verdict"`
	// State is what the fleet file has of a device that shows these.
	State string `json:"state"`
}

// The verdicts of a FingerprintReport.
const (
	FingerprintDeclared    = "declared"     // it shows what the fleet file states
	FingerprintPinned      = "pinned"       // it shows what it was taken into service with
	FingerprintDiffers     = "differs"      // it shows something else
	FingerprintUnpinned    = "unpinned"     // there is nothing to compare with
	FingerprintNotCompared = "not compared" // a SHA-1 thumbprint is declared
)

// IncidentQuery selects incidents; newest first.
type IncidentQuery struct {
	ID       string `json:"id,omitempty"`
	DeviceID string `json:"device_id,omitempty"`
	Status   string `json:"status,omitempty"`
	Limit    int    `json:"limit,omitempty"`
}

// Incident is one episode of trouble with one device.
type Incident struct {
	ID         string     `json:"id"`
	DeviceID   string     `json:"device_id"`
	AlertName  string     `json:"alert_name,omitempty"`
	Status     string     `json:"status"`
	Reason     string     `json:"reason"`
	Detail     string     `json:"detail,omitempty"`
	WorkflowID string     `json:"workflow_id"`
	RunID      string     `json:"run_id"`
	OpenedAt   time.Time  `json:"opened_at"`
	EndedAt    *time.Time `json:"ended_at,omitempty"`
}

// IncidentDetail is an incident with its notes and what the ledger has of it.
type IncidentDetail struct {
	Incident
	Notes  []Moment      `json:"notes"`
	Ledger []LedgerEntry `json:"ledger"`
}

// AuditQuery selects entries of the ledger in order, After a sequence number.
type AuditQuery struct {
	DeviceID   string `json:"device_id,omitempty"`
	WorkflowID string `json:"workflow_id,omitempty"`
	After      int64  `json:"after,omitempty"`
	Limit      int    `json:"limit,omitempty"`
	// Newest returns the last Limit entries instead of the first.
	Newest bool `json:"newest,omitempty"`
}

// LedgerEntry is one line of the ledger as it stands there.
type LedgerEntry struct {
	Seq        int64     `json:"seq"`
	Time       time.Time `json:"time"`
	Phase      string    `json:"phase"` // intent, result or event
	Actor      string    `json:"actor"`
	DeviceID   string    `json:"device_id"`
	Action     string    `json:"action"`
	Item       string    `json:"item,omitempty"`
	Before     string    `json:"before,omitempty"`
	After      string    `json:"after,omitempty"`
	Outcome    string    `json:"outcome,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	IncidentID string    `json:"incident_id,omitempty"`
	WorkflowID string    `json:"workflow_id"`
	RunID      string    `json:"run_id"`
	ActivityID string    `json:"activity_id"`
	PlanHash   string    `json:"plan_hash,omitempty"`
	PrevHash   string    `json:"prev_hash"`
	Hash       string    `json:"hash"`
}

// AuditPage is a page of the ledger; Next is the After of the next page, or
// 0 when there is none.
type AuditPage struct {
	Entries []LedgerEntry `json:"entries"`
	Next    int64         `json:"next,omitempty"`
}

// AuditVerifyQuery asks for a check of the whole chain. With AnchorSeq and
// AnchorHash, which an earlier verification printed, it also finds a ledger
// that was replaced as a whole.
type AuditVerifyQuery struct {
	AnchorSeq  int64  `json:"anchor_seq,omitempty"`
	AnchorHash string `json:"anchor_hash,omitempty"`
}

// AuditVerdict is the outcome of a check of the ledger.
type AuditVerdict struct {
	OK      bool  `json:"ok"`
	Entries int64 `json:"entries"`
	// Keyed says that the chain is an HMAC with a secret key.
	Keyed bool `json:"keyed"`
	// HeadSeq and HeadHash are the anchor to keep for the next verification.
	HeadSeq  int64  `json:"head_seq"`
	HeadHash string `json:"head_hash"`
	// Finding is "edited", "deleted", "reordered", "cut tail" or
	// "anchor mismatch", with the entry that it names.
	Finding string `json:"finding,omitempty"`
	Seq     int64  `json:"seq,omitempty"`
	Detail  string `json:"detail,omitempty"`
}
