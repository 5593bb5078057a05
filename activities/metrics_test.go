package activities

import (
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
)

// metric returns the value of a counter whose labels have these values, in
// whatever order; 0 when there is none.
func (p *plant) metric(name string, values ...string) float64 {
	p.t.Helper()
	families, err := p.registry.Gather()
	require.NoError(p.t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if sameValues(m.GetLabel(), values) {
				if h := m.GetHistogram(); h != nil {
					return float64(h.GetSampleCount())
				}
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func sameValues(labels []*dto.LabelPair, values []string) bool {
	have := make([]string, 0, len(labels))
	for _, l := range labels {
		have = append(have, l.GetValue())
	}
	slices.Sort(have)
	return slices.Equal(have, slices.Sorted(slices.Values(values)))
}
