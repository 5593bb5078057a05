package opcua

import (
	"fmt"
	"testing"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

func TestReadAndWriteUnderEveryPolicyAndMode(t *testing.T) {
	for _, policy := range append([]string{ua.SecurityPolicyURINone}, strong...) {
		for _, mode := range []ua.MessageSecurityMode{ua.MessageSecurityModeNone, ua.MessageSecurityModeSign, ua.MessageSecurityModeSignAndEncrypt} {
			if (policy == ua.SecurityPolicyURINone) != (mode == ua.MessageSecurityModeNone) {
				continue
			}
			t.Run(policyName(policy)+" "+modeName(mode), func(t *testing.T) {
				s := newFake(t, policy, mode)
				s.set("ns=1;s=a", uint16(7))
				_, l := open(t, Options{}, s.endpoint())
				require.NoError(t, l.Ping(t.Context()))
				require.NoError(t, l.Write(t.Context(), []devices.Setting{set("a", devices.Uint16, int64(8))}))
				require.Equal(t, uint16(8), s.get("ns=1;s=a"))
				values, err := l.Read(t.Context(), []devices.Point{at("a", devices.Uint16)})
				require.NoError(t, err)
				require.Equal(t, []devices.Value{int64(8)}, values)
			})
		}
	}
}

func TestManyPointsAreReadInRequestsThatTheServerTakes(t *testing.T) {
	s := plain(t)
	s.limit = 30
	var points []devices.Point
	var settings []devices.Setting
	for i := range 150 {
		name := fmt.Sprintf("p%d", i)
		s.set("ns=1;s="+name, int32(i))
		points = append(points, at(name, devices.Int32))
		settings = append(settings, set(name, devices.Int32, int64(i+1000)))
	}
	_, l := open(t, Options{}, s.endpoint())
	values, err := l.Read(t.Context(), points)
	require.NoError(t, err)
	for i, v := range values {
		require.Equal(t, int64(i), v)
	}
	require.NoError(t, l.Write(t.Context(), settings))
	for i := range 150 {
		require.Equal(t, int32(i+1000), s.get(fmt.Sprintf("ns=1;s=p%d", i)))
	}
}
