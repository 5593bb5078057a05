package devices

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// Bounds of what an installation may take, and what it may where the profile
// says nothing.
const (
	DefaultInstallWithin = 5 * time.Minute
	MostInstallWithin    = 30 * time.Minute
	DefaultUploadWithin  = 30 * time.Minute
	MostUploadWithin     = 6 * time.Hour
)

// MaxArtifact is the largest artifact that is installed, in bytes.
const MaxArtifact = 2 << 30

// Artifact is software that is to be installed: content that was checked
// against its hash and its signature.
type Artifact struct {
	// Version is what the device says of itself once it runs.
	Version string
	// SHA256 is that of the content, Size its bytes.
	SHA256 [32]byte
	Size   int64
	// Content has exactly Size bytes. It is read in parts, never as a whole.
	Content io.ReaderAt
}

// Digest is the SHA-256 in hexadecimal digits.
func (a Artifact) Digest() string { return hex.EncodeToString(a.SHA256[:]) }

// InstallDriver is a Driver that can install software.
type InstallDriver interface {
	Driver
	// OpenInstaller returns a way to install software on the device; it need
	// not dial. An installation that is not of the driver's protocol has kind
	// Unsupported.
	OpenInstaller(ctx context.Context, ep Endpoint, how Installation) (Installer, error)
}

// Installer installs software on one device. Its errors are those of a Link:
// kind Indeterminate says that the step may have been done, kind Rejected that
// the device said no, and kind Unreachable that nothing of the step was sent.
type Installer interface {
	// Stage brings the artifact to the device and has the device check it.
	// Nothing that runs is changed. Called again, also after a process died, it
	// goes on from what is there. Progress, which may be nil, is called with
	// the bytes that are there.
	Stage(ctx context.Context, a Artifact, progress func(done int64)) error
	// Install makes the staged artifact what the device runs. Devices that
	// restart by themselves for it may be dark for a while afterwards.
	Install(ctx context.Context, a Artifact) error
	// Restart has what is installed run, where Install does not do that by
	// itself. It may be called again.
	Restart(ctx context.Context) error
	// Check asks the device whether what is installed is well, where the
	// profile says how; kind Rejected is a no.
	Check(ctx context.Context) error
	// Confirm tells the device that what it runs is to stay, where it asks.
	Confirm(ctx context.Context) error
	// Revert makes what ran before run again. It is only called where
	// Installation.Reverts.
	Revert(ctx context.Context) error
	// Close gives the installer back. It does not fail.
	Close()
}

// Installation is a profile's way to install software: exactly one of the
// protocols' fields is set.
type Installation struct {
	// Host is set on profiles of Linux hosts, OPCUA on those of OPC UA servers,
	// Mailbox on those of Modbus devices.
	Host    *HostInstall
	OPCUA   *NodeInstall
	Mailbox *MailboxInstall
	// UploadWithin bounds bringing the artifact to the device and its check
	// there. Within bounds the time from the installation until the device says
	// that it runs the new version and is well.
	UploadWithin, Within time.Duration
}

// Reverts says whether the device can be told to go back to what it ran before.
func (i Installation) Reverts() bool {
	switch {
	case i.Host != nil:
		return i.Host.Rollback != nil
	case i.OPCUA != nil:
		return i.OPCUA.Rollback != nil || i.OPCUA.Update != nil && i.OPCUA.Fallback
	case i.Mailbox != nil:
		return i.Mailbox.Rollback != 0
	}
	return false
}

// HostInstall installs on a Linux host. Verify, Install and Rollback may have %s
// in them, which stands for Upload.
type HostInstall struct {
	// Upload is the absolute path where the artifact is put.
	Upload string
	// Become writes it as root, with sudo -n.
	Become bool
	// Verify has to accept the artifact before it is installed; nil where its
	// SHA-256, which is compared in any case, is enough.
	Verify *HostCommand
	// Install is the one that changes the host.
	Install *HostCommand
	// Restart, Health and Rollback may be nil.
	Restart, Health, Rollback *HostCommand
}

