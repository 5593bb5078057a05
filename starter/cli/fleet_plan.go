package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"edgefleet/devices/fleetdir"
	"edgefleet/devices/profile/strictyaml"
	"edgefleet/workflows/contract"
)

// fleetPlan is what a fleet directory declares beside what the registry has.
type fleetPlan struct {
	Directory string `json:"directory"`
	Fleet     string `json:"fleet"`
	Revision  string `json:"revision"`
	Commit    string `json:"commit,omitempty"`
	// WorkerRevision and WorkerCommit are what the worker runs.
	WorkerRevision string `json:"worker_revision"`
	WorkerCommit   string `json:"worker_commit,omitempty"`

	// Added are declared and were never onboarded, or were decommissioned.
	Added []plannedDevice `json:"added"`
	// Changed are onboarded with another declaration.
	Changed []plannedDevice `json:"changed"`
	// Failed are declared, and their last onboarding failed.
	Failed []plannedDevice `json:"failed"`
	// Removed are in service and no longer declared.
	Removed   []plannedDevice `json:"removed"`
	Unchanged int             `json:"unchanged"`
}

// plannedDevice is a device with what is known of it on both sides.
type plannedDevice struct {
	DeviceID   string                     `json:"device_id"`
	Declared   *declaredDevice            `json:"declared,omitempty"`
	Registered *contract.RegisteredDevice `json:"registered,omitempty"`
}

// declaredDevice is as much of a declaration as the registry has, too.
type declaredDevice struct {
	DeclaredHash    string `json:"declared_hash"`
	Site            string `json:"site"`
	Region          string `json:"region"`
	Profile         string `json:"profile"`
	Baseline        string `json:"baseline,omitempty"`
	BaselineVersion string `json:"baseline_version,omitempty"`
}

func (a *App) diffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "compare a fleet directory with the devices in service", ArgsUsage: "[DIR]",
		Description: `DIR is the fleet directory, and "." when it is left out; it is read here. "+" is
declared and was never onboarded, "~" is onboarded with another declaration,
"!" failed to be onboarded, "-" is in service and no longer declared.`,
		Flags: []cli.Flag{outputFlag(), timeoutFlag()},
		Action: func(c *cli.Context) error {
			declared, dir, err := fleetArgument(c)
			if err != nil {
				return err
			}
			t, err := a.dial(c)
			if err != nil {
				return err
			}
			defer t.Close()
			plan, err := a.plan(c, t, dir, declared)
			if err != nil {
				return err
			}
			return a.show(c, plan, func(w io.Writer) { a.planTable(w, plan) })
		},
	}
}

// fleetArgument loads the directory that the command names, before anybody is
// asked.
func fleetArgument(c *cli.Context) (*fleetdir.Fleet, string, error) {
	if c.Args().Len() > 1 {
		return nil, "", usagef("%s: want at most one DIR, got %d", commandName(c), c.Args().Len())
	}
	if err := firstError(checkOutput(c), checkTimeout(c)); err != nil {
		return nil, "", err
	}
	dir := cmp.Or(c.Args().First(), ".")
	declared, err := fleetdir.Load(dir)
	var problems strictyaml.Problems
	if errors.As(err, &problems) {
		report := fleetReport{Directory: dir}
		report.problems(problems)
		lines := make([]string, 0, len(problems)+1)
		lines = append(lines, fmt.Sprintf("%s in the fleet directory; see also edgefleet fleet validate %s", plural(len(problems), "mistake"), shellWord(dir)))
		for _, f := range report.Findings {
			lines = append(lines, findingText(f))
		}
		return nil, "", usagef("%s", strings.Join(lines, "\n"))
	}
	if err != nil {
		return nil, "", usageError{err}
	}
	return declared, dir, nil
}

