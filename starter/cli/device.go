package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
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
			{Name: "fingerprint", Usage: "ask a device what it shows to be known by; exit code 1 when that is not what is known of it", ArgsUsage: "ID",
				Flags: []cli.Flag{outputFlag(), timeoutFlag()}, Action: a.deviceFingerprint},
		},
	}
}

func (a *App) deviceList(c *cli.Context) error {
	if err := firstError(noArgs(c), checkOutput(c)); err != nil {
		return err
	}
	devices, err := a.devices(c, contract.DeviceQuery{Site: c.String("site"), Region: c.String("region")})
	if err != nil {
		return err
	}
	return a.show(c, devices, func(w io.Writer) {
		rows := make([][]string, 0, len(devices))
		for _, d := range devices {
			rows = append(rows, []string{d.ID, d.Site, d.Region, d.Class, d.Profile, d.State, stampPtr(d.CheckedAt), dash(d.LeasedBy)})
		}
		a.list(w, "no device is declared, or none matches", "ID|SITE|REGION|CLASS|PROFILE|STATE|CHECKED (UTC)|LEASED BY", rows)
	})
}

// devices asks for a list until there is no more of it.
func (a *App) devices(c *cli.Context, q contract.DeviceQuery) ([]contract.DeviceStatus, error) {
	return askAll(a, c, func(after string) contract.InspectInput {
		query := q
		query.After = after
		return contract.InspectInput{Question: contract.AskDeviceList, Device: &query}
	}, func(out contract.InspectResult) (page []contract.DeviceStatus, next string) {
		page = out.Devices
		if n := len(page); n > 0 && page[n-1].More {
			page[n-1].More, next = false, page[n-1].ID
		}
		return page, next
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
			"protocol", d.Protocol, "security", d.Security, "address", d.Address, "credentials", d.Credentials,
			"declared fingerprint", strings.Join(d.Fingerprints, ", "), "pinned fingerprint", strings.Join(strings.Fields(d.Pin), ", "),
			"registry", d.Registry, "serial number", d.Serial, "firmware", d.Firmware, "baseline", d.Baseline, "network reset", d.NetworkReset,
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

func (a *App) deviceFingerprint(c *cli.Context) error {
	out, err := a.deviceQuestion(c, contract.AskDeviceFingerprint)
	if err != nil {
		return err
	}
	f := out.Fingerprint
	f.Shown = nonNil(f.Shown)
	if err := a.show(c, f, func(w io.Writer) { fingerprintText(w, f) }); err != nil {
		return err
	}
	if f.Verdict == contract.FingerprintDiffers {
		return errQuiet
	}
	return nil
}

func fingerprintText(w io.Writer, f *contract.FingerprintReport) {
	fmt.Fprintf(w, "%s shows over %s at %s\n", oneLine(f.DeviceID), oneLine(f.Protocol), oneLine(f.Address))
	for _, s := range f.Shown {
		fmt.Fprintf(w, "  %s\n", oneLine(s))
	}
	for _, known := range []struct {
		what string
		list []string
	}{{"the fleet file states", f.Declared}, {"pinned at its onboarding", f.Pinned}} {
		if len(known.list) > 0 {
			fmt.Fprintln(w, known.what)
			for _, s := range known.list {
				fmt.Fprintf(w, "  %s\n", oneLine(s))
			}
		}
	}
	const own = "compare it with what the device says on its own console"
	switch f.Verdict {
	case contract.FingerprintDeclared:
		fmt.Fprintln(w, "It is what the fleet file states.")
	case contract.FingerprintPinned:
		fmt.Fprintln(w, "It is what the device was onboarded with.")
	case contract.FingerprintDiffers:
		fmt.Fprintf(w, "It is NOT what is known of this device: somebody may be in between, or the device or its key was exchanged.\nFind out why; %s, and only if they agree state it in the fleet file:\n  %s\n", own, oneLine(f.State))
	case contract.FingerprintNotCompared:
		fmt.Fprintf(w, "The fleet file states a SHA-1 thumbprint, which cannot be compared with this one; %s, and state it:\n  %s\n", own, oneLine(f.State))
	default:
		fmt.Fprintf(w, "Nothing is known of this device yet, and what it shows proves nothing; %s, and state it in the fleet file:\n  %s\n", own, oneLine(f.State))
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
