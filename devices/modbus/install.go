package modbus

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"edgefleet/devices"
)

var _ devices.InstallDriver = (*Driver)(nil)

// OpenInstaller returns a way to install software through a mailbox of registers
// (devices.MailboxInstall); it does not dial.
//
// The device is told the size and the SHA-256 of what is to come, takes one
// block at a time with its CRC, and counts the bytes that it has kept. A block
// is done when that count says so, never when a write was answered: a lost
// answer is read, and a block is sent again only where the count has not moved.
// So an upload goes on from what the device has, also after a process died.
func (d *Driver) OpenInstaller(_ context.Context, ep devices.Endpoint, how devices.Installation) (devices.Installer, error) {
	l, err := d.open(ep)
	if err != nil {
		return nil, err
	}
	if how.Mailbox == nil {
		l.Close()
		return nil, l.fail(devices.Unsupported, "install", errors.New("the installation is none of a Modbus device"))
	}
	if err := how.Mailbox.Check(); err != nil {
		l.Close()
		return nil, l.fail(devices.Unsupported, "install", err)
	}
	return &installer{link: l, box: *how.Mailbox}, nil
}

// installer is a link with a mailbox.
type installer struct {
	*link
	box devices.MailboxInstall
}

const (
	// blockTries bounds how often one block is sent.
	blockTries = 3
	// mailboxWait is the longest pause between two looks at the device.
	mailboxWait = time.Second
	// blockWithin bounds the wait for the device to keep a block.
	blockWithin = 20 * time.Second
)

