package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"edgefleet/devices/schema"
)

// schemaKind is a kind of file of a fleet directory that has a JSON Schema.
type schemaKind struct {
	document func() schema.Document
	// files are where such files stand in a fleet directory.
	files string
}

func schemas() map[string]schemaKind {
	return map[string]schemaKind{
		"fleet": {schema.Fleet, "fleet.yaml"}, "devices": {schema.Devices, "devices/*.yaml"}, "profile": {schema.Profile, "profiles/*.yaml"},
		"baseline": {schema.Baseline, "edge-configs/*.yaml"}, "patch": {schema.Patch, "patches/*.yaml"},
	}
}

func (a *App) schemaCommand() *cli.Command {
	kinds := slices.Sorted(maps.Keys(schemas()))
	return &cli.Command{
		Name: "schema", ArgsUsage: "KIND | --all FOLDER",
		Usage: "print the JSON Schema of a kind of file, for editors: " + strings.Join(kinds, ", "),
		Flags: []cli.Flag{&cli.StringFlag{Name: "all", Usage: "write the schemas of all kinds into this `FOLDER`, and print the settings by which an editor finds them"}},
		Action: func(c *cli.Context) error {
			if folder := c.String("all"); folder != "" {
				if err := noArgs(c); err != nil {
					return err
				}
				return a.allSchemas(folder)
			}
			name, err := oneArg(c, "kind of file")
			if err != nil {
				return err
			}
			kind, ok := schemas()[name]
			if !ok {
				return usagef("no schema %q: want one of %s", name, strings.Join(kinds, ", "))
			}
			text, err := kind.document().JSON()
			if err != nil {
				return err
			}
			_, err = a.opts.Out.Write(text)
			return err
		},
	}
}

// allSchemas writes every schema into a folder, and prints the settings of the
// YAML language server, which Visual Studio Code and others have.
func (a *App) allSchemas(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("--all: %w", err)
	}
	settings := map[string]string{}
	for name, kind := range schemas() {
		text, err := kind.document().JSON()
		if err != nil {
			return err
		}
		file := name + ".schema.json"
		if err := os.WriteFile(filepath.Join(folder, file), text, 0o644); err != nil {
			return fmt.Errorf("--all: %w", err)
		}
		at := path.Join(filepath.ToSlash(folder), file)
		if !path.IsAbs(at) {
			at = "./" + at
		}
		settings[at] = kind.files
	}
	text, err := json.MarshalIndent(map[string]any{"yaml.schemas": settings}, "", "  ")
	if err != nil {
		return err
	}
	_, err = a.opts.Out.Write(append(text, '\n'))
	return err
}
