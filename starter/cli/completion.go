package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// The scripts ask the program itself for what can come next, so that they
// never go stale. They offer files where it knows nothing.
const bashCompletion = `_edgefleet() {
  local program="${COMP_WORDS[0]/#\~/$HOME}" IFS=$'\n'
  COMPREPLY=($("$program" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o bashdefault -o default -F _edgefleet edgefleet
`

const zshCompletion = `#compdef edgefleet
_edgefleet() {
  local -a candidates
  candidates=("${(@f)$(${~words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${candidates[1]}" ]]; then
    compadd -- "${candidates[@]}"
  else
    _files
  fi
}
compdef _edgefleet edgefleet
`

func shells() []string { return []string{"bash", "zsh"} }

func (a *App) completionCommand() *cli.Command {
	return &cli.Command{
		Name:        "completion",
		Usage:       "print the completion script of a shell: " + strings.Join(shells(), " or "),
		ArgsUsage:   "SHELL",
		Description: "bash: source <(edgefleet completion bash)\nzsh:  source <(edgefleet completion zsh)",
		Action: func(c *cli.Context) error {
			shell, err := oneArg(c, "shell")
			if err != nil {
				return err
			}
			switch shell {
			case "bash":
				fmt.Fprint(a.opts.Out, bashCompletion)
			case "zsh":
				fmt.Fprint(a.opts.Out, zshCompletion)
			default:
				return usagef("completion: no shell %q; want %s", shell, strings.Join(shells(), " or "))
			}
			return nil
		},
	}
}
