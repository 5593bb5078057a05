package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"edgefleet/workflows/contract"
)

func (a *App) incidentCommand() *cli.Command {
	return &cli.Command{
		Name:  "incident",
		Usage: "look at incidents",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list incidents, newest first", Action: a.incidentList,
				Flags: []cli.Flag{outputFlag(), timeoutFlag(),
					&cli.StringFlag{Name: "device", Usage: "only of the device with this `ID`"},
					&cli.StringFlag{Name: flagStatus, Usage: "only with this `STATUS`: " + strings.Join(incidentStatuses(), ", ")},
					&cli.IntFlag{Name: "limit", Value: 50, Usage: "at most this many, 1 to 1000"}}},
			{Name: "show", Usage: "show an incident, its notes and what the ledger has of it", ArgsUsage: "ID",
				Flags: []cli.Flag{outputFlag(), timeoutFlag()}, Action: a.incidentShow},
		},
	}
}

const flagStatus = "status"

// incidentStatuses are those that an incident can have, in their order.
func incidentStatuses() []string {
	return []string{"open", "investigating", "mitigated", contract.OutcomeResolved, contract.OutcomeCleared,
		contract.OutcomeEscalated, contract.OutcomeCancelled, contract.OutcomeAbandoned}
}

func checkStatus(c *cli.Context) error {
	if s := c.String(flagStatus); s != "" && !slices.Contains(incidentStatuses(), s) {
		return usagef("--status %q: want one of %s", s, strings.Join(incidentStatuses(), ", "))
	}
	return nil
}

func (a *App) incidentList(c *cli.Context) error {
	if err := firstError(noArgs(c), checkOutput(c), checkStatus(c), limitArg(c)); err != nil {
		return err
	}
	out, err := a.ask(c, contract.InspectInput{Question: contract.AskIncidentList, Incident: &contract.IncidentQuery{
		DeviceID: c.String("device"), Status: c.String("status"), Limit: c.Int("limit")}})
	if err != nil {
		return err
	}
	return a.show(c, nonNil(out.Incidents), func(w io.Writer) { a.incidentTable(w, out.Incidents) })
}

func (a *App) incidentTable(w io.Writer, incidents []contract.Incident) {
	rows := make([][]string, 0, len(incidents))
	for _, i := range incidents {
		rows = append(rows, []string{i.ID, i.DeviceID, dash(i.AlertName), i.Status, stamp(i.OpenedAt), stampPtr(i.EndedAt), dash(firstLine(i.Detail))})
	}
	a.list(w, "no incident matches", "INCIDENT|DEVICE|ALERT|STATUS|OPENED (UTC)|ENDED (UTC)|DETAIL", rows)
}

func (a *App) incidentShow(c *cli.Context) error {
	id, err := oneArg(c, "incident ID")
	if err := firstError(err, checkOutput(c)); err != nil {
		return err
	}
	out, err := a.ask(c, contract.InspectInput{Question: contract.AskIncidentShow, Incident: &contract.IncidentQuery{ID: id}})
	if err != nil {
		return err
	}
	i := out.Incident
	i.Notes, i.Ledger = nonNil(i.Notes), nonNil(i.Ledger)
	return a.show(c, i, func(w io.Writer) {
		fields(w, "incident", i.ID, "device", i.DeviceID, "alert", i.AlertName, "status", i.Status, "reason", i.Reason,
			"detail", i.Detail, "opened (UTC)", stamp(i.OpenedAt), "ended (UTC)", stampPtr(i.EndedAt),
			"workflow", i.WorkflowID, "run", i.RunID)
		if len(i.Notes) > 0 {
			fmt.Fprintln(w, "\nnotes")
			for _, n := range i.Notes {
				fmt.Fprintf(w, "  %s  %s\n", stamp(n.At), oneLine(n.Text))
			}
		}
		if len(i.Ledger) > 0 {
			fmt.Fprintln(w)
			a.ledgerTable(w, i.Ledger)
		}
	})
}
