package opcua_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/opcua"
)

func TestEveryPolicyAndModeReadsAndWrites(t *testing.T) {
	for _, bits := range []int{2048, 4096} {
		for _, policy := range []string{"Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"} {
			for _, mode := range []string{"Sign", "SignAndEncrypt"} {
				t.Run(fmt.Sprintf("%s %s with a key of %d bits", policy, mode, bits), func(t *testing.T) {
					l := open(t, endpoint(t, func(s *devices.OPCUASecurity) {
						s.Policy, s.Mode = policy, mode
						s.ClientCert, s.ClientKey = server.clients[bits].cert, server.clients[bits].key
					}))
					require.NoError(t, l.Ping(t.Context()))
					p := point("s=UInt16", devices.Uint16, "")
					for _, want := range []int64{1, 65535} {
						require.NoError(t, l.Write(t.Context(), []devices.Setting{{Point: p, Value: want}}))
						got, err := l.Read(t.Context(), []devices.Point{p})
						require.NoError(t, err)
						require.Equal(t, []devices.Value{want}, got)
					}
				})
			}
		}
	}
}

func TestEveryTypeIsWrittenAndReadBack(t *testing.T) {
	l := open(t, endpoint(t))
	for _, c := range []struct {
		node   string
		typ    devices.Type
		values []devices.Value
	}{
		{"Boolean", devices.Bool, []devices.Value{false, true}},
		{"SByte", devices.Int16, []devices.Value{int64(-128), int64(127)}},
		{"Byte", devices.Uint16, []devices.Value{int64(0), int64(255)}},
		{"Int16", devices.Int16, []devices.Value{int64(math.MinInt16), int64(math.MaxInt16)}},
		{"UInt16", devices.Uint16, []devices.Value{int64(0), int64(math.MaxUint16)}},
		{"Int32", devices.Int32, []devices.Value{int64(math.MinInt32), int64(math.MaxInt32)}},
		{"UInt32", devices.Uint32, []devices.Value{int64(0), int64(math.MaxUint32)}},
		{"Int64", devices.Int64, []devices.Value{int64(math.MinInt64), int64(math.MaxInt64)}},
		{"UInt64", devices.Uint64, []devices.Value{uint64(0), uint64(math.MaxUint64)}},
		{"Float", devices.Float32, []devices.Value{float64(float32(50.1)), -0.5}},
		{"Double", devices.Float64, []devices.Value{50.1, -1e300}},
		{"String", devices.String, []devices.Value{"", "Zürich ⚡ 400 kV"}},
	} {
		for _, stated := range []string{"", c.node} {
			t.Run(fmt.Sprintf("%s, its type stated: %t", c.node, stated != ""), func(t *testing.T) {
				p := point("s="+c.node, c.typ, stated)
				for _, want := range c.values {
					require.NoError(t, l.Write(t.Context(), []devices.Setting{{Point: p, Value: want}}))
					got, err := l.Read(t.Context(), []devices.Point{p})
					require.NoError(t, err)
					require.Equal(t, []devices.Value{want}, got)
				}
			})
		}
	}
}

func TestTheTypeOfANodeIsFoundOut(t *testing.T) {
	l := open(t, endpoint(t))
	for name, s := range map[string]devices.Setting{
		"a subtype of a built-in type":     {Point: point("s=Duration", devices.Float64, ""), Value: 2500.0},
		"an abstract type, from the value": {Point: point("s=Any", devices.Uint16, ""), Value: int64(3)},
		"a numeric node ID":                {Point: point("i=1001", devices.Uint16, ""), Value: int64(1002)},
		"a scaled integer":                 {Point: devices.Point{Name: "u", Type: devices.Uint16, Scale: 0.1, OPCUA: &devices.NodeAddress{Namespace: plant, ID: "s=UInt16"}}, Value: 50.1},
		"a real number on an integer node": {Point: point("s=UInt16", devices.Float64, ""), Value: 7.0},
		"an integer point on a real node":  {Point: point("s=Double", devices.Uint16, ""), Value: int64(12)},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, l.Write(t.Context(), []devices.Setting{s}))
			got, err := l.Read(t.Context(), []devices.Point{s.Point})
			require.NoError(t, err)
			require.Equal(t, []devices.Value{s.Value}, got)
		})
	}
}

