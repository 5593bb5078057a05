package opcuasim

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"edgefleet/devices/sim/chassis"
)

// Namespace is the URI of the namespace of the controller's own nodes.
const Namespace = "urn:northline:plc"

// plantIndex is its index: the standard's is 0, the server's own 1.
const plantIndex = 2

// The controller's object and its method.
const (
	objectNode  = "Plc"
	restartNode = "Plc.Restart"
)

// Values of the node of the controller's state.
const (
	stateStopped int32 = 0
	stateRunning int32 = 1
)

// node is a variable of the controller. Its Go type is that of its value.
type node struct {
	id string // in the plant's namespace: "Pump.Ramp"
	// name is what the profile calls it.
	name  string
	value any
	// accepts says whether a client may write the value; nil means that a
	// client can only read.
	accepts func(any) bool
	// live computes what is read, for measurements.
	live func(m moment) any
	// drifts lists what a drift puts here: the first that differs.
	drifts []any
}

// moment is what a live value is computed from.
type moment struct {
	now      time.Time
	starting bool
	// sick says that the software is not well.
	sick     bool
	restarts uint32
	seed     uint64
}

// around wanders about base, at most swing away from it, with the period.
func (m moment) around(base, swing float64, period time.Duration) float64 {
	turn := float64(m.now.UnixMilli()%period.Milliseconds())/float64(period.Milliseconds()) + float64(m.seed%997)/997
	return base + swing*math.Sin(2*math.Pi*turn)
}

func within[T int16 | int32 | uint16 | uint32 | uint8 | float32 | float64](lo, hi T) func(any) bool {
	// NaN is not within any range.
	return func(v any) bool { x, ok := v.(T); return ok && x >= lo && x <= hi }
}

func anything[T any](v any) bool { _, ok := v.(T); return ok }

// factory returns the variables of a controller fresh from the factory.
func factory(deviceID string) []*node {
	return []*node{
		{id: "Plc.Serial", name: "serial", value: "NL-" + deviceID},
		{id: "Pump.Setpoint", name: "pump_setpoint", value: 65.0, accepts: within(0.0, 100.0), drifts: []any{80.0, 50.5}},
		{id: "Pump.Ramp", name: "pump_ramp", value: float32(12.5), accepts: within[float32](0, 600)},
		{id: "Pump.PressureLimit", name: "pressure_limit", value: uint16(1000), accepts: within[uint16](0, 2500), drifts: []any{uint16(1450), uint16(700)}},
		{id: "Tank.LevelLow", name: "level_low", value: int32(300), accepts: within[int32](-500, 5000)},
		{id: "Tank.LevelHigh", name: "level_high", value: int32(4200), accepts: within[int32](-500, 5000)},
		{id: "Tank.LevelOffset", name: "level_offset", value: int16(-12), accepts: within[int16](-1000, 1000)},
		{id: "Batch.Volume", name: "batch_volume", value: uint32(12000), accepts: within[uint32](0, 1000000)},
		{id: "Comm.Retries", name: "comm_retries", value: uint8(3), accepts: within[uint8](0, 10)},
		{id: "Alarm.Enabled", name: "alarm_enabled", value: true, accepts: anything[bool], drifts: []any{false, true}},
		{id: "Mode", name: "mode", value: uint16(0), accepts: within[uint16](0, 1)},
		{id: "Station.Name", name: "station_name", value: "Pump station 7", accepts: func(v any) bool {
			s, ok := v.(string)
			return ok && len(s) <= maxText
		}},
		{id: "Pump.Hours", name: "pump_hours", value: uint32(8123), accepts: anything[uint32]},
		{id: "Plc.State", name: "state", value: stateRunning, live: func(m moment) any {
			if m.starting || m.sick {
				return stateStopped
			}
			return stateRunning
		}},
		{id: "Plc.Restarts", name: "restarts", value: uint32(0), live: func(m moment) any { return m.restarts }},
		{id: "Plc.LocalControl", name: "local_control", value: false},
		{id: "Pump.Flow", name: "flow", value: 0.0, live: func(m moment) any { return m.around(42, 3, 4*time.Minute) }},
		{id: "Pump.Pressure", name: "pressure", value: float32(0), live: func(m moment) any { return float32(m.around(6.2, 0.4, 7*time.Minute)) }},
		{id: "Tank.Level", name: "level", value: int32(0), live: func(m moment) any { return int32(m.around(2300, 700, 31*time.Minute)) }},
	}
}

// maxText is the longest text that the controller stores.
const maxText = 256

