package modbus

import (
	"testing"
	"time"

	pdus "github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

// BenchmarkRead reads the sixteen settings of a feeder RTU in one request. It
// is to be read beside BenchmarkBareGoburrow, the same request over goburrow's
// own transport: the difference is what the promises of this package cost.
func BenchmarkRead(b *testing.B) {
	_, l := open(b, Options{}, newPeer(b, nil).endpoint())
	points := make([]devices.Point, 16)
	for i := range points {
		points[i] = register("setting", uint16(100+i))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Read(b.Context(), points); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareGoburrow(b *testing.B) {
	handler := pdus.NewTCPClientHandler(newPeer(b, nil).listener.Addr().String())
	handler.Timeout, handler.SlaveId = 10*time.Second, 1
	require.NoError(b, handler.Connect())
	defer func() { _ = handler.Close() }()
	client := pdus.NewClient(handler)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.ReadHoldingRegisters(100, 16); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadManyDevices has one caller for each of 64 endpoints.
func BenchmarkReadManyDevices(b *testing.B) {
	d := New(Options{})
	b.Cleanup(d.Close)
	links := make(chan devices.Link, 64)
	for range cap(links) {
		l, err := d.Open(b.Context(), newPeer(b, nil).endpoint())
		require.NoError(b, err)
		links <- l
	}
	points := []devices.Point{register("setting", 100)}
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		l := <-links
		defer func() { links <- l }()
		for pb.Next() {
			if _, err := l.Read(b.Context(), points); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
