package fleet_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/devices/modbus"
	"edgefleet/devices/sim"
)

// mishap is what becomes of one Modbus request on its way.
type mishap int

const (
	none mishap = iota
	// cutBefore: the connection ends, and the request never arrives.
	cutBefore
	// cutDuring: a part of the request arrives, and the connection ends.
	cutDuring
	// cutAfter: the request arrives, and the connection ends before the answer.
	cutAfter
	// lateReply: the answer comes when nobody waits for it any more.
	lateReply
	// restart: the device loses its power with the request, and boots.
	restart
	// otherWriter: somebody on site changes a setting before the request.
	otherWriter
	mishaps
)

// line is a Modbus TCP connection between the driver and the feeder on which
// mishaps happen to writes and to reads, one after another as they are drawn.
type line struct {
	p        *plant
	listener net.Listener
	// late is how long an answer is held back.
	late time.Duration
	open sync.WaitGroup

	mu sync.Mutex
	// reads and writes are what happens to the next requests.
	reads, writes []mishap
	// meddled says that somebody else has written.
	meddled bool
}

// foreign is what somebody else makes of the undervoltage trip.
const foreign = 770

func newLine(p *plant, late time.Duration) *line {
	p.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(p.t, err)
	l := &line{p: p, listener: listener, late: late}
	l.open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.open.Go(func() { l.serve(conn) })
		}
	})
	return l
}

// close ends the line when what is in flight has arrived.
func (l *line) close() {
	_ = l.listener.Close()
	l.open.Wait()
}

func (l *line) expect(writes, reads []mishap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes, l.reads = writes, reads
}

// others says whether somebody else has written.
func (l *line) others() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.meddled
}

// next takes the mishap of a request.
func (l *line) next(frame []byte) mishap {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := &l.reads
	if function := frame[7]; function == 6 || function == 16 {
		list = &l.writes
	}
	if len(*list) == 0 {
		return none
	}
	m := (*list)[0]
	*list = (*list)[1:]
	if m == otherWriter {
		l.meddled = true
	}
	return m
}

