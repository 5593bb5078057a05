package opcuasim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"
)

// The controller's software update (OPC 10000-100, section 8.4): an object of
// SoftwareUpdateType with cached loading, whose nodes are named by their path.
const (
	softwareNode     = "SoftwareUpdate"
	loadingNode      = softwareNode + "/Loading"
	transferNode     = loadingNode + "/FileTransfer"
	fileNode         = transferNode + "/Temporary"
	installationNode = softwareNode + "/Installation"
	prepareNode      = softwareNode + "/PrepareForUpdate"

	// The same for clients that do not know the standard: a file, and a method
	// that installs what stands in it.
	ownNode     = "Firmware"
	ownFileNode = ownNode + "/File"
)

// maxImage is the largest image that the controller has room for.
const maxImage = 1 << 20

// notRunning is the second line of an image whose program does not run.
const notRunning = "does not run"

// maker is the controller's ManufacturerUri.
const maker = "urn:northline"

var imageHead = regexp.MustCompile(`^PLC-400 ([0-9][0-9A-Za-z.+-]*)$`)

// Image is an image of the controller's software in that version. One that is
// not well installs, and the controller's program does not run with it.
func Image(version string, well bool) string {
	text := "PLC-400 " + version + "\n"
	if !well {
		text += notRunning + "\n"
	}
	return text + strings.Repeat("software ", 3000)
}

// software is what the controller knows of its software. The plant's lock
// guards it.
type software struct {
	version, before string
	sick            bool
	// pending is the image that was committed, writing the one under way, of
	// the session with the handle.
	pending, writing []byte
	handle           uint32
	open             bool
	prepared         bool
	failure          string
}

func versionOf(image []byte) string {
	head, _, _ := strings.Cut(string(image), "\n")
	if m := imageHead.FindStringSubmatch(head); m != nil {
		return m[1]
	}
	return ""
}

// softwareLocked is the value of a variable of the software update, if there is
// one of that path.
func (p *plant) softwareLocked(path string) (any, bool) {
	s := &p.software
	hash := []byte{}
	if len(s.pending) > 0 {
		sum := sha256.Sum256(s.pending)
		hash = sum[:]
	}
	state := "Idle"
	if s.prepared {
		state = "PreparedForUpdate"
	}
	values := map[string]any{
		prepareNode + "/CurrentState": ua.NewLocalizedText(state),
		loadingNode + "/ErrorMessage": ua.NewLocalizedText(s.failure), loadingNode + "/PendingVersion/Hash": hash,
	}
	for version, text := range map[string]string{"CurrentVersion": s.version, "PendingVersion": versionOf(s.pending), "FallbackVersion": s.before} {
		values[loadingNode+"/"+version+"/SoftwareRevision"] = text
		values[loadingNode+"/"+version+"/ManufacturerUri"] = maker
	}
	value, ok := values[path]
	return value, ok
}

// softwareMethods are the paths of all methods.
func softwareMethods() []string {
	return []string{transferNode + "/GenerateFileForWrite", transferNode + "/CloseAndCommit", fileNode + "/Write",
		ownFileNode + "/Open", ownFileNode + "/Write", ownFileNode + "/Close", ownNode + "/Install",
		prepareNode + "/Prepare", installationNode + "/InstallSoftwarePackage", softwareNode + "/Confirmation/Confirm"}
}

func softwareVariables() []string {
	out := []string{prepareNode + "/CurrentState", loadingNode + "/ErrorMessage", loadingNode + "/PendingVersion/Hash"}
	for _, v := range []string{"CurrentVersion", "PendingVersion", "FallbackVersion"} {
		out = append(out, loadingNode+"/"+v+"/SoftwareRevision", loadingNode+"/"+v+"/ManufacturerUri")
	}
	return out
}

// softwareBelow lists what stands directly below a node of the software update;
// ok is false where there is no such node.
func softwareBelow(path string) (children map[string]ua.NodeClass, ok bool) {
	children = map[string]ua.NodeClass{}
	for class, paths := range map[ua.NodeClass][]string{ua.NodeClassMethod: softwareMethods(), ua.NodeClassVariable: softwareVariables()} {
		for _, at := range paths {
			rest, below := strings.CutPrefix(at, path+"/")
			if at == path || below {
				ok = true
			}
			if !below {
				continue
			}
			if name, _, deeper := strings.Cut(rest, "/"); deeper {
				children[path+"/"+name] = ua.NodeClassObject
			} else {
				children[at] = class
			}
		}
	}
	return children, ok
}

func (d *Device) belowSoftware(path string, add func(kind uint32, child *ua.NodeID, class ua.NodeClass, definition uint32)) bool {
	children, ok := softwareBelow(path)
	var names []string
	for name := range children {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		add(id.HasComponent, ua.NewStringNodeID(plantIndex, name), children[name], 0)
	}
	return ok
}

