package runbook

import (
	"fmt"
	"strings"
)

// String draws the tree with line numbers, one node per line:
//
//	handle_device_offline("edge-001"), 4 paths
//	├─ line 4: check network
//	│  ├─ reachable
//	│  │  └─ line 8: detect drift
func (t *Tree) String() string {
	var b strings.Builder
	paths := "paths"
	if t.Paths == 1 {
		paths = "path"
	}
	fmt.Fprintf(&b, "%s(%q), %d %s", t.Function, t.DeviceID, t.Paths, paths)
	if t.Cut {
		b.WriteString(" shown, there are more")
	}
	b.WriteByte('\n')
	drawNodes(&b, t.Nodes, "")
	return b.String()
}

func drawNodes(b *strings.Builder, nodes []*Node, indent string) {
	for i, n := range nodes {
		line, below := branchLines(i == len(nodes)-1)
		b.WriteString(indent + line)
		if n.Line > 0 {
			fmt.Fprintf(b, "line %d: ", n.Line)
		}
		b.WriteString(n.Text)
		switch n.Kind {
		case "change":
			b.WriteString(" (changes the device)")
		case "step":
			b.WriteString(" (step)")
		}
		b.WriteByte('\n')
		for j, branch := range n.Branches {
			line, deeper := branchLines(j == len(n.Branches)-1)
			b.WriteString(indent + below + line + branch.Answer + "\n")
			drawNodes(b, branch.Nodes, indent+below+deeper)
		}
	}
}

func branchLines(last bool) (line, below string) {
	if last {
		return "└─ ", "   "
	}
	return "├─ ", "│  "
}
