package cli

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// interspersed moves the flags of the command that args name before its
// arguments, because people write "device drift edge-003 --output json" and
// the flag package stops at the first argument. What follows "--" stays.
func interspersed(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	i := 1
	skipFlags := func(flags []cli.Flag) {
		for i < len(args) && strings.HasPrefix(args[i], "-") && args[i] != "--" {
			i += width(flags, args[i])
		}
	}
	skipFlags(app.Flags)
	commands, flags := app.Commands, app.Flags
	for i < len(args) {
		next := find(commands, args[i])
		if next == nil {
			break
		}
		i++
		commands, flags = next.Subcommands, next.Flags
		if len(commands) > 0 {
			skipFlags(flags)
		}
	}
	i = min(i, len(args))
	var moved, rest []string
	for j := i; j < len(args); {
		if args[j] == "--" {
			rest = append(rest, args[j:]...)
			break
		}
		if !strings.HasPrefix(args[j], "-") || args[j] == "-" {
			rest = append(rest, args[j])
			j++
			continue
		}
		n := min(width(flags, args[j]), len(args)-j)
		moved = append(moved, args[j:j+n]...)
		j += n
	}
	return append(append(append([]string{}, args[:i]...), moved...), rest...)
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// width is how many words a flag takes: 2 when its value is the next word.
func width(flags []cli.Flag, word string) int {
	name := strings.TrimLeft(word, "-")
	if strings.Contains(name, "=") {
		return 1
	}
	for _, f := range flags {
		for _, n := range f.Names() {
			if n != name {
				continue
			}
			if _, ok := f.(*cli.BoolFlag); ok {
				return 1
			}
			return 2
		}
	}
	return 1
}