func TestMoreNodesThanTheServerTakesAtOnce(t *testing.T) {
	l := open(t, endpoint(t))
	var points []devices.Point
	var settings []devices.Setting
	for i := range 150 {
		p := point(fmt.Sprintf("s=P%d", i), devices.Int32, "")
		points = append(points, p)
		settings = append(settings, devices.Setting{Point: p, Value: int64(1000 + i)})
	}
	require.NoError(t, l.Write(t.Context(), settings))
	got, err := l.Read(t.Context(), points)
	require.NoError(t, err)
	for i, v := range got {
		require.Equal(t, int64(1000+i), v)
	}
}

func TestWhatTheServerRefusesIsNamed(t *testing.T) {
	l := open(t, endpoint(t))
	set := func(id string, typ devices.Type, kind string, v devices.Value) devices.Setting {
		return devices.Setting{Point: point(id, typ, kind), Value: v}
	}
	for name, c := range map[string]struct {
		settings []devices.Setting
		kind     devices.Kind
		words    []string
	}{
		"a value out of the device's range": {[]devices.Setting{set("s=Percent", devices.Uint16, "", int64(101))}, devices.Rejected, []string{"s=Percent BadOutOfRange"}},
		"a read-only node":                  {[]devices.Setting{set("s=ReadOnly", devices.Uint16, "", int64(1))}, devices.Rejected, []string{"BadNotWritable", "read-only"}},
		"a node that is not there":          {[]devices.Setting{set("s=Nowhere", devices.Uint16, "", int64(1))}, devices.Rejected, []string{"BadNodeIdUnknown"}},
		"another type than the node's":      {[]devices.Setting{set("s=UInt16", devices.Int32, "Int32", int64(1))}, devices.Rejected, []string{"BadTypeMismatch", "state the node's built-in type"}},
		"one of three, the others written": {[]devices.Setting{set("s=Int16", devices.Int16, "", int64(5)), set("s=ReadOnly", devices.Uint16, "", int64(1)), set("s=Int32", devices.Int32, "", int64(6))},
			devices.Rejected, []string{"write s=ReadOnly", "written: s=Int16, s=Int32", "not as asked: s=ReadOnly"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := l.Write(t.Context(), c.settings)
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			for _, w := range c.words {
				require.Contains(t, strings.ReplaceAll(err.Error(), "BadNodeIDUnknown", "BadNodeIdUnknown"), w)
			}
		})
	}
	_, err := l.Read(t.Context(), []devices.Point{point("s=Array", devices.Int32, "")})
	require.ErrorContains(t, err, "an array of Int32")
	_, err = l.Read(t.Context(), []devices.Point{{Name: "x", Type: devices.Int32, OPCUA: &devices.NodeAddress{Namespace: "urn:other", ID: "s=x"}}})
	require.ErrorContains(t, err, `no namespace "urn:other"; it has http://opcfoundation.org/UA/`)
}

func TestAStrangerIsNotLetIn(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *devices.OPCUASecurity)
		words  string
	}{
		"a wrong password":             {func(s *devices.OPCUASecurity) { s.Password = "wrong" }, "the password is wrong"},
		"no user at all":               {func(s *devices.OPCUASecurity) { s.User = "" }, "does not take anonymous sessions"},
		"a client that is not trusted": {func(s *devices.OPCUASecurity) { s.ClientCert, s.ClientKey = server.stranger.cert, server.stranger.key }, "trust"},
		"a user that is not trusted": {func(s *devices.OPCUASecurity) {
			s.User, s.Password, s.UserCert, s.UserKey = "", "", server.stranger.cert, server.stranger.key
		}, "BadIdentityToken"},
	} {
		t.Run(name, func(t *testing.T) {
			err := open(t, endpoint(t, c.change)).Ping(t.Context())
			require.Equal(t, devices.Auth, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
			require.NotContains(t, err.Error(), password)
		})
	}
}

func TestAServerThatIsNotAsEnrolledIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *devices.OPCUASecurity)
		words  string
	}{
		"another certificate":           {func(s *devices.OPCUASecurity) { s.ServerThumbprint = strings.Repeat("ab", 32) }, "not the enrolled one"},
		"another application":           {func(s *devices.OPCUASecurity) { s.ApplicationURI = "urn:other" }, `not "urn:other"`},
		"a policy that it has no more":  {func(s *devices.OPCUASecurity) { s.Policy, s.Mode, s.AllowPlaintext = "None", "None", true }, "does not offer"},
		"the SHA-1 of another one":      {func(s *devices.OPCUASecurity) { s.ServerThumbprint = strings.Repeat("0f", 20) }, "not the enrolled one"},
		"a mode that was not enrolled":  {func(s *devices.OPCUASecurity) { s.Mode = "" }, "enrol the device"},
		"a thumbprint of neither kind":  {func(s *devices.OPCUASecurity) { s.ServerThumbprint = "abcd" }, "want the 40 hexadecimal digits"},
		"a policy that is not good now": {func(s *devices.OPCUASecurity) { s.Policy = "Basic256" }, "is not one of"},
	} {
		t.Run(name, func(t *testing.T) {
			ep := endpoint(t, c.change)
			l, err := driver(t).Open(t.Context(), ep)
			if err == nil {
				err = l.Ping(t.Context())
				l.Close()
			}
			require.Equal(t, devices.Auth, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
		})
	}
}

func TestTheThumbprintMayBeTheOneThatToolsShow(t *testing.T) {
	colons := func(s *devices.OPCUASecurity) {
		var parts []string
		for i := 0; i < len(server.sha1); i += 2 {
			parts = append(parts, strings.ToUpper(server.sha1[i:i+2]))
		}
		s.ServerThumbprint = strings.Join(parts, ":")
	}
	require.NoError(t, open(t, endpoint(t, colons)).Ping(t.Context()))
}

func TestAUserMayLogInByCertificate(t *testing.T) {
	for _, policy := range []string{"Basic256Sha256", "Aes256_Sha256_RsaPss"} {
		l := open(t, endpoint(t, func(s *devices.OPCUASecurity) {
			s.Policy, s.User, s.Password, s.UserCert, s.UserKey = policy, "", "", server.user.cert, server.user.key
		}))
		require.NoError(t, l.Ping(t.Context()))
	}
}

func TestEnrolShowsWhatOnboardingCompares(t *testing.T) {
	ep := endpoint(t)
	ep.OPCUA = nil
	got, err := driver(t).Enrol(t.Context(), ep)
	require.NoError(t, err)
	require.Equal(t, "urn:edgefleet:test:peer", got.ApplicationURI)
	modes := map[string]bool{}
	for _, e := range got.Endpoints {
		modes[e.Policy+"/"+e.Mode] = e.Usable
		require.Equal(t, server.sha256, e.Certificate.SHA256)
		require.Equal(t, server.sha1, e.Certificate.SHA1)
		require.Equal(t, []string{"urn:edgefleet:test:peer"}, e.Certificate.ApplicationURIs)
		require.Contains(t, e.Logins, "username")
	}
	require.True(t, modes["Basic256Sha256/SignAndEncrypt"])
	require.True(t, modes["Aes256_Sha256_RsaPss/Sign"])
}

func TestFingerprintsAreAcceptedAsPins(t *testing.T) {
	for name, sec := range map[string]*devices.OPCUASecurity{
		"of all safe endpoints": nil,
		"of one endpoint":       {Policy: "Aes128_Sha256_RsaOaep", Mode: "Sign"},
	} {
		t.Run(name, func(t *testing.T) {
			ep := endpoint(t)
			ep.OPCUA = sec
			got, err := driver(t).Fingerprints(t.Context(), ep)
			require.NoError(t, err)
			require.Equal(t, []string{server.sha256}, got)
			require.NoError(t, open(t, endpoint(t, func(s *devices.OPCUASecurity) { s.ServerThumbprint = got[0] })).Ping(t.Context()))
		})
	}
	ep := endpoint(t)
	ep.OPCUA = &devices.OPCUASecurity{Policy: "Basic256", Mode: "Sign"}
	_, err := driver(t).Fingerprints(t.Context(), ep)
	require.Equal(t, devices.Auth, devices.KindOf(err))
	require.ErrorContains(t, err, "does not offer Basic256/Sign with a certificate, but Aes128_Sha256_RsaOaep/Sign")
}

func TestIdentifyReadsTheBuild(t *testing.T) {
	got, err := driver(t).Identify(t.Context(), endpoint(t))
	require.NoError(t, err)
	require.False(t, got.Started.IsZero())
	got.Started = got.Started.UTC().Truncate(0)
	require.Equal(t, "urn:edgefleet:test:peer", got.ApplicationURI)
	require.Equal(t, [4]string{"edgefleet", "1.2.3", "42", "Running"}, [4]string{got.Manufacturer, got.SoftwareVersion, got.BuildNumber, got.State})
}

