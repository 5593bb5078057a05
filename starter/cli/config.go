package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"edgefleet/devices/fleetdir"
	"edgefleet/devices/profile/strictyaml"
	"edgefleet/workflows/contract"
	"edgefleet/workflows/runbook"
)

// configReport is what a baseline's file sets, or what is wrong with it.
type configReport struct {
	File     string `json:"file"`
	Valid    bool   `json:"valid"`
	Baseline string `json:"baseline,omitempty"`
	Version  string `json:"version,omitempty"`
	Profile  string `json:"profile,omitempty"`
	// Devices are those that it selects.
	Devices []string `json:"devices"`
	// Elsewhere are those among them that another baseline of the directory
	// selects, with its name.
	Elsewhere map[string]string `json:"elsewhere,omitempty"`
	Findings  []runbook.Finding `json:"findings"`
}

func (a *App) configCommand() *cli.Command {
	return &cli.Command{
		Name: "config", Usage: "check baselines",
		Subcommands: []*cli.Command{{
			Name: "validate", Usage: "check baselines against a fleet directory; exit code 2 when there is a mistake", ArgsUsage: "FILE...",
			Description: `Names, types, ranges and unknown settings are checked against the profiles, and
which devices are selected. Nothing is asked of Temporal and nothing is dialled.
The fleet directory is the one that the file stands in, below edge-configs, or
else --fleet.`,
			Flags: []cli.Flag{outputFlag(),
				againstFleetFlag(),
				&cli.StringFlag{Name: "select", Usage: "show only devices that this selects, as `class=plc,site!=substation-7`"}},
			Action: a.configValidate,
		}},
	}
}

func againstFleetFlag() cli.Flag {
	return &cli.StringFlag{Name: "fleet", EnvVars: []string{"EDGEFLEET_FLEET"}, Usage: "fleet `DIRECTORY` to check against"}
}

func (a *App) configValidate(c *cli.Context) error {
	sel, err := contract.ParseSelector(c.String("select"))
	if err != nil {
		err = usagef("--select: %w", err)
	}
	if err := firstError(someArgs(c), err, checkOutput(c)); err != nil {
		return err
	}
	reports, mistakes, err := checkBaselines(c, sel)
	if err != nil {
		return err
	}
	if err := a.show(c, reports, func(w io.Writer) { baselineTables(w, reports) }); err != nil {
		return err
	}
	return mistakes
}

// baselineTables shows one report below the other.
func baselineTables(w io.Writer, reports []*configReport) {
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(w)
		}
		r.table(w)
	}
}

// checkBaselines checks the files that are the arguments, each against its fleet
// directory. The mistakes are an error that counts them, or nil.
func checkBaselines(c *cli.Context, sel contract.Selector) (reports []*configReport, mistakes, err error) {
	loaded := map[string]*fleetdir.Fleet{}
	n := 0
	for _, file := range c.Args().Slice() {
		dir := cmp.Or(c.String("fleet"), fleetOf(file))
		report := &configReport{File: file, Devices: []string{}, Findings: []runbook.Finding{}}
		f := loaded[dir]
		if f == nil {
			var own strictyaml.Problems
			if f, own, err = fleetFor(dir, file); err != nil {
				return nil, nil, usageError{err}
			}
			report.problems(own)
			loaded[dir] = f
		}
		if f != nil {
			if err := report.check(f, sel); err != nil {
				return nil, nil, usageError{err}
			}
		}
		reports = append(reports, report)
		n += len(report.Findings)
	}
	if n > 0 {
		mistakes = usagef("%s; correct this before it is rolled out", plural(n, "mistake"))
	}
	return reports, mistakes, nil
}

// fleetOf is the fleet directory in which a baseline stands: the one above its
// edge-configs.
func fleetOf(file string) string {
	full, err := filepath.Abs(file)
	if err != nil {
		return "."
	}
	for dir := filepath.Dir(full); ; dir = filepath.Dir(dir) {
		if filepath.Base(dir) == fleetdir.ConfigsDir {
			return filepath.Dir(dir)
		}
		if dir == filepath.Dir(dir) {
			return "."
		}
	}
}

// fleetFor loads a fleet directory to check a file against. When the file is a
// part of it and broken, the directory does not load: then what is wrong in the
// file is returned instead.
func fleetFor(dir, file string) (*fleetdir.Fleet, strictyaml.Problems, error) {
	f, err := fleetdir.Load(dir)
	var problems strictyaml.Problems
	if !errors.As(err, &problems) {
		return f, nil, err
	}
	var own strictyaml.Problems
	for _, p := range problems {
		if sameFile(filepath.Join(dir, filepath.FromSlash(p.File)), file) {
			own = append(own, p)
		}
	}
	if len(own) == 0 {
		return nil, nil, fmt.Errorf("the fleet directory %s has mistakes of its own; see edgefleet fleet validate %s\n%w", dir, shellWord(dir), problems)
	}
	return nil, own, nil
}

func sameFile(x, y string) bool {
	a, errA := filepath.Abs(x)
	b, errB := filepath.Abs(y)
	return errA == nil && errB == nil && a == b
}

func (r *configReport) problems(problems strictyaml.Problems) {
	for _, p := range problems {
		r.Findings = append(r.Findings, runbook.Finding{File: r.File, Line: p.Line, Severity: runbook.SeverityError, Message: p.What, Remedy: p.Remedy})
	}
}

// check checks the file against a fleet. The error is what kept it from being
// read.
func (r *configReport) check(f *fleetdir.Fleet, sel contract.Selector) error {
	text, err := readBounded(r.File, contract.MaxBaseline)
	if err != nil {
		return err
	}
	c, err := fleetdir.LoadBaseline(f, r.File, []byte(text))
	var problems strictyaml.Problems
	if errors.As(err, &problems) {
		r.problems(problems)
		return nil
	}
	if err != nil {
		return err
	}
	r.Baseline, r.Version, r.Profile = c.Baseline.Name, c.Baseline.Version, c.Baseline.Profile.Name
	for _, d := range c.Devices {
		wire := contract.Device{ID: d.ID, Site: d.Site, Region: d.Region, Class: d.Class, Profile: d.Profile, Labels: d.Labels}
		if !sel.Matches(wire) {
			continue
		}
		r.Devices = append(r.Devices, d.ID)
		if _, err := c.Desired(d); err != nil {
			r.Findings = append(r.Findings, runbook.Finding{File: r.File, Severity: runbook.SeverityError,
				Message: d.ID + ": " + err.Error(), Remedy: "correct what the template makes of this device"})
		}
		if other := c.Others[d.ID]; other != "" {
			if r.Elsewhere == nil {
				r.Elsewhere = map[string]string{}
			}
			r.Elsewhere[d.ID] = other
		}
	}
	r.Valid = len(r.Findings) == 0
	return nil
}

func (r *configReport) table(w io.Writer) {
	if !r.Valid {
		fmt.Fprintf(w, "%s: %s\n", r.File, plural(len(r.Findings), "mistake"))
		for _, f := range r.Findings {
			fmt.Fprintln(w, oneLine(findingText(f)))
		}
		return
	}
	names := strings.Join(r.Devices[:min(len(r.Devices), 10)], ", ")
	if more := len(r.Devices) - 10; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	elsewhere := ""
	if n := len(r.Elsewhere); n > 0 {
		elsewhere = plural(n, "device") + " of them: a baseline of another name selects them in the directory, too"
	}
	fields(w, "file", r.File, "baseline", r.Baseline+" "+r.Version, "profile", r.Profile,
		"devices", fmt.Sprintf("%d: %s", len(r.Devices), dash(names)), "note", elsewhere)
}
