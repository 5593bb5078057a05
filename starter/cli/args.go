package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange puts args, the program's name first, into the order that the flag
// package reads: flags of the program, the command, flags of the command,
// arguments. People write "device drift edge-003 --output json", and the flag
// package stops at the first argument. What follows "--" is never a flag.
func arrange(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	var global, path, local, rest []string
	commands, flags, ended := app.Commands, app.Flags, false
	for i := 1; i < len(args); {
		word := args[i]
		if word == "--" {
			rest, ended = append(rest, args[i+1:]...), true
			break
		}
		if !isFlag(word) {
			if next := find(commands, word); next != nil && len(rest) == 0 {
				// A flag that the group does not have stays where it is, so
				// that the group refuses it.
				path = append(append(path, local...), word)
				local, commands, flags = nil, next.Subcommands, next.Flags
			} else {
				rest = append(rest, word)
				// From the first argument on nothing names a command.
				commands = nil
			}
			i++
			continue
		}
		target, flag := &local, lookup(flags, word)
		if flag == nil {
			if flag = lookup(app.Flags, word); flag != nil {
				target = &global
			}
		} else if len(path) == 0 {
			target = &global
		}
		n := width(flag, word)
		if i+n > len(args) {
			return nil, usagef("%s needs a value; see %s --help", word, strings.Join(append([]string{app.Name}, path...), " "))
		}
		*target = append(*target, args[i:i+n]...)
		i += n
	}
	if ended {
		local = append(local, "--")
	}
	return slices.Concat(args[:1], global, path, local, rest), nil
}

func isFlag(word string) bool { return strings.HasPrefix(word, "-") && word != "-" }

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// lookup finds the flag that a word such as "--limit=5" or "-o" names.
func lookup(flags []cli.Flag, word string) cli.Flag {
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// width is how many words a flag takes: 2 when its value is the next word.
func width(flag cli.Flag, word string) int {
	if _, isBool := flag.(*cli.BoolFlag); flag == nil || isBool || strings.Contains(word, "=") {
		return 1
	}
	return 2
}