func TestBrowseIsBounded(t *testing.T) {
	d, ep := driver(t), endpoint(t)
	from := devices.NodeAddress{Namespace: plant, ID: "s=Plant"}
	nodes, complete, err := d.Browse(t.Context(), ep, opcua.BrowseOptions{From: from, MaxDepth: 1})
	require.NoError(t, err)
	require.False(t, complete)
	at := map[string]opcua.Node{}
	for _, n := range nodes {
		at[n.Path] = n
	}
	require.Equal(t, opcua.Node{Address: devices.NodeAddress{Namespace: plant, ID: "s=Percent"}, Path: "Percent", Name: "Percent", Class: "Variable", Depth: 1}, at["Percent"])
	require.Equal(t, "Method", at["Restart"].Class)
	require.Equal(t, "i=1001", at["Numbered"].Address.ID)

	nodes, complete, err = d.Browse(t.Context(), ep, opcua.BrowseOptions{From: from, MaxDepth: 8, MaxNodes: 10_000})
	require.NoError(t, err)
	require.True(t, complete)
	paths := map[string]bool{}
	for _, n := range nodes {
		paths[n.Path] = true
	}
	require.True(t, paths["Many/P149"])

	nodes, complete, err = d.Browse(t.Context(), ep, opcua.BrowseOptions{From: from, MaxDepth: 8, MaxNodes: 100})
	require.NoError(t, err)
	require.False(t, complete)
	require.Len(t, nodes, 100)
}

func TestCallTakesExactArguments(t *testing.T) {
	d, ep := driver(t), endpoint(t)
	restart := func(delay int) devices.MethodAddress {
		return devices.MethodAddress{Namespace: plant, Object: "s=Plant", Method: "s=Restart",
			Args: []devices.MethodArgument{{Name: "Delay", Type: "UInt16", Value: delay}, {Type: "String", Value: "drift"}}}
	}
	out, err := d.Call(t.Context(), ep, restart(5))
	require.NoError(t, err)
	require.Equal(t, []any{int64(1), "drift in 5 s"}, out)

	_, err = d.Call(t.Context(), ep, restart(601))
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "BadOutOfRange")
	_, err = d.Call(t.Context(), ep, restart(70_000))
	require.EqualError(t, err, "plc-1: call s=Restart: rejected: Delay: 70000 does not fit the node's type UInt16")
	wrong := restart(5)
	wrong.Args[0].Type = "Int32"
	_, err = d.Call(t.Context(), ep, wrong)
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "Delay: BadTypeMismatch")
	wrong.Method = "s=Nothing"
	_, err = d.Call(t.Context(), ep, wrong)
	require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
}

func TestAMethodIsASettingAmongOthers(t *testing.T) {
	d, ep := driver(t), endpoint(t)
	l := open(t, ep)
	method := func(delay int) devices.MethodAddress {
		return devices.MethodAddress{Namespace: plant, Object: "s=Plant", Method: "s=Restart",
			Args: []devices.MethodArgument{{Name: "Delay", Type: "UInt16", Value: delay}, {Type: "String", Value: "drift"}}}
	}
	restart := func(delay int) devices.Setting {
		m := method(delay)
		return devices.Setting{Point: devices.Point{Name: "restart", Type: devices.String, Writable: true, Method: &m}, Value: devices.RunValue}
	}
	percent := func(v int64) devices.Setting {
		return devices.Setting{Point: point("s=Percent", devices.Uint16, ""), Value: v}
	}
	// The method counts its calls.
	count := func() int64 {
		out, err := d.Call(t.Context(), ep, method(0))
		require.NoError(t, err)
		return out[0].(int64)
	}
	before := count()
	require.NoError(t, l.Write(t.Context(), []devices.Setting{percent(11), restart(5)}))
	require.Equal(t, before+2, count(), "one call for the setting")
	got, err := l.Read(t.Context(), []devices.Point{percent(0).Point})
	require.NoError(t, err)
	require.Equal(t, []devices.Value{int64(11)}, got)

	err = l.Write(t.Context(), []devices.Setting{restart(601), percent(12)})
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "restart BadOutOfRange")
	require.ErrorContains(t, err, "so not tried: s=Percent")
	err = l.Write(t.Context(), []devices.Setting{percent(101), restart(5)})
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.Equal(t, before+3, count(), "neither was called")
	_, err = l.Read(t.Context(), []devices.Point{restart(5).Point})
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
}