// updateSoftware calls a method of the software update.
func (d *Device) updateSoftware(m *ua.CallMethodRequest) *ua.CallMethodResult {
	args := make([]any, len(m.InputArguments))
	for i, a := range m.InputArguments {
		args[i] = a.Value()
	}
	outputs, status := d.plant.callSoftware(m.MethodID.StringID(), args)
	result := &ua.CallMethodResult{StatusCode: status}
	for _, o := range outputs {
		v, err := ua.NewVariant(o)
		if err != nil {
			return &ua.CallMethodResult{StatusCode: ua.StatusBadInternalError}
		}
		result.OutputArguments = append(result.OutputArguments, v)
	}
	if status == ua.StatusOK && slices.Contains([]string{installationNode + "/InstallSoftwarePackage", ownNode + "/Install"}, m.MethodID.StringID()) {
		d.plant.restart(d.cfg.Init)
		d.cfg.OnChange()
	}
	return result
}

func (p *plant) callSoftware(method string, args []any) ([]any, ua.StatusCode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.software
	switch method {
	case transferNode + "/GenerateFileForWrite":
		if len(args) != 1 || args[0] != int32(1) {
			return nil, ua.StatusBadInvalidArgument
		}
		s.handle++
		s.writing, s.open, s.failure = nil, true, ""
		return []any{ua.NewStringNodeID(plantIndex, fileNode), s.handle}, ua.StatusOK
	case ownFileNode + "/Open":
		if len(args) != 1 || args[0] != byte(6) {
			return nil, ua.StatusBadInvalidArgument
		}
		s.handle++
		s.writing, s.open, s.failure = nil, true, ""
		return []any{s.handle}, ua.StatusOK
	case fileNode + "/Write", ownFileNode + "/Write":
		return nil, s.write(args)
	case ownFileNode + "/Close":
		return nil, s.commit(args)
	case ownNode + "/Install":
		sum := sha256.Sum256(s.pending)
		if len(args) != 2 || args[1] != hex.EncodeToString(sum[:]) {
			return nil, ua.StatusBadInvalidArgument
		}
		return nil, p.installLocked([]any{maker, args[0], nil, sum[:]})
	case transferNode + "/CloseAndCommit":
		return []any{ua.NewTwoByteNodeID(0)}, s.commit(args)
	case prepareNode + "/Prepare":
		if s.prepared {
			return nil, ua.StatusBadInvalidState
		}
		s.prepared = true
		return nil, ua.StatusOK
	case installationNode + "/InstallSoftwarePackage":
		return nil, p.installLocked(args)
	case softwareNode + "/Confirmation/Confirm":
		return nil, ua.StatusOK
	}
	return nil, ua.StatusBadMethodInvalid
}

func (s *software) write(args []any) ua.StatusCode {
	if len(args) != 2 || !s.open || args[0] != s.handle {
		return ua.StatusBadInvalidArgument
	}
	part, ok := args[1].([]byte)
	switch {
	case !ok:
		return ua.StatusBadTypeMismatch
	case len(s.writing)+len(part) > maxImage:
		return ua.StatusBadOutOfMemory
	}
	s.writing = append(s.writing, part...)
	return ua.StatusOK
}

func (s *software) commit(args []any) ua.StatusCode {
	if len(args) != 1 || !s.open || args[0] != s.handle {
		return ua.StatusBadInvalidArgument
	}
	s.open = false
	if versionOf(s.writing) == "" {
		s.failure, s.writing = "the file is no image of the controller's software", nil
		return ua.StatusOK
	}
	s.pending, s.writing = s.writing, nil
	return ua.StatusOK
}

// installLocked installs the pending version, or the one before.
func (p *plant) installLocked(args []any) ua.StatusCode {
	s := &p.software
	if len(args) != 4 || args[0] != maker || !s.prepared {
		return ua.StatusBadInvalidState
	}
	before := s.version
	switch pending := versionOf(s.pending); {
	case pending != "" && args[1] == pending:
		sum := sha256.Sum256(s.pending)
		if hash, ok := args[3].([]byte); !ok || string(hash) != string(sum[:]) {
			return ua.StatusBadInvalidArgument
		}
		lines := strings.SplitN(string(s.pending), "\n", 3)
		s.version, s.sick, s.pending = pending, lines[1] == notRunning, nil
	case s.before != "" && args[1] == s.before:
		s.version, s.sick = s.before, false
	default:
		return ua.StatusBadNotFound
	}
	s.before, s.prepared = before, false
	p.journal.Add("install", softwareNode, before, s.version)
	p.nameLocked()
	return ua.StatusOK
}

// nameLocked has the server say which version it runs.
func (p *plant) nameLocked() {
	info := *p.info
	info.SoftwareVersion = p.software.version
	p.info = &info
}

// rememberedSoftware takes up what an earlier controller ran.
func (p *plant) rememberedSoftware(m Memory) error {
	p.software = software{version: p.info.SoftwareVersion, before: m.SoftwareBefore, sick: m.SoftwareSick}
	if m.Software == "" {
		return nil
	}
	if versionOf([]byte("PLC-400 "+m.Software)) == "" {
		return fmt.Errorf("remembered software %q is no version", m.Software)
	}
	p.software.version = m.Software
	p.nameLocked()
	return nil
}