// Check says in words what is wrong.
func (h HostInstall) Check() error {
	if err := ValidHostPath(h.Upload); err != nil {
		return err
	}
	if h.Install == nil {
		return errors.New("there is no command that installs")
	}
	for _, c := range []*HostCommand{h.Verify, h.Install, h.Rollback} {
		if c == nil {
			continue
		}
		if none, one := c.check(0), c.check(1); none != nil && one != nil {
			return one
		}
	}
	for _, c := range []*HostCommand{h.Restart, h.Health} {
		if c == nil {
			continue
		}
		if err := c.check(0); err != nil {
			return err
		}
	}
	return nil
}

// The texts that stand for something of the artifact in the arguments of a
// NodeInstall's methods.
const (
	ArgumentVersion = "${version}"
	ArgumentSHA256  = "${sha256}"
)

// NodeInstall installs on an OPC UA server: by the standard's object, or by a
// file and methods of the server's own.
type NodeInstall struct {
	// Update is an object of SoftwareUpdateType (OPC 10000-100, section 8),
	// whose parts are found by their names. Then all else is nil.
	Update *NodeAddress
	// Fallback says that the server keeps what it ran before as its fallback
	// version, and installs that again when it is told to.
	Fallback bool
	// File is an object of FileType (OPC 10000-20, section 4.2) that takes the
	// artifact.
	File *NodeAddress
	// Prepare is called before the file is written, Install after it was.
	// Rollback and Confirm may be nil, as may Prepare. Texts among their
	// arguments may be ArgumentVersion and ArgumentSHA256.
	Prepare, Install, Rollback, Confirm *MethodAddress
}

// MailboxInstall installs on a Modbus device by holding registers that take one
// block of the artifact at a time. Numbers of two registers have the high word
// first, unless WordSwap says otherwise; bytes stand high first, as in texts.
type MailboxInstall struct {
	// Size (2 registers) and Digest (16, the SHA-256) say what is to come.
	Size, Digest uint16
	// Offset (2 registers), Length and CRC (CRC-16/MODBUS over the block's
	// bytes) say what stands in Data, which has DataLength registers.
	Offset, Length, CRC, Data, DataLength uint16
	// Command takes one of the numbers behind it. Rollback is 0 where the
	// device cannot go back.
	Command                                 uint16
	Begin, Block, Verify, Install, Rollback uint16
	// State is a register that has one of the numbers behind it, or another
	// while the device is at work.
	State                       ModbusAddress
	Receiving, Verified, Failed uint16
	// Received (2 registers) counts the bytes that the device has kept.
	Received ModbusAddress
	WordSwap bool
}

// BlockSize is the bytes that one block has at most.
func (m MailboxInstall) BlockSize() int { return 2 * int(m.DataLength) }

// Check says in words what is wrong.
func (m MailboxInstall) Check() error {
	const most = 100
	if m.DataLength < 1 || m.DataLength > most {
		return fmt.Errorf("a block has %d registers, want 1 to %d", m.DataLength, most)
	}
	seen := map[uint16]string{}
	for _, c := range []struct {
		name  string
		value uint16
	}{{"begin", m.Begin}, {"block", m.Block}, {"verify", m.Verify}, {"install", m.Install}, {"rollback", m.Rollback}} {
		if c.value == 0 && c.name == "rollback" {
			continue
		}
		if c.value == 0 {
			return fmt.Errorf("the command %s is 0", c.name)
		}
		if other, twice := seen[c.value]; twice {
			return fmt.Errorf("the commands %s and %s are both %d", other, c.name, c.value)
		}
		seen[c.value] = c.name
	}
	if m.Receiving == m.Verified || m.Verified == m.Failed || m.Receiving == m.Failed {
		return errors.New("two of the states receiving, verified and failed are the same number")
	}
	return nil
}