// plant is the address space of one controller. Each request for one node is
// answered in one piece.
type plant struct {
	now     func() time.Time
	seed    uint64
	journal *chassis.Journal
	info    *ua.BuildInfo
	started time.Time

	mu        sync.Mutex
	nodes     []*node
	byID      map[string]*node
	before    map[string]any // what a drift replaced, until a client rewrites it
	stuck     bool
	restarts  uint32
	upSince   time.Time
	runningAt time.Time
	software  software
}

func newPlant(deviceID string, now func() time.Time, memory Memory) (*plant, error) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(deviceID))
	p := &plant{
		now: now, seed: h.Sum64(), nodes: factory(deviceID), byID: map[string]*node{}, before: map[string]any{},
		journal: chassis.NewJournal(now, memory.Counters, memory.Log), restarts: memory.Restarts, stuck: memory.DriftStuck,
		started: now(), upSince: now(), runningAt: now(),
		info: &ua.BuildInfo{
			ProductURI: "urn:northline:plc-400", ManufacturerName: "Northline", ProductName: "PLC-400",
			SoftwareVersion: "3.2.1", BuildNumber: "1207", BuildDate: time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC),
		},
	}
	for _, n := range p.nodes {
		p.byID[n.id] = n
		if text, ok := memory.Values[n.id]; ok && n.live == nil {
			value, err := parse(text, n.value)
			if err != nil {
				return nil, fmt.Errorf("remembered value of %s: %w", n.id, err)
			}
			n.value = value
		}
		if text, ok := memory.Replaced[n.id]; ok && len(n.drifts) > 0 {
			value, err := parse(text, n.value)
			if err != nil {
				return nil, fmt.Errorf("remembered value of %s: %w", n.id, err)
			}
			p.before[n.id] = value
		}
	}
	return p, p.rememberedSoftware(memory)
}

func (p *plant) moment() moment {
	now := p.now()
	return moment{now: now, sick: p.software.sick, starting: now.Before(p.runningAt), restarts: p.restarts, seed: p.seed}
}

// boot begins the time until the controller's program runs.
func (p *plant) boot(starting time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upSince = p.now()
	p.runningAt = p.upSince.Add(starting)
}

// restart starts the program anew.
func (p *plant) restart(starting time.Duration) {
	p.boot(starting)
	p.mu.Lock()
	p.restarts++
	p.mu.Unlock()
	p.journal.Add("restart", "s="+restartNode, "", "call")
}

// uptime is the time since the controller last booted, and whether its
// program does not run yet.
func (p *plant) uptime() (up time.Duration, starting bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	return now.Sub(p.upSince), now.Before(p.runningAt)
}

func (p *plant) valueLocked(n *node) any {
	if n.live != nil {
		return n.live(p.moment())
	}
	return n.value
}

// read returns a value of any node, or the reason why there is none.
func (p *plant) read(nodeID *ua.NodeID) (any, ua.StatusCode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.lookupLocked(nodeID); n != nil {
		return p.valueLocked(n), ua.StatusOK
	}
	if nodeID.Namespace() == plantIndex && nodeID.Type() == ua.NodeIDTypeString {
		if value, ok := p.softwareLocked(nodeID.StringID()); ok {
			return value, ua.StatusOK
		}
	}
	if nodeID.Namespace() != 0 || nodeID.Type() == ua.NodeIDTypeString {
		return nil, ua.StatusBadNodeIDUnknown
	}
	switch nodeID.IntID() {
	case id.Server_NamespaceArray:
		return []string{"http://opcfoundation.org/UA/", ApplicationURI, Namespace}, ua.StatusOK
	case id.Server_ServerArray:
		return []string{ApplicationURI}, ua.StatusOK
	case id.Server_ServerStatus:
		return ua.NewExtensionObject(&ua.ServerStatusDataType{
			StartTime: p.started, CurrentTime: p.now(), State: ua.ServerStateRunning, BuildInfo: p.info, ShutdownReason: ua.NewLocalizedText(""),
		}), ua.StatusOK
	case id.Server_ServerStatus_StartTime:
		return p.started, ua.StatusOK
	case id.Server_ServerStatus_CurrentTime:
		return p.now(), ua.StatusOK
	case id.Server_ServerStatus_State:
		return int32(ua.ServerStateRunning), ua.StatusOK
	case id.Server_ServerStatus_BuildInfo:
		return ua.NewExtensionObject(p.info), ua.StatusOK
	case id.Server_ServerStatus_BuildInfo_ProductURI:
		return p.info.ProductURI, ua.StatusOK
	case id.Server_ServerStatus_BuildInfo_ManufacturerName:
		return p.info.ManufacturerName, ua.StatusOK
	case id.Server_ServerStatus_BuildInfo_ProductName:
		return p.info.ProductName, ua.StatusOK
	case id.Server_ServerStatus_BuildInfo_SoftwareVersion:
		return p.info.SoftwareVersion, ua.StatusOK
	case id.Server_ServerStatus_BuildInfo_BuildNumber:
		return p.info.BuildNumber, ua.StatusOK
	case id.Server_ServerStatus_BuildInfo_BuildDate:
		return p.info.BuildDate, ua.StatusOK
	}
	return nil, ua.StatusBadNodeIDUnknown
}

