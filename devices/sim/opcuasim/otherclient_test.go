//go:build !race

// The library's client has data races of its own, between the renewal of its
// channel and its requests, so the race detector cannot look on, and no channel
// here lives long enough to be renewed.

package opcuasim_test

import (
	"net"
	"strings"
	"testing"

	gopcua "github.com/gopcua/opcua"
	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uacp"
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
		gopcua.AuthUsername(user, password), gopcua.Certificate(pair.cert.Raw), gopcua.PrivateKey(pair.opts.ClientKey))
	require.NoError(t, err)
	require.NoError(t, client.Connect(t.Context()))
	t.Cleanup(func() { _ = client.Close(t.Context()) })

	node := ua.NewStringNodeID(2, "Batch.Volume")
	for n := range uint32(50) {
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

func TestALargeAnswerComesInAsManyChunksAsTheClientsBufferAsksFor(t *testing.T) {
	d := start(t)
	long := strings.Repeat("x", 256)
	require.NoError(t, d.Poke("Station.Name", long))
	pair, err := ours()
	require.NoError(t, err)
	endpoints, err := gopcua.GetEndpoints(t.Context(), "opc.tcp://"+d.Addr())
	require.NoError(t, err)
	ep, err := gopcua.SelectEndpoint(endpoints, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSignAndEncrypt)
	require.NoError(t, err)
	client, err := gopcua.NewClient("opc.tcp://"+d.Addr(), gopcua.SecurityFromEndpoint(ep, ua.UserTokenTypeUserName), gopcua.AutoReconnect(false),
		gopcua.AuthUsername(user, password), gopcua.Certificate(pair.cert.Raw), gopcua.PrivateKey(pair.opts.ClientKey),
		gopcua.Dialer(&uacp.Dialer{Dialer: &net.Dialer{}, ClientACK: &uacp.Acknowledge{ReceiveBufSize: 8192, SendBufSize: 8192}}))
	require.NoError(t, err)
	require.NoError(t, client.Connect(t.Context()))
	t.Cleanup(func() { _ = client.Close(t.Context()) })
	var nodes []*ua.ReadValueID
	for range 100 {
		nodes = append(nodes, &ua.ReadValueID{NodeID: ua.NewStringNodeID(2, "Station.Name"), AttributeID: ua.AttributeIDValue})
	}
	res, err := client.Read(t.Context(), &ua.ReadRequest{NodesToRead: nodes})
	require.NoError(t, err)
	require.Len(t, res.Results, 100)
	require.Equal(t, long, res.Results[99].Value.Value())
	_, err = client.Read(t.Context(), &ua.ReadRequest{NodesToRead: append(nodes, nodes[0])})
	require.ErrorIs(t, err, ua.StatusBadTooManyOperations)
}