// Stage sends what the device does not have yet, and has it compare the whole
// with its SHA-256.
func (i *installer) Stage(ctx context.Context, a devices.Artifact, progress func(done int64)) error {
	if a.Size > 1<<32-1 {
		return i.fail(devices.Rejected, "bring the patch", fmt.Errorf("%d bytes are more than the mailbox counts", a.Size))
	}
	same, err := i.holds(ctx, a)
	if err != nil {
		return err
	}
	state, received, err := i.look(ctx)
	if err != nil {
		return err
	}
	if !same || int64(received) > a.Size || state != i.box.Receiving && state != i.box.Verified {
		if err := i.begin(ctx, a); err != nil {
			return err
		}
		state, received = i.box.Receiving, 0
	}
	if state == i.box.Verified {
		return nil
	}
	for at := int64(received); at < a.Size; {
		if progress != nil {
			progress(at)
		}
		n, err := i.block(ctx, a, at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	if progress != nil {
		progress(a.Size)
	}
	return i.verify(ctx)
}

// holds says whether the mailbox has the size and the digest of the artifact.
func (i *installer) holds(ctx context.Context, a devices.Artifact) (bool, error) {
	got, err := i.registers(ctx, devices.Holding, i.box.Size, 2)
	if err != nil {
		return false, err
	}
	digest, err := i.registers(ctx, devices.Holding, i.box.Digest, sha256.Size/2)
	if err != nil {
		return false, err
	}
	return i.number(got) == uint32(a.Size) && string(wordBytes(digest)) == string(a.SHA256[:]), nil
}

// begin announces an artifact. What the device had of another one is gone.
func (i *installer) begin(ctx context.Context, a devices.Artifact) error {
	if err := i.put(ctx, "announce the patch", i.box.Size, i.words(uint32(a.Size))); err != nil {
		return err
	}
	if err := i.put(ctx, "announce the patch", i.box.Digest, bytesWords(a.SHA256[:])); err != nil {
		return err
	}
	if err := i.tell(ctx, "announce the patch", i.box.Begin); err != nil {
		return err
	}
	return i.until(ctx, "announce the patch", blockWithin, func(state uint16, received uint32) bool {
		return state == i.box.Receiving && received == 0
	})
}

// block sends one block until the device has kept it.
func (i *installer) block(ctx context.Context, a devices.Artifact, at int64) (int, error) {
	part := make([]byte, min(int64(i.box.BlockSize()), a.Size-at))
	if n, err := a.Content.ReadAt(part, at); n < len(part) {
		return 0, fmt.Errorf("%s: read the artifact: %w", i.name(), err)
	}
	op := fmt.Sprintf("write the block at %d", at)
	want := uint32(at) + uint32(len(part))
	var failed error
	for range blockTries {
		told, err := i.send(ctx, op, part, uint32(at))
		if failed = err; err != nil && devices.KindOf(err) != devices.Indeterminate {
			return 0, err
		}
		if !told {
			// What was written counts for nothing before the device is told.
			continue
		}
		err = i.until(ctx, op, blockWithin, func(_ uint16, received uint32) bool { return received == want })
		if err == nil {
			return len(part), nil
		}
		if devices.KindOf(err) != devices.Busy {
			return 0, err
		}
		failed = errors.Join(failed, err)
	}
	return 0, i.fail(devices.Rejected, op, fmt.Errorf("the device does not keep it: %w", failed))
}

// send writes a block, and tells the device to keep it; told says that it may
// know.
func (i *installer) send(ctx context.Context, op string, part []byte, at uint32) (told bool, err error) {
	for _, w := range []struct {
		address uint16
		words   []uint16
	}{{i.box.Offset, i.words(at)}, {i.box.Length, []uint16{uint16(len(part))}}, {i.box.CRC, []uint16{crc16(part)}}, {i.box.Data, bytesWords(part)}} {
		if err := i.put(ctx, op, w.address, w.words); err != nil {
			return false, err
		}
	}
	return true, i.tell(ctx, op, i.box.Block)
}

// verify has the device compare the whole with its digest.
func (i *installer) verify(ctx context.Context) error {
	const op = "have the patch verified"
	if err := i.tell(ctx, op, i.box.Verify); err != nil && devices.KindOf(err) != devices.Indeterminate {
		return err
	}
	failed := false
	err := i.until(ctx, op, time.Hour, func(state uint16, _ uint32) bool {
		failed = state == i.box.Failed
		return failed || state == i.box.Verified
	})
	if err == nil && failed {
		err = i.fail(devices.Rejected, op, errors.New("the device does not accept it"))
	}
	return err
}

// Install tells the device to install what it has verified.
func (i *installer) Install(ctx context.Context, _ devices.Artifact) error {
	return i.tell(ctx, "install the patch", i.box.Install)
}

// Restart has nothing to do: the device restarts by itself.
func (i *installer) Restart(ctx context.Context) error { return ctx.Err() }

// Check has nothing to ask beyond what the profile's health does.
func (i *installer) Check(ctx context.Context) error { return ctx.Err() }

// Confirm has nothing to do.
func (i *installer) Confirm(ctx context.Context) error { return ctx.Err() }

// Revert tells the device to run what it ran before.
func (i *installer) Revert(ctx context.Context) error {
	return i.tell(ctx, "roll the patch back", i.box.Rollback)
}

// until looks at the device until it is as wanted. Kind Busy says that it was
// not in time.
func (i *installer) until(ctx context.Context, op string, within time.Duration, as func(state uint16, received uint32) bool) error {
	deadline := time.Now().Add(within)
	for wait := time.Millisecond; ; wait = min(2*wait, mailboxWait) {
		state, received, err := i.look(ctx)
		if err != nil {
			return err
		}
		if as(state, received) {
			return nil
		}
		if time.Now().Add(wait).After(deadline) {
			return i.fail(devices.Busy, op, fmt.Errorf("the device is in state %d and has %d bytes after %s", state, received, within))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %s: %w", i.name(), op, ctx.Err())
		case <-timer.C:
		}
	}
}

// look reads the state and how many bytes the device has kept.
func (i *installer) look(ctx context.Context) (state uint16, received uint32, err error) {
	words, err := i.registers(ctx, i.box.State.Table, i.box.State.Address, 1)
	if err != nil {
		return 0, 0, err
	}
	kept, err := i.registers(ctx, i.box.Received.Table, i.box.Received.Address, 2)
	if err != nil {
		return 0, 0, err
	}
	return words[0], i.number(kept), nil
}

func (i *installer) tell(ctx context.Context, op string, command uint16) error {
	return i.put(ctx, op, i.box.Command, []uint16{command})
}

// registers reads raw words.
func (i *installer) registers(ctx context.Context, table devices.ModbusTable, address uint16, count int) ([]uint16, error) {
	points := make([]devices.Point, count)
	for n := range points {
		points[n] = word(table, address+uint16(n))
	}
	got, err := i.Read(ctx, points)
	if err != nil {
		return nil, err
	}
	out := make([]uint16, count)
	for n, v := range got {
		out[n] = uint16(v.(int64))
	}
	return out, nil
}

// put writes raw words, in one request.
func (i *installer) put(ctx context.Context, op string, address uint16, words []uint16) error {
	settings := make([]devices.Setting, len(words))
	for n, w := range words {
		settings[n] = devices.Setting{Point: word(devices.Holding, address+uint16(n)), Value: int64(w)}
	}
	err := i.Write(ctx, settings)
	var failed *devices.Error
	if errors.As(err, &failed) {
		return i.fail(failed.Kind, op, failed.Err)
	}
	return err
}

// word is a raw register.
func word(table devices.ModbusTable, address uint16) devices.Point {
	return devices.Point{Name: fmt.Sprintf("%s %d", table, address), Type: devices.Uint16, Writable: true,
		Modbus: &devices.ModbusAddress{Table: table, Address: address, Length: 1}}
}

func (i *installer) words(n uint32) []uint16 {
	high, low := uint16(n>>16), uint16(n)
	if i.box.WordSwap {
		return []uint16{low, high}
	}
	return []uint16{high, low}
}

func (i *installer) number(words []uint16) uint32 {
	if i.box.WordSwap {
		return uint32(words[1])<<16 | uint32(words[0])
	}
	return uint32(words[0])<<16 | uint32(words[1])
}

// bytesWords puts bytes into registers, high byte first; an odd one stands in
// the high byte of the last.
func bytesWords(b []byte) []uint16 {
	out := make([]uint16, (len(b)+1)/2)
	for n := range out {
		pair := [2]byte{b[2*n]}
		if 2*n+1 < len(b) {
			pair[1] = b[2*n+1]
		}
		out[n] = binary.BigEndian.Uint16(pair[:])
	}
	return out
}

func wordBytes(words []uint16) []byte {
	var out []byte
	for _, w := range words {
		out = binary.BigEndian.AppendUint16(out, w)
	}
	return out
}
