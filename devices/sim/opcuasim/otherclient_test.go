//go:build !race

// The library's client has data races of its own, between the renewal of its
// channel and its requests, so the race detector cannot look on.

package opcuasim_test

import (
	"testing"
	"time"

	gopcua "github.com/gopcua/opcua"
	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"
)

// The library's client is a second reader of the standard.
func TestAnotherClientReadsWritesCallsAndBrowses(t *testing.T) {
	d := start(t)
	identity, err := shared()
	require.NoError(t, err)
	pair, err := ours()
	require.NoError(t, err)
	endpoints, err := gopcua.GetEndpoints(t.Context(), "opc.tcp://"+d.Addr())
	require.NoError(t, err)
	require.Len(t, endpoints, 3)
	ep, err := gopcua.SelectEndpoint(endpoints, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSignAndEncrypt)
	require.NoError(t, err)
	require.Equal(t, identity.Certificate.Raw, ep.ServerCertificate)
	client, err := gopcua.NewClient("opc.tcp://"+d.Addr(), gopcua.SecurityFromEndpoint(ep, ua.UserTokenTypeUserName), gopcua.AutoReconnect(false),
		gopcua.AuthUsername(user, password), gopcua.Certificate(pair.cert.Raw), gopcua.PrivateKey(pair.opts.ClientKey),
		// So short that the keys of the channel are renewed while it is used.
		gopcua.Lifetime(time.Second))
	require.NoError(t, err)
	require.NoError(t, client.Connect(t.Context()))
	t.Cleanup(func() { _ = client.Close(t.Context()) })

	node := ua.NewStringNodeID(2, "Batch.Volume")
	for began, n := time.Now(), uint32(0); time.Since(began) < 2*time.Second; n++ {
		res, err := client.Write(t.Context(), &ua.WriteRequest{NodesToWrite: []*ua.WriteValue{{NodeID: node, AttributeID: ua.AttributeIDValue,
			Value: &ua.DataValue{EncodingMask: ua.DataValueValue, Value: ua.MustVariant(n)}}}})
		require.NoError(t, err)
		require.Equal(t, []ua.StatusCode{ua.StatusOK}, res.Results)
		value, err := client.Node(node).Value(t.Context())
		require.NoError(t, err)
		require.Equal(t, n, value.Value())
	}
	method, err := client.Call(t.Context(), &ua.CallMethodRequest{ObjectID: ua.NewStringNodeID(2, "Plc"), MethodID: ua.NewStringNodeID(2, "Plc.Restart"),
		InputArguments: []*ua.Variant{ua.MustVariant(uint32(0))}})
	require.NoError(t, err)
	require.Equal(t, ua.StatusOK, method.StatusCode)
	below, err := client.Node(ua.NewStringNodeID(2, "Plc")).References(t.Context(), 0, ua.BrowseDirectionForward, ua.NodeClassAll, true)
	require.NoError(t, err)
	require.Len(t, below, 20)
}
