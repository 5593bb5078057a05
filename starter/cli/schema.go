package cli

import (
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"edgefleet/devices/schema"
)

// schemas are the kinds of files of a fleet directory that have a JSON Schema.
func schemas() map[string]func() schema.Document {
	return map[string]func() schema.Document{
		"fleet": schema.Fleet, "devices": schema.Devices, "profile": schema.Profile, "baseline": schema.Baseline,
	}
}

func (a *App) schemaCommand() *cli.Command {
	kinds := slices.Sorted(maps.Keys(schemas()))
	return &cli.Command{
		Name: "schema", ArgsUsage: "KIND",
		Usage: "print the JSON Schema of a kind of file, for editors: " + strings.Join(kinds, ", "),
		Action: func(c *cli.Context) error {
			kind, err := oneArg(c, "kind of file")
			if err != nil {
				return err
			}
			document, ok := schemas()[kind]
			if !ok {
				return usagef("no schema %q: want one of %s", kind, strings.Join(kinds, ", "))
			}
			text, err := document().JSON()
			if err != nil {
				return err
			}
			_, err = a.opts.Out.Write(text)
			return err
		},
	}
}
