package opcua

import (
	"context"
	"fmt"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

// BrowseOptions says where a Browse begins and when it ends.
type BrowseOptions struct {
	// From is the node to begin at; without an ID it is the folder Objects.
	From devices.NodeAddress
	// MaxDepth is how many steps from there are followed (0: 4; at most 16).
	MaxDepth int
	// MaxNodes is how many nodes are returned (0: 1000; at most 10,000).
	MaxNodes int
}

// Node is one node that a Browse found.
type Node struct {
	// Address has the namespace's URI and no type.
	Address devices.NodeAddress
	// Path is the browse names from where the Browse began, with slashes.
	Path string
	// Name is the display name, or the browse name where there is none.
	Name string
	// Class is "Object", "Variable" or "Method".
	Class string
	// Depth is 1 for what stands directly below the beginning.
	Depth int
}

// step is a node whose references are still to be followed.
type step struct {
	node  *ua.NodeID
	path  string
	depth int
}

// Browse lists the objects, variables and methods of a server, each once, in
// the order of their depth. complete is false when a bound ended it before.
func (d *Driver) Browse(ctx context.Context, ep devices.Endpoint, o BrowseOptions) (nodes []Node, complete bool, err error) {
	if o.MaxDepth <= 0 {
		o.MaxDepth = 4
	}
	if o.MaxNodes <= 0 {
		o.MaxNodes = 1000
	}
	if o.From.ID == "" {
		o.From = devices.NodeAddress{ID: fmt.Sprintf("i=%d", id.ObjectsFolder)}
	}
	o.MaxDepth, o.MaxNodes = min(o.MaxDepth, 16), min(o.MaxNodes, 10_000)
	err = d.with(ep, func(l *link) error {
		from, err := parseNode(o.From.Namespace, o.From.ID)
		if err != nil {
			return l.fail(devices.Unsupported, "browse", err)
		}
		f := l.do(ctx, false, func(c call) *fault {
			start, f := c.resolve([]nodeRef{from})
			if f == nil {
				f = c.learnNamespaces()
			}
			if f == nil {
				nodes, complete, f = c.walk(start[0], o)
			}
			return f
		})
		if f != nil {
			return l.verdict("browse from "+from.text, false, f)
		}
		return nil
	})
	return nodes, complete, err
}

func (c call) walk(start *ua.NodeID, o BrowseOptions) (nodes []Node, complete bool, f *fault) {
	complete = true
	seen := map[string]bool{start.String(): true}
	for queue := []step{{node: start}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at.depth >= o.MaxDepth {
			complete = false
			continue
		}
		found, f := c.references(at.node, ua.BrowseDirectionForward, id.HierarchicalReferences, o.MaxNodes-len(nodes)+1)
		if f != nil {
			return nil, false, f
		}
		for _, ref := range found {
			if ref.remote || ref.uri != "" || seen[ref.id.String()] {
				continue
			}
			if len(nodes) >= o.MaxNodes {
				return nodes, false, nil
			}
			seen[ref.id.String()] = true
			n := Node{Name: clip(ref.display), Class: className(ref.class), Depth: at.depth + 1, Path: clip(ref.browse)}
			if at.path != "" {
				n.Path = at.path + "/" + n.Path
			}
			if n.Name == "" {
				n.Name = clip(ref.browse)
			}
			if index := int(ref.id.Namespace()); index < len(c.namespaces) {
				n.Address = devices.NodeAddress{Namespace: c.namespaces[index], ID: nodeText(ref.id)}
			} else {
				return nil, false, &fault{kind: devices.Rejected, err: fmt.Errorf("the server has a node %s in a namespace that it does not tell", clip(ref.id.String()))}
			}
			nodes = append(nodes, n)
			queue = append(queue, step{ref.id, n.Path, n.Depth})
		}
	}
	return nodes, complete, nil
}

func className(class ua.NodeClass) string {
	switch class {
	case ua.NodeClassVariable:
		return "Variable"
	case ua.NodeClassMethod:
		return "Method"
	}
	return "Object"
}

// references returns up to most references of a node, of the kind and its
// subtypes. It follows the server's pages, and tells the server when it stops
// before the end.
func (c call) references(node *ua.NodeID, direction ua.BrowseDirection, kind uint32, most int) ([]reference, *fault) {
	mask := uint32(ua.NodeClassObject | ua.NodeClassVariable | ua.NodeClassMethod)
	if kind == id.HasSubtype {
		mask = uint32(ua.NodeClassDataType)
	}
	var request ua.Request = &ua.BrowseRequest{
		View:                          &ua.ViewDescription{ViewID: ua.NewTwoByteNodeID(0)},
		RequestedMaxReferencesPerNode: uint32(min(most, 1000)),
		NodesToBrowse: []*ua.BrowseDescription{{NodeID: node, BrowseDirection: direction, ReferenceTypeID: ua.NewNumericNodeID(0, kind),
			IncludeSubtypes: true, NodeClassMask: mask, ResultMask: uint32(ua.BrowseResultMaskAll)}},
	}
	var all []reference
	for {
		var pages []browsed
		if f := c.query(c.ctx, c.timeout, request, func(r *reader) { pages = r.browsed(1) }); f != nil {
			return nil, f
		}
		page := pages[0]
		if bad(page.status) {
			err := &refused{status: page.status}
			return nil, &fault{kind: statusKind(page.status, false), status: page.status, err: fmt.Errorf("%s: %w", clip(nodeText(node)), err)}
		}
		all = append(all, page.references...)
		if len(page.point) == 0 {
			return all[:min(len(all), most)], nil
		}
		// A page without content and with more to come has no end.
		enough := len(all) >= most || len(page.references) == 0
		next := &ua.BrowseNextRequest{ReleaseContinuationPoints: enough, ContinuationPoints: [][]byte{page.point}}
		if enough {
			f := c.query(c.ctx, c.timeout, next, func(r *reader) { r.count(1) })
			return all[:min(len(all), most)], f
		}
		request = next
	}
}
