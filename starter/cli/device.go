package cli

import (
	"fmt"
	"io"
	"strconv"

	"github.com/urfave/cli/v2"

	"edgefleet/workflows/contract"
)

func (a *App) deviceCommand() *cli.Command {
	return &cli.Command{
		Name:  "device",
		Usage: "look at devices",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list the declared devices with their last known state", Action: a.deviceList,
				Flags: []cli.Flag{outputFlag(),
					&cli.StringFlag{Name: "site", Usage: "only this site"},
					&cli.StringFlag{Name: "region", Usage: "only this region"}}},
			{Name: "show", Usage: "show one device with its incidents and its last changes", ArgsUsage: "ID",
				Flags: []cli.Flag{outputFlag()}, Action: a.deviceShow},
			{Name: "probe", Usage: "probe a device now; exit code 1 when it is unreachable", ArgsUsage: "ID",
				Flags: []cli.Flag{outputFlag()}, Action: a.deviceProbe},
			{Name: "drift", Usage: "compare a device with its baseline now; exit code 1 when it drifted", ArgsUsage: "ID",
				Flags: []cli.Flag{outputFlag()}, Action: a.deviceDrift},
		},
	}
}

func (a *App) deviceList(c *cli.Context) error {
	if err := firstError(noArgs(c), checkOutput(c)); err != nil {
		return err
	}
	out, err := a.ask(c, contract.InspectInput{Question: contract.AskDeviceList,
		Device: &contract.DeviceQuery{Site: c.String("site"), Region: c.String("region")}})
	if err != nil {
		return err
	}
	return a.show(c, nonNil(out.Devices), func(w io.Writer) {
		rows := make([][]string, 0, len(out.Devices))
		for _, d := range out.Devices {
			rows = append(rows, []string{d.ID, d.Site, d.Region, d.Class, d.Profile, d.State, stampPtr(d.CheckedAt), dash(d.LeasedBy)})
		}
		table(w, "ID|SITE|REGION|CLASS|PROFILE|STATE|CHECKED (UTC)|LEASED BY", rows)
	})
}

// deviceQuestion asks a question about the one device that the command names.
func (a *App) deviceQuestion(c *cli.Context, question string) (contract.InspectResult, error) {
	id, err := oneArg(c, "device ID")
	if err == nil {
		err = checkOutput(c)
	}
	if err != nil {
		return contract.InspectResult{}, err
	}
	if err := contract.ValidDeviceID(id); err != nil {
		return contract.InspectResult{}, usageError{err}
	}
	return a.ask(c, contract.InspectInput{Question: question, Device: &contract.DeviceQuery{ID: id}})
}

func (a *App) deviceShow(c *cli.Context) error {
	out, err := a.deviceQuestion(c, contract.AskDeviceShow)
	if err != nil {
		return err
	}
	d := out.Device
	return a.show(c, d, func(w io.Writer) {
		fields(w, "device", d.ID, "site", d.Site, "region", d.Region, "class", d.Class, "profile", d.Profile,
			"address", d.Address, "baseline", d.Baseline, "network reset", d.NetworkReset,
			"state", d.State, "checked (UTC)", stampPtr(d.CheckedAt), "detail", d.Detail, "leased by", d.LeasedBy)
		if len(d.Incidents) > 0 {
			fmt.Fprintln(w)
			incidentTable(w, d.Incidents)
		}
		if len(d.Ledger) > 0 {
			fmt.Fprintln(w)
			ledgerTable(w, d.Ledger)
		}
	})
}

func (a *App) deviceProbe(c *cli.Context) error {
	out, err := a.deviceQuestion(c, contract.AskDeviceProbe)
	if err != nil {
		return err
	}
	n := out.Network
	if err := a.show(c, n, func(w io.Writer) {
		fmt.Fprintln(w, oneLine(n.Diagnosis))
		fmt.Fprintln(w)
		rows := make([][]string, 0, len(n.Verdicts))
		for _, v := range n.Verdicts {
			rows = append(rows, []string{v.Check, v.Result, v.Duration.Round(10e3).String(), v.Detail})
		}
		table(w, "CHECK|RESULT|TOOK|DETAIL", rows)
	}); err != nil {
		return err
	}
	if !n.Reachable {
		return errQuiet
	}
	return nil
}

func (a *App) deviceDrift(c *cli.Context) error {
	out, err := a.deviceQuestion(c, contract.AskDeviceDrift)
	if err != nil {
		return err
	}
	d := out.Drift
	if err := a.show(c, d, func(w io.Writer) { driftTable(w, d) }); err != nil {
		return err
	}
	if len(d.Drifted) > 0 {
		return errQuiet
	}
	return nil
}

func driftTable(w io.Writer, d *contract.DriftReport) {
	switch {
	case d.Baseline == "":
		fmt.Fprintf(w, "%s: no baseline selects this device, so there is nothing to compare\n", d.DeviceID)
	case len(d.Drifted) == 0:
		fmt.Fprintf(w, "%s: in sync with %s %s (%d settings read)\n", d.DeviceID, d.Baseline, d.Version, d.Checked)
	default:
		fmt.Fprintf(w, "%s: %d of %d settings differ from %s %s\n\n", d.DeviceID, len(d.Drifted), d.Checked, d.Baseline, d.Version)
		rows := make([][]string, 0, len(d.Drifted))
		for _, s := range d.Drifted {
			rows = append(rows, []string{s.Setting, s.Want, s.Got, s.Unit})
		}
		table(w, "SETTING|WANT|GOT|UNIT", rows)
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// nonNil keeps an empty list from being "null" in JSON.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
