package devices

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestNoWayOfPrintingOPCUASecurityShowsASecret(t *testing.T) {
	s := OPCUASecurity{Policy: "Basic256Sha256", Mode: "Sign", User: "operator", Password: "hunter2"}
	ep := Endpoint{DeviceID: "dev-1", OPCUA: &s}
	asJSON, err := json.Marshal(s)
	require.NoError(t, err)
	asYAML, err := yaml.Marshal(struct{ S *OPCUASecurity }{&s})
	require.NoError(t, err)
	for _, text := range []string{s.String(), fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s", s, s, s, s), fmt.Sprintf("%v %+v %#v %s", &s, &s, &s, &s),
		fmt.Sprintf("%v %+v %#v", ep, ep, ep), string(asJSON), string(asYAML)} {
		require.NotContains(t, text, "hunter2")
	}
	require.Equal(t, `"Basic256Sha256/Sign as operator"`, string(asJSON))
}