// plan compares what is declared with the whole registry.
func (a *App) plan(c *cli.Context, t Temporal, dir string, declared *fleetdir.Fleet) (*fleetPlan, error) {
	p := &fleetPlan{Directory: dir, Fleet: declared.Inventory.Name, Revision: declared.Revision(), Commit: fleetdir.Commit(declared.Dir),
		Added: []plannedDevice{}, Changed: []plannedDevice{}, Failed: []plannedDevice{}, Removed: []plannedDevice{}}
	known := map[string]*contract.RegisteredDevice{}
	for q := (contract.RegistryQuery{}); ; {
		query := q
		out, err := a.askOver(c.Context, t, contract.InspectInput{Question: contract.AskRegistryList, Registry: &query}, c.Duration(flagTimeout))
		if err != nil {
			return nil, err
		}
		page := out.Registry
		for i, r := range page.Devices {
			known[r.DeviceID] = &page.Devices[i]
			if _, ok := declared.Inventory.Device(r.DeviceID); !ok && r.State != contract.RegistryDecommissioned {
				p.Removed = append(p.Removed, plannedDevice{DeviceID: r.DeviceID, Registered: &page.Devices[i]})
			}
		}
		p.WorkerRevision, p.WorkerCommit = page.Revision, page.Commit
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	for _, d := range declared.Inventory.Devices {
		want := declaredDevice{DeclaredHash: declared.DeclaredHash(d), Site: d.Site, Region: d.Region, Profile: d.Profile}
		if desired, ok := declared.Baseline(d); ok {
			want.Baseline, want.BaselineVersion = desired.Baseline, desired.Version
		}
		p.sort(plannedDevice{DeviceID: d.ID, Declared: &want, Registered: known[d.ID]})
	}
	return p, nil
}

// sort puts a declared device where it belongs.
func (p *fleetPlan) sort(d plannedDevice) {
	r := d.Registered
	switch {
	case r == nil || r.State == contract.RegistryDecommissioned:
		p.Added = append(p.Added, d)
	case r.State == contract.RegistryFailed:
		p.Failed = append(p.Failed, d)
	case r.OnboardedAt == nil:
		p.Added = append(p.Added, d)
	case r.State != contract.RegistryOnboarded || r.DeclaredHash != d.Declared.DeclaredHash:
		p.Changed = append(p.Changed, d)
	default:
		p.Unchanged++
	}
}

// otherRevision says that the worker does not run what was compared.
func (p *fleetPlan) otherRevision() bool { return p.Revision != p.WorkerRevision }

func (p *fleetPlan) empty() bool {
	return len(p.Added)+len(p.Changed)+len(p.Failed)+len(p.Removed) == 0
}

// planTable shows a plan as a diff.
func (a *App) planTable(w io.Writer, p *fleetPlan) {
	workerRevision, workerCommit := "", ""
	if p.otherRevision() {
		workerRevision, workerCommit = p.WorkerRevision, p.WorkerCommit
	}
	fields(w, "fleet", p.Fleet, "revision", p.Revision, "commit", p.Commit, "worker's revision", workerRevision, "worker's commit", workerCommit)
	if p.otherRevision() {
		fmt.Fprintln(w, "The worker runs another revision than this directory; fleet apply needs the same.")
	}
	fmt.Fprintln(w)
	if !p.empty() {
		for _, line := range p.lines() {
			a.colour(w, map[byte]string{'+': green, '-': red}[line[0]], line)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%d to add, %d to change, %d failed, %d to remove, %d unchanged\n",
		len(p.Added), len(p.Changed), len(p.Failed), len(p.Removed), p.Unchanged)
}

// lines returns an aligned line for each device that is not as declared.
func (p *fleetPlan) lines() []string {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, group := range []struct {
		sign    string
		devices []plannedDevice
	}{{"+", p.Added}, {"~", p.Changed}, {"!", p.Failed}, {"-", p.Removed}} {
		for _, d := range group.devices {
			cells := append([]string{group.sign + " " + d.DeviceID}, append(d.facts(), d.history())...)
			for i := range cells {
				cells[i] = oneLine(cells[i])
			}
			fmt.Fprintln(tw, strings.Join(cells, "\t"))
		}
	}
	_ = tw.Flush()
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// facts are site, region, profile and baseline: as they are to be, and as they
// were where that differs.
func (d plannedDevice) facts() []string {
	var was, want [4]string
	if r := d.Registered; r != nil {
		was = [4]string{r.Site, r.Region, r.Profile, dash(strings.TrimSpace(r.Baseline + " " + r.BaselineVersion))}
	}
	want = was
	if n := d.Declared; n != nil {
		want = [4]string{n.Site, n.Region, n.Profile, dash(strings.TrimSpace(n.Baseline + " " + n.BaselineVersion))}
	}
	out := make([]string, len(want))
	for i := range want {
		if out[i] = dash(want[i]); was[i] != want[i] && was[i] != "" && d.Registered.OnboardedAt != nil {
			out[i] = was[i] + " -> " + want[i]
		}
	}
	return out
}

// history is what became of a device so far.
func (d plannedDevice) history() string {
	r := d.Registered
	switch {
	case r == nil:
		return "never onboarded"
	case r.State == contract.RegistryOnboarded:
		return "onboarded " + stampPtr(r.OnboardedAt)
	case r.State == contract.RegistryFailed:
		return "failed " + stamp(r.ChangedAt) + ": " + firstLine(r.Detail)
	}
	return r.State + " " + stamp(r.ChangedAt)
}
