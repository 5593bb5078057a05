package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completeCommand is what the completion scripts call, with the words of the
// command line after the program's name; the last one is being typed. It is
// not declared as a command, because its words are not to be parsed.
const completeCommand = "__complete"

// complete returns what can stand where the last word is. It returns nothing
// where only the shell can help: at the name of a file.
func complete(app *cli.App, words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	command := &cli.Command{Subcommands: app.Commands}
	flags, valueOf := app.Flags, cli.Flag(nil)
	for _, word := range words[:len(words)-1] {
		switch {
		case word == "=":
			// bash cuts "--output=json" into three words.
		case valueOf != nil:
			valueOf = nil
		case word == "--":
			return nil
		case isFlag(word):
			f := lookup(slices.Concat(flags, app.Flags), word)
			if width(f, word) == 2 {
				valueOf = f
			}
		default:
			if next := find(command.Subcommands, word); next != nil {
				command, flags = next, next.Flags
			}
		}
	}
	typed := words[len(words)-1]
	if valueOf != nil {
		return startingWith(strings.TrimPrefix(typed, "="), valuesOf(valueOf))
	}
	if !isFlag(typed) && typed != "-" {
		return startingWith(typed, namesIn(command))
	}
	if name, _, ok := strings.Cut(typed, "="); ok {
		f := lookup(slices.Concat(flags, app.Flags), typed)
		if f == nil {
			return nil
		}
		values := valuesOf(f)
		for i, v := range values {
			values[i] = name + "=" + v
		}
		return startingWith(typed, values)
	}
	return startingWith(typed, append(flagNames(slices.Concat(flags, app.Flags)), "--help"))
}

func startingWith(prefix string, words []string) []string {
	return slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(w, prefix) })
}

func namesIn(c *cli.Command) []string {
	if c.Name == "completion" {
		return shells()
	}
	var names []string
	for _, sub := range c.Subcommands {
		if sub.Name != "help" {
			names = append(names, sub.Name)
		}
	}
	return names
}

// flagNames returns the long names; --help is in every list already.
func flagNames(flags []cli.Flag) []string {
	var names []string
	for _, f := range flags {
		for _, name := range f.Names() {
			if len(name) > 1 && name != "help" {
				names = append(names, "--"+name)
			}
		}
	}
	return names
}

func valuesOf(f cli.Flag) []string {
	switch f.Names()[0] {
	case flagOutput:
		return []string{"table", "json"}
	case flagStatus:
		return incidentStatuses()
	}
	return nil
}
