package opcua

import (
	"testing"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

// run is the setting that calls a method of the fake's plant.
func run(name string, args ...devices.MethodArgument) devices.Setting {
	return devices.Setting{Value: devices.RunValue, Point: devices.Point{Name: name, Type: devices.String, Writable: true,
		Method: &devices.MethodAddress{Namespace: plantURI, Object: "s=Plant", Method: "s=" + name, Args: args}}}
}

func TestAMethodIsCalledOnceInItsPlaceInTheList(t *testing.T) {
	s := plain(t)
	for _, n := range []string{"a", "b", "c"} {
		s.set("ns=1;s="+n, int32(1))
	}
	_, l := open(t, Options{}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	a, b, c := set("a", devices.Int32, int64(2)), set("b", devices.Int32, int64(2)), set("c", devices.Int32, int64(2))
	s.took()
	require.NoError(t, l.Write(t.Context(), []devices.Setting{a, b, run("stop"), run("start"), c, run("start")}))
	require.Equal(t, []string{"Read 1", "Read 3", "Write 2", "Call", "Call", "Write 1", "Call"}, s.took(), "namespaces and types are asked for before all")
	require.NoError(t, l.Write(t.Context(), []devices.Setting{run("restart", devices.MethodArgument{Name: "delay", Type: "UInt32", Value: 5})}))
	require.Equal(t, []string{"Call"}, s.took())
}

func TestAMethodIsNotCalledAfterARefusalAndNothingFollowsARefusedOne(t *testing.T) {
	s := plain(t)
	for _, n := range []string{"a", "b"} {
		s.set("ns=1;s="+n, int32(1))
	}
	_, l := open(t, Options{}, s.endpoint())
	a, b := set("a", devices.Int32, int64(2)), set("b", devices.Int32, int64(2))
	s.status["ns=1;s=a"] = ua.StatusBadOutOfRange
	require.EqualError(t, l.Write(t.Context(), []devices.Setting{a, b, run("restart")}),
		"dev-1: write a: rejected: written: b; not as asked: a BadOutOfRange (0x803C0000); and so not tried: restart")
	require.Zero(t, s.count("Call"))

	s.answer("Call", func(ua.Response) ua.Response {
		return &ua.CallResponse{Results: []*ua.CallMethodResult{{StatusCode: ua.StatusBadInvalidArgument,
			InputArgumentResults: []ua.StatusCode{ua.StatusOK, ua.StatusBadOutOfRange}}}}
	})
	s.took()
	err := l.Write(t.Context(), []devices.Setting{run("restart", devices.MethodArgument{Type: "Boolean", Value: true},
		devices.MethodArgument{Name: "delay", Type: "UInt16", Value: 900}), b})
	require.EqualError(t, err, "dev-1: write restart: rejected: none was written; not as asked: restart BadInvalidArgument (0x80AB0000); delay: BadOutOfRange (0x803C0000); and so not tried: b")
	require.Zero(t, s.count("Write"))
}

func TestAMethodInAWriteWhoseAnswerIsLostIsIndeterminate(t *testing.T) {
	s := plain(t)
	s.set("ns=1;s=a", int32(1))
	_, l := open(t, Options{}, s.endpoint())
	s.once("Call", sayAndCut(0.5))
	err := l.Write(t.Context(), []devices.Setting{set("a", devices.Int32, int64(2)), run("restart"), run("start")})
	require.Equal(t, devices.Indeterminate, devices.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "write restart, start")
	require.ErrorContains(t, err, "before it, written: a")
	require.Equal(t, 1, s.count("Call"), "nobody calls again before having looked")
	for status, want := range map[ua.StatusCode]devices.Kind{
		ua.StatusBadTimeout:                  devices.Indeterminate,
		ua.StatusGoodCompletesAsynchronously: devices.Indeterminate,
		ua.StatusBadUserAccessDenied:         devices.Auth,
		ua.StatusBadMethodInvalid:            devices.Rejected,
		ua.StatusBadNotImplemented:           devices.Unsupported,
	} {
		s.answer("Call", func(ua.Response) ua.Response {
			return &ua.CallResponse{Results: []*ua.CallMethodResult{{StatusCode: status}}}
		})
		err := l.Write(t.Context(), []devices.Setting{run("restart")})
		require.Equal(t, want, devices.KindOf(err), "%v", err)
	}
}

func TestASessionForgottenBeforeACallIsReplacedAndTheWritesAreNotRepeated(t *testing.T) {
	s := plain(t)
	s.set("ns=1;s=a", int32(1))
	_, l := open(t, Options{}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	calls := 0
	s.answer("Call", func(res ua.Response) ua.Response {
		if calls++; calls == 1 {
			return faulty(ua.StatusBadSessionClosed)(res)
		}
		return res
	})
	require.NoError(t, l.Write(t.Context(), []devices.Setting{set("a", devices.Int32, int64(2)), run("restart")}))
	require.Equal(t, 2, calls)
	require.Equal(t, 1, s.count("Write"))
}

func TestWhatIsNoCallIsFoundBeforeAnythingIsSent(t *testing.T) {
	s := plain(t)
	_, l := open(t, Options{}, s.endpoint())
	change := func(alter func(s *devices.Setting)) devices.Setting {
		out := run("restart")
		alter(&out)
		return out
	}
	for name, c := range map[string]struct {
		setting devices.Setting
		kind    devices.Kind
		words   string
	}{
		"another value than run": {change(func(s *devices.Setting) { s.Value = true }), devices.Rejected, `restart: true is not "run", by which a method is called`},
		"a node as well":         {change(func(s *devices.Setting) { s.Point.OPCUA = at("a", devices.Int32).OPCUA }), devices.Unsupported, "restart is a node and a method"},
		"no object":              {change(func(s *devices.Setting) { s.Point.Method.Object = "" }), devices.Unsupported, "restart: the object"},
		"an argument that does not fit": {run("restart", devices.MethodArgument{Name: "delay", Type: "Byte", Value: 256}), devices.Rejected,
			"restart: delay: 256 does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			err := l.Write(t.Context(), []devices.Setting{set("a", devices.Int32, int64(1)), c.setting})
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
		})
	}
	_, err := l.Read(t.Context(), []devices.Point{at("a", devices.Int32), run("restart").Point})
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
	require.ErrorContains(t, err, "restart is a method, which has no value")
	require.Empty(t, s.took())
}
