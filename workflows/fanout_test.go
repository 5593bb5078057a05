package workflows

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
	"pgregory.net/rapid"

	"edgefleet/workflows/contract"
)

// crew does the work of a fan-out by waiting, in the workflow's own time, and
// watches how much of it runs at once.
type crew struct {
	fanout
	// takes is how long a device takes.
	takes map[string]time.Duration
	now   map[string]int
	most  map[string]int
	began []string
	ended []string
	left  []contract.DeviceRef
}

func newCrew(b contract.Bounds, takes map[string]time.Duration) *crew {
	c := &crew{takes: takes, now: map[string]int{}, most: map[string]int{}}
	c.fanout = fanout{bounds: b, start: c.begin, done: c.end}
	return c
}

// counted are the bounds that a device is counted under.
func counted(d contract.DeviceRef) []string {
	return []string{"total", "site " + d.Site, "region " + d.Region}
}

func (c *crew) begin(ctx workflow.Context, d contract.DeviceRef) workflow.Future {
	c.began = append(c.began, d.ID)
	for _, key := range counted(d) {
		c.now[key]++
		c.most[key] = max(c.most[key], c.now[key])
	}
	return workflow.NewTimer(ctx, c.takes[d.ID])
}

func (c *crew) end(_ workflow.Context, d contract.DeviceRef, f workflow.Future) {
	if !f.IsReady() {
		panic("a device is done before its future")
	}
	for _, key := range counted(d) {
		c.now[key]--
	}
	c.ended = append(c.ended, d.ID)
}

// work runs the fan-out in a workflow of its own.
func (c *crew) work(t require.TestingT, prepare func(*testsuite.TestWorkflowEnvironment), devices []contract.DeviceRef) {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	if prepare != nil {
		prepare(env)
	}
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		c.left = c.run(ctx, devices)
		return nil
	})
	require.NoError(t, env.GetWorkflowError())
}

func idsOf(list []contract.DeviceRef) []string {
	out := []string{}
	for _, d := range list {
		out = append(out, d.ID)
	}
	return out
}

func TestAFanoutDoesEveryDeviceOnceWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bounds := contract.Bounds{
			PerSite:   rapid.IntRange(1, 4).Draw(t, "per site"),
			PerRegion: rapid.IntRange(1, 6).Draw(t, "per region"),
			Total:     rapid.IntRange(1, 8).Draw(t, "total"),
		}
		devices, takes := []contract.DeviceRef{}, map[string]time.Duration{}
		for n := range rapid.IntRange(0, 40).Draw(t, "devices") {
			d := contract.DeviceRef{ID: fmt.Sprintf("edge-%03d", n),
				Site:   fmt.Sprintf("s%d", rapid.IntRange(0, 5).Draw(t, "site")),
				Region: fmt.Sprintf("r%d", rapid.IntRange(0, 2).Draw(t, "region"))}
			devices = append(devices, d)
			takes[d.ID] = time.Duration(rapid.IntRange(1, 5).Draw(t, "takes")) * time.Second
		}
		c := newCrew(bounds, takes)
		c.work(t, nil, devices)
		require.Empty(t, c.left)
		require.ElementsMatch(t, idsOf(devices), c.began, "every device once")
		require.ElementsMatch(t, idsOf(devices), c.ended)
		for key, most := range c.most {
			limit := map[byte]int{'t': bounds.Total, 's': bounds.PerSite, 'r': bounds.PerRegion}[key[0]]
			require.LessOrEqual(t, most, limit, key)
			require.Zero(t, c.now[key])
		}
		// What began at a site began in the order of the list.
		for _, d := range devices {
			var site, began []string
			for _, o := range devices {
				if o.Site == d.Site {
					site = append(site, o.ID)
				}
			}
			for _, id := range c.began {
				if slices.Contains(site, id) {
					began = append(began, id)
				}
			}
			require.Equal(t, site, began)
		}
	})
}

func TestAFanoutUsesTheRoomThatItHas(t *testing.T) {
	devices, takes := []contract.DeviceRef{}, map[string]time.Duration{}
	for n := range 60 {
		id := fmt.Sprintf("edge-%03d", n)
		devices = append(devices, contract.DeviceRef{ID: id, Site: fmt.Sprint(n % 6), Region: fmt.Sprint(n % 2)})
		takes[id] = time.Second
	}
	for _, tt := range []struct {
		name   string
		bounds contract.Bounds
		most   map[string]int
	}{
		{"the total is the bound", contract.Bounds{PerSite: 4, PerRegion: 32, Total: 7}, map[string]int{"total": 7}},
		{"the sites are the bound", contract.Bounds{PerSite: 2, PerRegion: 32, Total: 64}, map[string]int{"total": 12, "site 0": 2, "region 0": 6}},
		{"the regions are the bound", contract.Bounds{PerSite: 4, PerRegion: 5, Total: 64}, map[string]int{"total": 10, "region 0": 5, "region 1": 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCrew(tt.bounds, takes)
			c.work(t, nil, devices)
			for _, key := range slices.Sorted(maps.Keys(tt.most)) {
				require.Equal(t, tt.most[key], c.most[key], key)
			}
		})
	}
}

func TestAFanoutWhoseHistoryIsLongEndsWhatRunsAndReturnsTheRest(t *testing.T) {
	for _, tt := range []struct {
		name string
		long func(*testsuite.TestWorkflowEnvironment)
	}{
		{"by its own measure", func(env *testsuite.TestWorkflowEnvironment) { env.SetCurrentHistoryLength(maxHistory + 1) }},
		{"by the server's", func(env *testsuite.TestWorkflowEnvironment) { env.SetContinueAsNewSuggested(true) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			devices, takes := []contract.DeviceRef{}, map[string]time.Duration{}
			for n := range 30 {
				id := fmt.Sprintf("edge-%03d", n)
				devices = append(devices, contract.DeviceRef{ID: id, Site: fmt.Sprint(n % 3), Region: "r"})
				takes[id] = time.Second
			}
			c := newCrew(contract.Bounds{PerSite: 2, PerRegion: 5, Total: 5}, takes)
			c.work(t, func(env *testsuite.TestWorkflowEnvironment) {
				env.RegisterDelayedCallback(func() { tt.long(env) }, 1500*time.Millisecond)
			}, devices)
			require.Len(t, c.began, 10, "two rounds, and no third")
			require.ElementsMatch(t, c.began, c.ended, "what was begun is done")
			require.ElementsMatch(t, idsOf(devices), append(idsOf(c.left), c.began...))
		})
	}
}