func (p *plant) lookupLocked(nodeID *ua.NodeID) *node {
	if nodeID == nil || nodeID.Namespace() != plantIndex || nodeID.Type() != ua.NodeIDTypeString {
		return nil
	}
	return p.byID[nodeID.StringID()]
}

// write is a client's write of one value.
func (p *plant) write(nodeID *ua.NodeID, value any) ua.StatusCode {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.lookupLocked(nodeID)
	switch {
	case n == nil && nodeID != nil && nodeID.Namespace() == 0:
		return ua.StatusBadNotWritable
	case n == nil:
		return ua.StatusBadNodeIDUnknown
	case n.accepts == nil:
		return ua.StatusBadNotWritable
	case fmt.Sprintf("%T", value) != fmt.Sprintf("%T", n.value):
		return ua.StatusBadTypeMismatch
	case !n.accepts(value):
		return ua.StatusBadOutOfRange
	}
	p.journal.Add(n.name, "s="+n.id, format(n.value), format(value))
	if _, drifted := p.before[n.id]; drifted && p.stuck {
		return ua.StatusOK
	}
	delete(p.before, n.id)
	n.value = value
	return ua.StatusOK
}

// poke puts a value where it stands, unless it is of another type: neither
// checked nor counted.
func (p *plant) poke(nodeID string, value any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.byID[nodeID]
	if n == nil || n.live != nil || fmt.Sprintf("%T", value) != fmt.Sprintf("%T", n.value) {
		return fmt.Errorf("cannot store %v to %s", value, nodeID)
	}
	n.value = value
	return nil
}

func (p *plant) peek(nodeID string) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.byID[nodeID]; n != nil {
		return p.valueLocked(n), nil
	}
	return nil, fmt.Errorf("there is no node %s", nodeID)
}

// drift changes every node that can drift and has not yet.
func (p *plant) drift(stuck bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		if _, done := p.before[n.id]; done {
			continue
		}
		if i := slices.IndexFunc(n.drifts, func(to any) bool { return to != n.value }); i >= 0 {
			p.before[n.id], n.value = n.value, n.drifts[i]
		}
	}
	p.stuck = stuck
}

// heal undoes what is left of a drift.
func (p *plant) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for nodeID, value := range p.before {
		p.byID[nodeID].value = value
	}
	clear(p.before)
	p.stuck = false
}

// drifted returns the names of what a drift changed, in order, and whether
// the drift is stuck.
func (p *plant) drifted() ([]string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for _, n := range p.nodes {
		if _, ok := p.before[n.id]; ok {
			names = append(names, n.name)
		}
	}
	return names, p.stuck && len(names) > 0
}

// format renders a value as a text that parse takes.
func format(v any) string {
	switch x := v.(type) {
	case float32:
		return strconv.FormatFloat(float64(x), 'g', -1, 32)
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	}
	return fmt.Sprint(v)
}

// parse reads a value of the type of like.
func parse(text string, like any) (any, error) {
	integer := func(bits int) (int64, error) { return strconv.ParseInt(text, 10, bits) }
	unsigned := func(bits int) (uint64, error) { return strconv.ParseUint(text, 10, bits) }
	switch like.(type) {
	case bool:
		return strconv.ParseBool(text)
	case string:
		return text, nil
	case float32:
		f, err := strconv.ParseFloat(text, 32)
		return float32(f), err
	case float64:
		return strconv.ParseFloat(text, 64)
	case int16:
		n, err := integer(16)
		return int16(n), err
	case int32:
		n, err := integer(32)
		return int32(n), err
	case uint8:
		n, err := unsigned(8)
		return uint8(n), err
	case uint16:
		n, err := unsigned(16)
		return uint16(n), err
	case uint32:
		n, err := unsigned(32)
		return uint32(n), err
	}
	return nil, fmt.Errorf("a %T cannot be read from a text", like)
}
