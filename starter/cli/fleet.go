package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"edgefleet/devices/fleetdir"
	"edgefleet/devices/inventory"
	"edgefleet/devices/profile/strictyaml"
	"edgefleet/internal/routes"
	"edgefleet/workflows/runbook"
)

func (a *App) fleetCommand() *cli.Command {
	return &cli.Command{
		Name: "fleet", Usage: "check, compare and apply what a fleet directory declares",
		Subcommands: []*cli.Command{a.validateCommand(), a.diffCommand(), a.applyCommand(), a.schemaCommand()},
	}
}

// fleetReport is what a fleet directory declares, or what is wrong with it.
type fleetReport struct {
	Directory string `json:"directory"`
	Valid     bool   `json:"valid"`
	Fleet     string `json:"fleet,omitempty"`
	Revision  string `json:"revision,omitempty"`
	Commit    string `json:"commit,omitempty"`
	Devices   int    `json:"devices"`
	// Devices by the name of their region, site, class and profile.
	Regions  map[string]int `json:"regions,omitempty"`
	Sites    map[string]int `json:"sites,omitempty"`
	Classes  map[string]int `json:"classes,omitempty"`
	Profiles map[string]int `json:"profiles,omitempty"`

	Baselines       []baselineReport `json:"baselines,omitempty"`
	WithoutBaseline []string         `json:"without_baseline,omitempty"`
	// WithoutFingerprint are devices that could prove who they are, and of
	// which nothing is stated to compare that with.
	WithoutFingerprint []string `json:"without_fingerprint,omitempty"`
	// Runbooks are those that were linted.
	Runbooks []string `json:"runbooks,omitempty"`
	// Routes counts those of routes.yaml, where the directory has one.
	Routes int `json:"routes,omitempty"`
	// Findings are mistakes, of severity error, and what else lint says of
	// runbooks.
	Findings []runbook.Finding `json:"findings"`
}

type baselineReport struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Profile string `json:"profile"`
	File    string `json:"file"`
	Devices int    `json:"devices"`
}

func (a *App) validateCommand() *cli.Command {
	return &cli.Command{
		Name: "validate", Usage: "check a fleet directory, its runbooks and its routes as a whole; exit code 2 when there is a mistake", ArgsUsage: "[DIR]",
		Description: "DIR is the fleet directory, and \".\" when it is left out. Nothing is asked of Temporal and nothing is dialled.",
		Flags:       []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			if c.Args().Len() > 1 {
				return usagef("%s: want at most one DIR, got %d", commandName(c), c.Args().Len())
			}
			if err := checkOutput(c); err != nil {
				return err
			}
			report, err := validate(cmp.Or(c.Args().First(), "."))
			if err != nil {
				return usageError{err}
			}
			if err := a.show(c, report, report.table); err != nil {
				return err
			}
			if !report.Valid {
				return usagef("%s; correct this before a worker gets the directory", plural(report.mistakes(), "mistake"))
			}
			return nil
		},
	}
}

// validate reads a fleet directory. What is wrong in its files stands in the
// report; the error is what kept them from being read.
func validate(dir string) (*fleetReport, error) {
	r := &fleetReport{Directory: dir, Findings: []runbook.Finding{}}
	var runbooks fleetdir.Runbooks
	loaded, err := fleetdir.Load(dir)
	var problems strictyaml.Problems
	switch {
	case err == nil:
		runbooks = loaded.Runbooks
		r.count(loaded)
	case errors.As(err, &problems):
		r.problems(problems)
		// What is wrong with the folder as a whole is among the problems.
		runbooks, _ = fleetdir.LoadRunbooks(dir)
	default:
		return nil, err
	}
	called, err := r.routes(runbooks)
	if err != nil {
		return nil, err
	}
	r.lint(runbooks, called)
	r.Valid = !hasErrors(r.Findings)
	return r, nil
}

func (r *fleetReport) count(f *fleetdir.Fleet) {
	r.Fleet, r.Revision, r.Commit = f.Inventory.Name, f.Revision(), fleetdir.Commit(f.Dir)
	r.Devices = len(f.Inventory.Devices)
	r.Regions, r.Sites, r.Classes, r.Profiles = map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	for region := range f.Inventory.Regions {
		r.Regions[region] = 0
	}
	selected := map[string]int{}
	for _, d := range f.Inventory.Devices {
		r.add(d)
		if desired, ok := f.Baseline(d); ok {
			selected[desired.Baseline]++
		} else {
			r.WithoutBaseline = append(r.WithoutBaseline, d.ID)
		}
		if d.Proves() && len(d.Fingerprints()) == 0 {
			r.WithoutFingerprint = append(r.WithoutFingerprint, d.ID)
		}
	}
	for _, b := range f.Baselines.Baselines {
		r.Baselines = append(r.Baselines, baselineReport{Name: b.Name, Version: b.Version, Profile: b.Profile.Name, File: b.File, Devices: selected[b.Name]})
	}
}

func (r *fleetReport) add(d inventory.Device) {
	r.Regions[d.Region]++
	r.Sites[d.Site]++
	r.Classes[d.Class]++
	r.Profiles[d.Profile]++
}

