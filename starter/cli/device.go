package cli

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"edgefleet/workflows/contract"
)

func (a *App) deviceCommand() *cli.Command {
	return &cli.Command{
		Name:  "device",
		Usage: "look at devices",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list the declared devices with their last known state", Action: a.deviceList,
				Flags: []cli.Flag{outputFlag(), timeoutFlag(),
					&cli.StringFlag{Name: "site", Usage: "only this `SITE`"},
					&cli.StringFlag{Name: "region", Usage: "only this `REGION`"}}},
			{Name: "show", Usage: "show one device with its incidents and its last changes", ArgsUsage: "ID",
				Flags: []cli.Flag{outputFlag(), timeoutFlag()}, Action: a.deviceShow},
			{Name: "probe", Usage: "probe a device now; exit code 1 when it is unreachable", ArgsUsage: "ID",
				Flags: []cli.Flag{outputFlag(), timeoutFlag()}, Action: a.deviceProbe},
			{Name: "drift", Usage: "compare a device with its baseline now; exit code 1 when it drifted", ArgsUsage: "ID",
				Flags: []cli.Flag{outputFlag(), timeoutFlag()}, Action: a.deviceDrift},
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
		a.list(w, "no device is declared, or none matches", "ID|SITE|REGION|CLASS|PROFILE|STATE|CHECKED (UTC)|LEASED BY", rows)
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
			a.incidentTable(w, d.Incidents)
		}
		if len(d.Ledger) > 0 {
			fmt.Fprintln(w)
			a.ledgerTable(w, d.Ledger)
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
			rows = append(rows, []string{v.Check, v.Result, v.Duration.Round(10 * time.Microsecond).String(), v.Detail})
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
	if err := a.show(c, d, func(w io.Writer) { a.driftDiff(w, d) }); err != nil {
		return err
	}
	if len(d.Drifted) > 0 {
		return errQuiet
	}
	return nil
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
