package cli

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"edgefleet/devices/credentials"
	"edgefleet/devices/fleetdir"
)

func (a *App) credentialsCommand() *cli.Command {
	dir := func() cli.Flag {
		return &cli.StringFlag{Name: "credentials", Value: "credentials", EnvVars: []string{"EDGEFLEET_CREDENTIALS"}, Usage: "the worker's `FOLDER` of credentials"}
	}
	return &cli.Command{
		Name: "credentials", Usage: "make and check what a worker logs in with; nothing leaves this machine",
		Subcommands: []*cli.Command{
			{Name: "opcua", Usage: "make a certificate and key for OPC UA servers, for two years", ArgsUsage: "NAME",
				Flags:  []cli.Flag{dir(), &cli.StringFlag{Name: "uri", Usage: "the worker's application `URI`, as urn:plant-7:edgefleet:worker; no two applications that a server knows have the same"}},
				Action: a.newOPCUA},
			{Name: "check", Usage: "say what is missing for the devices of a fleet directory", ArgsUsage: "[DIR]",
				Flags: []cli.Flag{outputFlag(), dir()}, Action: a.checkCredentials},
		},
	}
}

func (a *App) newOPCUA(c *cli.Context) error {
	name, err := oneArg(c, "name of the credentials")
	if err != nil {
		return err
	}
	if c.String("uri") == "" {
		return usagef("credentials opcua: give the application URI, for example --uri urn:plant-7:edgefleet:worker")
	}
	if err := credentials.NewOPCUA(c.String("credentials"), name, c.String("uri")); err != nil {
		return usageError{err}
	}
	place := filepath.Join(c.String("credentials"), name)
	fmt.Fprintf(a.opts.Err, "made %s and tls.key; let the servers trust the certificate, and put username and password beside it where they want them\n", filepath.Join(place, "tls.crt"))
	fmt.Fprintln(a.opts.Out, filepath.Join(place, "tls.crt"))
	return nil
}

// credentialsFinding is a device that a worker could not log in to.
type credentialsFinding struct {
	Device      string `json:"device"`
	Credentials string `json:"credentials"`
	Problem     string `json:"problem"`
}

func (a *App) checkCredentials(c *cli.Context) error {
	dir := "."
	if c.Args().Present() {
		var err error
		if dir, err = oneArg(c, "fleet directory"); err != nil {
			return err
		}
	}
	if err := checkOutput(c); err != nil {
		return err
	}
	fleet, err := fleetdir.Load(dir)
	if err != nil {
		return usagef("%w; see edgefleet fleet validate %s", err, shellWord(dir))
	}
	folder, err := credentials.Open(c.String("credentials"))
	if err != nil {
		return usageError{err}
	}
	found := []credentialsFinding{}
	for _, p := range folder.Check(fleet.Inventory.Devices) {
		found = append(found, credentialsFinding{p.Device, p.Credentials, p.Err.Error()})
	}
	if err := a.show(c, found, func(w io.Writer) {
		rows := make([][]string, 0, len(found))
		for _, f := range found {
			rows = append(rows, []string{f.Device, dash(f.Credentials), f.Problem})
		}
		a.list(w, "a worker can log in to every device that asks for it", "DEVICE|CREDENTIALS|PROBLEM", rows)
	}); err != nil {
		return err
	}
	if len(found) > 0 {
		return errQuiet
	}
	return nil
}
