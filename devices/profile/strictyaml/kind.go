package strictyaml

import "go.yaml.in/yaml/v3"

// Kind says which form the value has: Mapping, List or Scalar. An empty value
// is a Scalar.
func (n Node) Kind() Kind {
	switch n.n.Kind {
	case yaml.MappingNode:
		return Mapping
	case yaml.SequenceNode:
		return List
	}
	return Scalar
}
