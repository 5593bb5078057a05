package opcua

import (
	"fmt"
	"testing"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

func TestWhatAStatusMeans(t *testing.T) {
	const none = devices.Kind("")
	s := plain(t)
	s.set("ns=1;s=a", int32(1))
	_, l := open(t, Options{}, s.endpoint())
	p := set("a", devices.Int32, int64(1))
	p.Point.OPCUA.Type = "Int32"
	for status, want := range map[ua.StatusCode][2]devices.Kind{ // read, write
		ua.StatusBadUserAccessDenied:         {devices.Auth, devices.Auth},
		ua.StatusBadCertificateUntrusted:     {devices.Auth, devices.Auth},
		ua.StatusBadSecurityModeRejected:     {devices.Auth, devices.Auth},
		ua.StatusBadNodeIDUnknown:            {devices.Rejected, devices.Rejected},
		ua.StatusBadTypeMismatch:             {devices.Rejected, devices.Rejected},
		ua.StatusBadOutOfRange:               {devices.Rejected, devices.Rejected},
		ua.StatusBadNotWritable:              {devices.Rejected, devices.Rejected},
		ua.StatusBadNotReadable:              {devices.Rejected, devices.Rejected},
		ua.StatusBadSensorFailure:            {devices.Rejected, devices.Rejected},
		ua.StatusBadInternalError:            {devices.Rejected, devices.Indeterminate},
		ua.StatusBadDeviceFailure:            {devices.Rejected, devices.Indeterminate},
		ua.StatusBadServiceUnsupported:       {devices.Unsupported, devices.Unsupported},
		ua.StatusBadWriteNotSupported:        {devices.Unsupported, devices.Unsupported},
		ua.StatusBadResourceUnavailable:      {devices.Busy, devices.Busy},
		ua.StatusBadWaitingForInitialData:    {devices.Busy, devices.Busy},
		ua.StatusBadTooManySessions:          {devices.Busy, devices.Busy},
		ua.StatusBadTooManyOperations:        {devices.Busy, devices.Busy},
		ua.StatusBadShutdown:                 {devices.Busy, devices.Busy},
		ua.StatusBadTimeout:                  {devices.Unreachable, devices.Indeterminate},
		ua.StatusBadNoCommunication:          {devices.Unreachable, devices.Indeterminate},
		ua.StatusBadConnectionClosed:         {devices.Unreachable, devices.Indeterminate},
		ua.StatusBadNotConnected:             {devices.Unreachable, devices.Unreachable},
		ua.StatusUncertain:                   {devices.Rejected, devices.Indeterminate},
		ua.StatusUncertainLastUsableValue:    {devices.Rejected, devices.Indeterminate},
		ua.StatusGoodClamped:                 {none, devices.Indeterminate},
		ua.StatusGoodCompletesAsynchronously: {none, devices.Indeterminate},
		ua.StatusCode(0x80FF1234):            {devices.Rejected, devices.Rejected},
	} {
		t.Run(statusName(status), func(t *testing.T) {
			// Of one node.
			s.status["ns=1;s=a"] = status
			if bad(status) {
				_, err := l.Read(t.Context(), []devices.Point{p.Point})
				require.Equal(t, want[0], devices.KindOf(err), "%v", err)
				require.ErrorContains(t, err, "read a")
			}
			err := l.Write(t.Context(), []devices.Setting{p})
			require.Equal(t, want[1], devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, statusName(status))
			delete(s.status, "ns=1;s=a")
			if !bad(status) || uncertain(status) {
				return
			}
			// Of the whole request.
			s.answer("Read", faulty(status))
			_, err = l.Read(t.Context(), []devices.Point{p.Point})
			require.Equal(t, want[0], devices.KindOf(err), "%v", err)
			s.answer("Read", nil)
			s.answer("Write", faulty(status))
			err = l.Write(t.Context(), []devices.Setting{p})
			require.Equal(t, want[1], devices.KindOf(err), "%v", err)
			s.answer("Write", nil)
		})
	}
}

func TestAWriteSaysWhatWasWrittenAndWhatWasNot(t *testing.T) {
	s := plain(t)
	for _, n := range []string{"a", "b", "c"} {
		s.set("ns=1;s="+n, int32(1))
	}
	_, l := open(t, Options{}, s.endpoint())
	all := []devices.Setting{set("a", devices.Int32, int64(2)), set("b", devices.Int32, int64(2)), set("c", devices.Int32, int64(2))}
	s.status["ns=1;s=b"] = ua.StatusBadOutOfRange
	require.EqualError(t, l.Write(t.Context(), all), "dev-1: write b: rejected: written: a, c; not as asked: b BadOutOfRange (0x803C0000)")
	s.status["ns=1;s=c"] = ua.StatusBadTimeout
	err := l.Write(t.Context(), all)
	require.Equal(t, devices.Indeterminate, devices.KindOf(err), "what is open counts more than what was refused")
	require.ErrorContains(t, err, "write b, c")
	s.status["ns=1;s=a"] = ua.StatusBadNotWritable
	require.ErrorContains(t, l.Write(t.Context(), all), "none was written")
}

func TestAWriteThatFailsHalfwaySaysSo(t *testing.T) {
	s := plain(t)
	s.limit = 2
	var all []devices.Setting
	for i := range 4 {
		name := fmt.Sprintf("p%d", i)
		s.set("ns=1;s="+name, int32(1))
		p := set(name, devices.Int32, int64(2))
		p.Point.OPCUA.Type = "Int32"
		all = append(all, p)
	}
	_, l := open(t, Options{}, s.endpoint())
	// The first request is refused as too large, the second is taken, and then
	// the server goes away.
	writes := 0
	s.answer("Write", func(res ua.Response) ua.Response {
		if writes++; writes == 3 {
			return faulty(ua.StatusBadNotConnected)(res)
		}
		return res
	})
	err := l.Write(t.Context(), all)
	require.Equal(t, devices.Indeterminate, devices.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "write p2, p3")
	require.ErrorContains(t, err, "before it, written: p0, p1")
	require.Equal(t, int32(2), s.get("ns=1;s=p1"))
}

func TestASessionLostHalfwayGoesOnWhereItWas(t *testing.T) {
	s := plain(t)
	s.limit = 2
	var all []devices.Setting
	for i := range 4 {
		name := fmt.Sprintf("p%d", i)
		s.set("ns=1;s="+name, int32(1))
		all = append(all, set(name, devices.Int32, int64(2)))
	}
	_, l := open(t, Options{}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	writes := 0
	s.answer("Write", func(res ua.Response) ua.Response {
		if writes++; writes == 3 {
			return faulty(ua.StatusBadSessionClosed)(res)
		}
		return res
	})
	require.NoError(t, l.Write(t.Context(), all))
	require.Equal(t, 4, writes, "the first two settings are not written twice")
	require.Equal(t, 2, s.count("CreateSession"))
}

func TestWhatCannotBeWrittenIsFoundBeforeAnythingIsSent(t *testing.T) {
	s := plain(t)
	s.set("ns=1;s=a", int32(1))
	_, l := open(t, Options{}, s.endpoint())
	limited := set("a", devices.Int32, int64(101))
	top := 100.0
	limited.Point.Max = &top
	stated := set("a", devices.Int32, int64(1000))
	stated.Point.OPCUA.Type = "Byte"
	unknown := set("a", devices.Int32, int64(1))
	unknown.Point.OPCUA.Type = "Int"
	numbered := set("a", devices.Int32, int64(1))
	numbered.Point.OPCUA.ID = "ns=2;s=a"
	for name, c := range map[string]struct {
		settings []devices.Setting
		kind     devices.Kind
		words    string
	}{
		"out of the profile's range":   {[]devices.Setting{limited}, devices.Rejected, "101 is outside"},
		"over the stated type":         {[]devices.Setting{stated}, devices.Rejected, "1000 does not fit the node's type Byte"},
		"a type that does not exist":   {[]devices.Setting{unknown}, devices.Unsupported, `the type "Int"`},
		"the same node twice":          {[]devices.Setting{set("a", devices.Int32, int64(1)), set("a", devices.Int32, int64(2))}, devices.Rejected, "are the same node"},
		"a point of another protocol":  {[]devices.Setting{{Point: devices.Point{Name: "x", Type: devices.Int32}, Value: int64(1)}}, devices.Unsupported, "not a point of an OPC UA profile"},
		"an index instead of a URI":    {[]devices.Setting{numbered}, devices.Unsupported, "give the namespace's URI"},
		"one good one, one bad":        {[]devices.Setting{set("b", devices.Int32, int64(1)), limited}, devices.Rejected, "outside"},
		"a value of another type":      {[]devices.Setting{set("a", devices.Int32, "text")}, devices.Rejected, "is not a number"},
		"a value that no type can be ": {[]devices.Setting{set("a", devices.Bool, int64(1))}, devices.Rejected, "is not true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			err := l.Write(t.Context(), c.settings)
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
		})
	}
	require.Empty(t, s.took())
	require.NoError(t, l.Write(t.Context(), nil))
	got, err := l.Read(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, got)
	require.Empty(t, s.took())
}

func TestAFailedLookUpLeavesNoWriteOpen(t *testing.T) {
	s := plain(t)
	s.set("ns=1;s=a", int32(1))
	_, l := open(t, Options{}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	// The type of the node is asked for, and the line is cut: nothing was
	// written, and everybody knows.
	s.once("Read", sayAndCut(0.5))
	err := l.Write(t.Context(), []devices.Setting{set("a", devices.Int32, int64(2))})
	require.Equal(t, devices.Unreachable, devices.KindOf(err), "%v", err)
	// The same of the type, when the namespaces are known.
	_, err = l.Read(t.Context(), []devices.Point{at("a", devices.Int32)})
	require.NoError(t, err)
	s.once("Read", sayAndCut(0.5))
	err = l.Write(t.Context(), []devices.Setting{set("a", devices.Int32, int64(2))})
	require.Equal(t, devices.Unreachable, devices.KindOf(err), "%v", err)
	require.Zero(t, s.count("Write"))
	require.ErrorContains(t, l.Write(t.Context(), []devices.Setting{set("nowhere", devices.Int32, int64(2))}), "BadNodeIDUnknown")
	// An array of the server's namespaces that is none.
	s.set("i=2255", int32(5))
	_, other := open(t, Options{}, s.endpoint())
	_, err = other.Read(t.Context(), []devices.Point{at("a", devices.Int32)})
	require.ErrorContains(t, err, "does not tell its namespaces")
}

func TestASessionThatDoesNotOpenLeavesNoWriteOpen(t *testing.T) {
	s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSign)
	s.set("ns=1;s=a", int32(1))
	_, l := open(t, Options{}, s.endpoint())
	for _, step := range []string{"HEL", "OPNlook", "GetEndpoints", "OPN", "CreateSession", "ActivateSession"} {
		s.once(step, sayAndCut(0.5))
		err := l.Write(t.Context(), []devices.Setting{set("a", devices.Int32, int64(2))})
		require.Equal(t, devices.Unreachable, devices.KindOf(err), "%s: %v", step, err)
	}
	require.Zero(t, s.count("Write"))
	require.NoError(t, l.Write(t.Context(), []devices.Setting{set("a", devices.Int32, int64(2))}))
}

func TestAMethodWhoseAnswerIsLostIsIndeterminate(t *testing.T) {
	s := plain(t)
	d := New(Options{})
	defer d.Close()
	m := devices.MethodAddress{Object: "i=85", Method: "i=1", Args: []devices.MethodArgument{{Type: "Byte", Value: 7}, {Type: "Float", Value: 0.5},
		{Type: "Boolean", Value: true}, {Type: "UInt64", Value: uint64(1 << 63)}, {Type: "String", Value: "x"}, {Type: "SByte", Value: -7}}}
	out, err := d.Call(t.Context(), s.endpoint(), m)
	require.NoError(t, err)
	require.Equal(t, []any{int64(7), 0.5, true, uint64(1 << 63), "x", int64(-7)}, out)
	s.once("Call", sayAndCut(0.5))
	_, err = d.Call(t.Context(), s.endpoint(), m)
	require.Equal(t, devices.Indeterminate, devices.KindOf(err), "%v", err)
	for name, c := range map[string]struct {
		change func(m *devices.MethodAddress)
		kind   devices.Kind
		words  string
	}{
		"no type":          {func(m *devices.MethodAddress) { m.Args[0].Type = "" }, devices.Rejected, "argument 1: it has no type"},
		"a type of no use": {func(m *devices.MethodAddress) { m.Args[1].Type = "Guid" }, devices.Rejected, "argument 2"},
		"out of range":     {func(m *devices.MethodAddress) { m.Args[0].Value = 256 }, devices.Rejected, "argument 1: 256 does not fit"},
		"no object":        {func(m *devices.MethodAddress) { m.Object = "" }, devices.Unsupported, "the object"},
		"no method":        {func(m *devices.MethodAddress) { m.Method = "restart" }, devices.Unsupported, "the method"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := m
			changed.Args = append([]devices.MethodArgument(nil), m.Args...)
			c.change(&changed)
			_, err := d.Call(t.Context(), s.endpoint(), changed)
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
		})
	}
}

func TestIdentifyOfAServerThatTellsNothing(t *testing.T) {
	s := plain(t)
	d := New(Options{})
	defer d.Close()
	_, err := d.Identify(t.Context(), s.endpoint())
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	s.set("i=2256", int32(1))
	_, err = d.Identify(t.Context(), s.endpoint())
	require.ErrorContains(t, err, "the status of the server cannot be read")
	s.set("i=2256", ua.NewExtensionObject(&ua.BuildInfo{}))
	_, err = d.Identify(t.Context(), s.endpoint())
	require.ErrorContains(t, err, "has the encoding")
	s.set("i=2256", ua.NewExtensionObject(&ua.ServerStatusDataType{State: 1, BuildInfo: &ua.BuildInfo{ManufacturerName: "ACME", ProductName: "P", SoftwareVersion: "1", BuildNumber: "2"}, ShutdownReason: &ua.LocalizedText{}}))
	got, err := d.Identify(t.Context(), s.endpoint())
	require.NoError(t, err)
	require.Equal(t, Identification{ApplicationURI: serverURI, Manufacturer: "ACME", Product: "P", SoftwareVersion: "1", BuildNumber: "2", State: "Failed"}, got)
}
