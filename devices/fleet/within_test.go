package fleet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

func TestAWriteHasTheTimeThatItsProtocolMayTake(t *testing.T) {
	setting := func(p devices.Point) []devices.Setting { return []devices.Setting{{Point: p}} }
	curve := setting(devices.Point{Name: "705.curve.RspTms", SunSpec: "705.curve.RspTms", Type: devices.Float64})
	restart := &devices.HostCommand{Name: "restart", Args: []string{"restart"}, Timeout: 5 * time.Minute}
	slow := []devices.Setting{{Value: "rate: 10\n", Point: devices.Point{Name: "config", Type: devices.String,
		Host: &devices.HostAddress{Kind: devices.HostFile, Path: "/etc/edge/config.yaml", Restart: restart, Health: restart}}}}

	require.Equal(t, writeWithin, within(setting(devices.Point{Name: "limit", Modbus: &devices.ModbusAddress{Table: devices.Holding}})))
	require.Greater(t, within(curve), writeWithin, "an adoption is waited for")
	require.Equal(t, writeWithinMost, within(slow), "and nothing is waited for without end")
}