func (r *fleetReport) problems(problems strictyaml.Problems) {
	for _, p := range problems {
		r.Findings = append(r.Findings, runbook.Finding{File: r.file(p.File), Line: p.Line, Severity: runbook.SeverityError, Message: p.What, Remedy: p.Remedy})
	}
}

const (
	// routesFile may stand beside the fleet file; the bridge is given it.
	routesFile = "routes.yaml"
	// maxRoutes bounds it, in bytes.
	maxRoutes = 1 << 20
)

// routes checks the routes file, if there is one, and returns the functions
// that it calls of each runbook.
func (r *fleetReport) routes(runbooks fleetdir.Runbooks) (map[string][]string, error) {
	file := r.file(routesFile)
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxRoutes:
		return nil, fmt.Errorf("%s: want a regular file of at most %d bytes", file, maxRoutes)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list, err := routes.Parse(file, data)
	var mistakes routes.Mistakes
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			r.Findings = append(r.Findings, runbook.Finding{File: m.File, Line: m.Line, Col: m.Column, Severity: runbook.SeverityError, Message: m.Text})
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	called := map[string][]string{}
	for _, route := range list {
		if _, known := runbooks[route.Runbook]; !known {
			r.Findings = append(r.Findings, runbook.Finding{File: file, Line: route.Line, Severity: runbook.SeverityError,
				Message: fmt.Sprintf("the route names the runbook %s, which is not in %s", route.Runbook, fleetdir.RunbooksDir), Remedy: "add it, or correct the name"})
		}
		called[route.Runbook] = append(called[route.Runbook], route.Function)
	}
	r.Routes = len(list)
	return called, nil
}

// lint checks what a route could name, and that the functions exist that are
// called. Tests of runbooks load them, and are run by "runbook test".
func (r *fleetReport) lint(runbooks fleetdir.Runbooks, called map[string][]string) {
	for _, name := range runbooks.Paths() {
		if path.Ext(name) != ".py" && called[name] == nil || strings.HasSuffix(name, "_test.py") {
			continue
		}
		file := r.file(path.Join(fleetdir.RunbooksDir, name))
		source, err := runbooks.Source(name)
		if err != nil {
			r.Findings = append(r.Findings, runbook.Finding{File: file, Severity: runbook.SeverityError, Message: err.Error()})
			continue
		}
		r.Findings = append(r.Findings, runbook.Lint(file, source, called[name]...)...)
		r.Runbooks = append(r.Runbooks, name)
	}
}

// file is a file of the directory as the reader can open it from here.
func (r *fleetReport) file(name string) string {
	return filepath.Join(r.Directory, filepath.FromSlash(name))
}

func (r *fleetReport) mistakes() int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == runbook.SeverityError {
			n++
		}
	}
	return n
}

// findingText is "file:line:col: severity: message; remedy", without what is
// not known of the place.
func findingText(f runbook.Finding) string {
	place := f.File
	if f.Line > 0 {
		place += ":" + strconv.Itoa(f.Line)
	}
	if f.Col > 0 {
		place += ":" + strconv.Itoa(f.Col)
	}
	text := fmt.Sprintf("%s: %s: %s", place, f.Severity, f.Message)
	if f.Remedy != "" {
		text += "; " + f.Remedy
	}
	return oneLine(text)
}

// shownWithout bounds the devices without something that the table names.
const shownWithout = 10

func firstOf(devices []string) string {
	text := strings.Join(devices[:min(shownWithout, len(devices))], ", ")
	if more := len(devices) - shownWithout; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (r *fleetReport) table(w io.Writer) {
	for _, f := range r.Findings {
		fmt.Fprintln(w, findingText(f))
	}
	if r.Revision == "" {
		return
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(w)
	}
	routesText := ""
	if r.Routes > 0 {
		routesText = fmt.Sprintf("%d, in %s", r.Routes, routesFile)
	}
	fields(w, "fleet", r.Fleet, "revision", r.Revision, "commit", r.Commit, "devices", strconv.Itoa(r.Devices),
		"without baseline", firstOf(r.WithoutBaseline), "without fingerprint", firstOf(r.WithoutFingerprint), "runbooks", strings.Join(r.Runbooks, ", "), "routes", routesText)
	fmt.Fprintln(w)
	var rows [][]string
	for _, by := range []struct {
		what   string
		counts map[string]int
	}{{"region", r.Regions}, {"site", r.Sites}, {"class", r.Classes}, {"profile", r.Profiles}} {
		for _, name := range slices.Sorted(maps.Keys(by.counts)) {
			rows = append(rows, []string{by.what, name, strconv.Itoa(by.counts[name])})
		}
	}
	table(w, "BY|NAME|DEVICES", rows)
	if len(r.Baselines) == 0 {
		return
	}
	fmt.Fprintln(w)
	rows = nil
	for _, b := range r.Baselines {
		rows = append(rows, []string{b.Name, b.Version, b.Profile, strconv.Itoa(b.Devices)})
	}
	table(w, "BASELINE|VERSION|PROFILE|DEVICES", rows)
}
