package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// The scripts ask the program itself for what can come next, so that they
// never go stale.
const bashCompletion = `_edgefleet() {
  local cur="${COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=($(compgen -W "$("${COMP_WORDS[@]:0:$COMP_CWORD}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _edgefleet edgefleet
`

const zshCompletion = `#compdef edgefleet
_edgefleet() {
  local -a opts
  opts=("${(@f)$(${words[@]:0:#words[@]-1} --generate-bash-completion 2>/dev/null)}")
  _describe 'values' opts || _files
}
compdef _edgefleet edgefleet
`

func (a *App) completionCommand() *cli.Command {
	return &cli.Command{
		Name:        "completion",
		Usage:       "print the completion script of a shell: bash or zsh",
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
				return usagef("completion: no shell %q; want bash or zsh", shell)
			}
			return nil
		},
	}
}
