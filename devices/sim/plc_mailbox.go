package sim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"edgefleet/devices"
)

// Where the controller's mailbox for firmware stands, and what it takes.
const (
	boxSize, boxDigest, boxOffset, boxLength, boxCRC, boxData, boxCommand = 1000, 1002, 1018, 1020, 1021, 1022, 1086
	boxDataWords                                                          = 64
	boxState, boxReceived                                                 = 20, 21

	boxBegin, boxBlock, boxVerify, boxInstall, boxRollback = 1, 2, 3, 4, 5

	boxIdle, boxReceiving, boxVerified, boxFailed = 0, 1, 2, 4

	firmwareAddress, firmwareWords = 24, 4
	previousAddress                = 23
)

// maxFirmware is the largest image that the controller has room for.
const maxFirmware = 1 << 20

// notRunning is the second line of an image whose program does not run.
const notRunning = "does not run"

var firmwareHead = regexp.MustCompile(`^PLC-100 ([0-9][0-9.]{0,7})$`)

// PLCFirmware is an image of the controller's firmware in that version, which
// has at most 8 bytes, as its mailbox takes it. One that is not well installs,
// and the controller's program does not run with it.
func PLCFirmware(version string, well bool) string {
	text := "PLC-100 " + version + "\n"
	if !well {
		text += notRunning + "\n"
	}
	return text + strings.Repeat("firmware ", 50)
}

func mailboxRegisters() []Register {
	anything := func([]uint16) bool { return true }
	holding := func(name string, address uint16, words int) Register {
		return Register{Name: name, Table: devices.Holding, Address: address, Initial: make([]uint16, words), Accepts: anything, Transient: true}
	}
	return []Register{
		holding("mailbox_size", boxSize, 2), holding("mailbox_digest", boxDigest, 16), holding("mailbox_offset", boxOffset, 2),
		holding("mailbox_length", boxLength, 1), holding("mailbox_crc", boxCRC, 1), holding("mailbox_data", boxData, boxDataWords),
		holding("mailbox_command", boxCommand, 1),
		{Name: "mailbox_state", Table: devices.Input, Address: boxState, Initial: []uint16{boxIdle}, Transient: true},
		{Name: "mailbox_received", Table: devices.Input, Address: boxReceived, Initial: []uint16{0, 0}, Transient: true},
		{Name: "firmware_before", Table: devices.Input, Address: previousAddress, Initial: make([]uint16, firmwareWords)},
		{Name: "firmware_well", Table: devices.Input, Address: previousAddress + firmwareWords, Initial: []uint16{1}},
	}
}

// mailbox is what the controller has received.
type mailbox struct {
	mu    sync.Mutex
	image []byte
}

// command does what a client told the mailbox.
func (p *PLC) command(number uint16) {
	p.box.mu.Lock()
	defer p.box.mu.Unlock()
	switch number {
	case boxBegin:
		p.box.image = nil
		p.stateLocked(boxReceiving)
	case boxBlock:
		p.keepLocked()
	case boxVerify:
		p.verifyLocked()
	case boxInstall:
		p.installLocked()
	case boxRollback:
		if before := p.words(devices.Input, previousAddress, firmwareWords); before[0] != 0 {
			p.runLocked(before, true)
		}
	}
}

func (p *PLC) words(table devices.ModbusTable, address, n uint16) []uint16 {
	words, err := p.mem.read(table, address, n)
	if err != nil {
		// The model has them.
		panic(fmt.Sprintf("the controller has no %s %d+%d", table, address, n))
	}
	return words
}

func (p *PLC) stateLocked(state uint16) {
	p.mem.poke(devices.Input, boxState, state)
	p.mem.poke(devices.Input, boxReceived, words32(uint32(len(p.box.image)))...)
}

// keepLocked takes a block that follows on what is there, and is whole.
func (p *PLC) keepLocked() {
	offset := join32(p.words(devices.Holding, boxOffset, 2))
	length := p.words(devices.Holding, boxLength, 1)[0]
	data := rawBytes(p.words(devices.Holding, boxData, boxDataWords))
	if int(offset) != len(p.box.image) || length == 0 || int(length) > len(data) || len(p.box.image)+int(length) > maxFirmware ||
		p.words(devices.Input, boxState, 1)[0] != boxReceiving {
		return
	}
	data = data[:length]
	if modbusCRC(data) != p.words(devices.Holding, boxCRC, 1)[0] {
		return
	}
	p.box.image = append(p.box.image, data...)
	p.stateLocked(boxReceiving)
}

func (p *PLC) verifyLocked() {
	digest := sha256.Sum256(p.box.image)
	size := join32(p.words(devices.Holding, boxSize, 2))
	if int(size) != len(p.box.image) || !bytes.Equal(digest[:], rawBytes(p.words(devices.Holding, boxDigest, 16))) || p.versionLocked() == "" {
		p.stateLocked(boxFailed)
		return
	}
	p.stateLocked(boxVerified)
}

// versionLocked is the version of the image, or "" when it is none.
func (p *PLC) versionLocked() string {
	head, _, _ := strings.Cut(string(p.box.image), "\n")
	if m := firmwareHead.FindStringSubmatch(head); m != nil {
		return m[1]
	}
	return ""
}

func (p *PLC) installLocked() {
	if p.words(devices.Input, boxState, 1)[0] != boxVerified {
		return
	}
	lines := strings.SplitN(string(p.box.image), "\n", 3)
	version := p.versionLocked()
	p.mem.poke(devices.Input, previousAddress, p.words(devices.Holding, firmwareAddress, firmwareWords)...)
	p.box.image = nil
	p.stateLocked(boxIdle)
	p.runLocked(text(version, firmwareWords), len(lines) < 2 || lines[1] != notRunning)
}

// runLocked starts the controller anew with a firmware.
func (p *PLC) runLocked(version []uint16, well bool) {
	wellWord := uint16(0)
	if well {
		wellWord = 1
	}
	p.mem.poke(devices.Holding, firmwareAddress, version...)
	p.mem.poke(devices.Input, previousAddress+firmwareWords, wellWord)
	p.sick.Store(!well)
	p.restart(true)
	p.cfg.OnChange()
}

func rawBytes(words []uint16) []byte {
	out := make([]byte, 0, 2*len(words))
	for _, w := range words {
		out = append(out, byte(w>>8), byte(w))
	}
	return out
}

// modbusCRC is the checksum of the serial line.
func modbusCRC(data []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, b := range data {
		crc ^= uint16(b)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}
