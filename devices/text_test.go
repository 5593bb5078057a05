package devices_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

func TestASecretOfAnyTypeIsNotShown(t *testing.T) {
	key := []byte("a key of the workers")
	for name, c := range map[string]struct {
		point devices.Point
		value devices.Value
		shown string
	}{
		"text":    {devices.Point{Type: devices.String}, "hunter2", "hunter2"},
		"whole":   {devices.Point{Type: devices.Uint16}, int64(4711), "4711"},
		"decimal": {devices.Point{Type: devices.Float64}, 47.11, "47.11"},
		"enum":    {devices.Point{Type: devices.Uint16, Enum: map[string]int64{"weak": 1}}, "weak", "weak"},
	} {
		t.Run(name, func(t *testing.T) {
			open := c.point
			open.Name = "pin"
			require.Equal(t, c.shown, open.Text(c.value))
			require.Equal(t, c.shown, open.Keyed(key, c.value), "a key hides nothing but secrets")
			secret := open
			secret.Secret = true
			require.Regexp(t, `^sha256:[0-9a-f]{64} \(\d+ bytes\)$`, secret.Text(c.value))
			require.Equal(t, secret.Text(c.value), secret.Keyed(nil, c.value))
			keyed := secret.Keyed(key, c.value)
			require.Regexp(t, `^hmac-sha256:[0-9a-f]{64}$`, keyed)
			require.Equal(t, keyed, secret.Keyed(key, c.value), "equal values are seen to be equal by those who have the key")
			require.NotEqual(t, keyed, secret.Keyed([]byte("another key"), c.value))
			other := secret
			other.Name = "puk"
			require.NotEqual(t, keyed, other.Keyed(key, c.value), "and settings with the same value are not")
			require.Equal(t, c.shown, secret.Exact(c.value), "captures keep what a device is restored from")
		})
	}
	file := devices.Point{Name: "token", Type: devices.String, Secret: true, Host: &devices.HostAddress{Kind: devices.HostFile}}
	require.Equal(t, devices.HostAbsent, file.Keyed(key, devices.HostAbsent))
}