func (l *line) serve(conn net.Conn) {
	defer conn.Close()
	device, err := net.Dial("tcp", l.p.feeder.Addr())
	if err != nil {
		return
	}
	defer device.Close()
	for {
		request, err := frameOf(conn)
		if err != nil {
			return
		}
		what := l.next(request)
		switch what {
		case cutBefore:
			return
		case cutDuring:
			_, _ = device.Write(request[:len(request)-1])
			return
		case restart:
			l.p.feeder.PowerOff()
			l.p.feeder.PowerOn()
		case otherWriter:
			_ = l.p.feeder.Poke(devices.Holding, 102, foreign)
		}
		if _, err := device.Write(request); err != nil {
			return
		}
		answer, err := frameOf(device)
		if err != nil || what == cutAfter {
			return
		}
		if what == lateReply {
			time.Sleep(l.late)
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// frameOf reads one frame: the length stands in bytes 4 and 5 of its header.
func frameOf(conn net.Conn) ([]byte, error) {
	head := make([]byte, 6)
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	frame := append(head, make([]byte, binary.BigEndian.Uint16(head[4:]))...)
	_, err := io.ReadFull(conn, frame[6:])
	return frame, err
}

// block is what the three settings that had drifted hold, by their names.
func (p *plant) block() map[string]uint32 {
	p.t.Helper()
	words, err := p.feeder.Peek(devices.Holding, 102, 6)
	require.NoError(p.t, err)
	return map[string]uint32{"undervoltage_trip": uint32(words[0]), "undervoltage_delay": uint32(words[1]),
		"overcurrent_pickup": uint32(words[4])<<16 | uint32(words[5])}
}

// Whatever happens on the way to a device, and however often: it has the old
// or the new values, the journal says which, no setting is written twice, and
// what is not known is not called a success.
func TestASafeWriteEndsWithTheOldOrTheNewValuesAndKnowsWhichWhateverHappens(t *testing.T) {
	const timeout = 60 * time.Millisecond
	p := newPlant(t)
	p.write("profiles/fast-feeder.yaml", variant(t, "feeder-rtu", "fast-feeder", "settle: {wait: 1ms, up_to: 30ms}\nrestart: {back_within: 2s}\n"))
	before := map[string]uint32{"undervoltage_trip": 900, "undervoltage_delay": 2000, "overcurrent_pickup": 50_000}
	after := map[string]uint32{"undervoltage_trip": 850, "undervoltage_delay": 1500, "overcurrent_pickup": 63_000}
	some := rapid.SliceOfN(rapid.Map(rapid.IntRange(int(none), int(mishaps)-1), func(n int) mishap { return mishap(n) }), 0, 5)
	rapid.Check(t, func(rt *rapid.T) {
		l := newLine(p, 2*timeout)
		defer l.close()
		p.declareAt(l.listener.Addr().String(), "fast-feeder", "fast-outlet", "")
		until(rt, func() bool { return p.feeder.Status().Phase == sim.PhaseRunning })
		p.drift()
		written := p.writes()
		driver := modbus.New(modbus.Options{})
		defer driver.Close()
		operator := p.operatorWithin(driver, timeout)
		l.expect(some.Draw(rt, "what happens to writes"), some.Draw(rt, "what happens to reads"))
		j := newMemory()
		for attempt := 1; ; attempt++ {
			require.Less(rt, attempt, 60, "it comes to an end")
			_, err := operator.ApplyBaseline(t.Context(), "edge-001", j, nil)
			has, others := p.block(), l.others()
			for name, value := range has {
				if !others || value != foreign {
					require.Contains(rt, []uint32{before[name], after[name]}, value, "%s is as before or as wanted", name)
				}
				require.LessOrEqual(rt, p.writes()[name]-written[name], 1, "%s is not written twice", name)
			}
			last := lastOf(j)
			if err == nil {
				require.Contains(rt, []fleet.Outcome{fleet.Applied, fleet.Confirmed}, last.Outcome)
				if !others {
					require.Equal(rt, after, has, "a success is one")
				}
				return
			}
			if others && devices.KindOf(err) == devices.Rejected {
				return // what somebody else has changed is theirs
			}
			require.NotEqual(rt, devices.Rejected, devices.KindOf(err), "the device refused nothing: %v", err)
			if !others {
				requireTold(rt, last, before, after, has)
			}
			if attempt%3 == 0 {
				// Some attempts come while it boots, and not all of them.
				until(rt, func() bool { return p.feeder.Status().Phase == sim.PhaseRunning })
			}
		}
	})
}

// requireTold wants the outcome of a change that did not succeed to be what the
// device has.
func requireTold(t require.TestingT, rec fleet.Record, before, after, has map[string]uint32) {
	old, wanted := 0, 0
	for name := range rec.Change.After {
		switch has[name] {
		case before[name]:
			old++
		case after[name]:
			wanted++
		}
	}
	switch rec.Outcome {
	case fleet.NotApplied, fleet.Failed:
		require.Zero(t, wanted, "%s: %s: %v", rec.Outcome, rec.Detail, has)
	case fleet.Partial:
		require.True(t, old > 0 && wanted > 0, "%s: %s: %v", rec.Outcome, rec.Detail, has)
	case "": // the fate is open, and said to be
	default:
		require.Fail(t, "an error beside a success", "%s: %s", rec.Outcome, rec.Detail)
	}
}

// lastOf is the record of the last item, or an empty one before any intent.
func lastOf(j *memory) fleet.Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out fleet.Record
	for item, rec := range j.records {
		if last := out.Change.Item; len(item) > len(last) || len(item) == len(last) && item > last {
			out = *rec
		}
	}
	return out
}

func until(t require.TestingT, there func() bool) {
	for deadline := time.Now().Add(5 * time.Second); !there(); {
		require.True(t, time.Now().Before(deadline), "it does not come")
		time.Sleep(time.Millisecond)
	}
}
