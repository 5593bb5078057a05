package opcua

import (
	"testing"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

func referenceTo(index uint16, name string) *ua.ReferenceDescription {
	return &ua.ReferenceDescription{ReferenceTypeID: ua.NewTwoByteNodeID(35), IsForward: true, NodeID: ua.NewStringExpandedNodeID(index, name),
		BrowseName: &ua.QualifiedName{Name: name}, DisplayName: ua.NewLocalizedText(""), NodeClass: ua.NodeClassObject, TypeDefinition: ua.NewTwoByteExpandedNodeID(0)}
}

func TestABrowseInCirclesEnds(t *testing.T) {
	s := plain(t)
	s.answer("Browse", func(ua.Response) ua.Response {
		return &ua.BrowseResponse{Results: []*ua.BrowseResult{{References: []*ua.ReferenceDescription{referenceTo(1, "a"), referenceTo(1, "b")}}}}
	})
	d := New(Options{})
	defer d.Close()
	nodes, complete, err := d.Browse(t.Context(), s.endpoint(), BrowseOptions{})
	require.NoError(t, err)
	require.True(t, complete)
	require.Equal(t, []Node{{Address: devices.NodeAddress{Namespace: plantURI, ID: "s=a"}, Path: "a", Name: "a", Class: "Object", Depth: 1},
		{Address: devices.NodeAddress{Namespace: plantURI, ID: "s=b"}, Path: "b", Name: "b", Class: "Object", Depth: 1}}, nodes)
	require.Equal(t, 3, s.count("Browse"))
}

func TestPagesWithoutAnEndAreLeft(t *testing.T) {
	s := plain(t)
	s.answer("Browse", func(ua.Response) ua.Response {
		return &ua.BrowseResponse{Results: []*ua.BrowseResult{{ContinuationPoint: []byte("more")}}}
	})
	released := false
	s.answer("BrowseNext", func(ua.Response) ua.Response {
		released = true
		return &ua.BrowseNextResponse{Results: []*ua.BrowseResult{{ContinuationPoint: []byte("more")}}}
	})
	d := New(Options{})
	defer d.Close()
	nodes, _, err := d.Browse(t.Context(), s.endpoint(), BrowseOptions{})
	require.NoError(t, err)
	require.Empty(t, nodes)
	require.True(t, released, "the server may forget the rest")
	require.Equal(t, 1, s.count("BrowseNext"))
}

func TestBrowseRefuses(t *testing.T) {
	s := plain(t)
	d := New(Options{})
	defer d.Close()
	_, _, err := d.Browse(t.Context(), s.endpoint(), BrowseOptions{From: devices.NodeAddress{ID: "x"}})
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
	s.answer("Browse", func(ua.Response) ua.Response {
		return &ua.BrowseResponse{Results: []*ua.BrowseResult{{StatusCode: ua.StatusBadNodeIDUnknown}}}
	})
	_, _, err = d.Browse(t.Context(), s.endpoint(), BrowseOptions{})
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	s.answer("Browse", func(ua.Response) ua.Response {
		return &ua.BrowseResponse{Results: []*ua.BrowseResult{{References: []*ua.ReferenceDescription{referenceTo(9, "a")}}}}
	})
	_, _, err = d.Browse(t.Context(), s.endpoint(), BrowseOptions{})
	require.ErrorContains(t, err, "a namespace that it does not tell")
}

func TestNodeIDs(t *testing.T) {
	for text, want := range map[string]string{
		"i=85": "ns=3;i=85", "s=Pump.Setpoint": "ns=3;s=Pump.Setpoint", "s=a=b;c": "ns=3;s=a=b;c",
		"g=6AF09250-F3B1-4B7A-9F43-00155D0A0B0C": "ns=3;g=6AF09250-F3B1-4B7A-9F43-00155D0A0B0C", "b=AQID": "ns=3;b=AQID",
	} {
		ref, err := parseNode("urn:x", text)
		require.NoError(t, err)
		id := ref.at(3)
		require.Equal(t, want, id.String())
		require.Equal(t, text, nodeText(id))
		// And as it comes back from a server.
		b, err := id.Encode()
		require.NoError(t, err)
		back, _, _ := (&reader{b: b}).nodeID(false)
		require.Equal(t, want, back.String())
	}
	for _, text := range []string{"", "85", "i=", "i=-1", "i=4294967296", "s=", "g=1", "b=%", "b=", "x=1", "ns=2;i=1", "nsu=urn:x;i=1"} {
		_, err := parseNode("", text)
		require.Error(t, err, text)
	}
}
