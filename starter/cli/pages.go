package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"edgefleet/workflows/contract"
)

// allPages asks a question page after page until there is no more, in the order
// of the devices' IDs. ask is the question of the page after a device, "" for
// the first; page takes its rows out of the answer, with the place of the next.
func allPages[T any](a *App, c *cli.Context, t Temporal, ask func(after string) contract.InspectInput,
	page func(contract.InspectResult) (rows []T, next string)) ([]T, error) {
	list := []T{}
	for after := ""; ; {
		out, err := a.askOver(c.Context, t, ask(after), c.Duration(flagTimeout))
		if err != nil {
			return nil, err
		}
		rows, next := page(out)
		list = append(list, rows...)
		if next == "" {
			return list, nil
		}
		if next == after {
			return nil, fmt.Errorf("the worker answered with the same page after %.80q again; the list would never end", after)
		}
		after = next
	}
}

// askAll is allPages over a connection of its own.
func askAll[T any](a *App, c *cli.Context, ask func(after string) contract.InspectInput,
	page func(contract.InspectResult) (rows []T, next string)) ([]T, error) {
	if err := checkTimeout(c); err != nil {
		return nil, err
	}
	t, err := a.dial(c)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return allPages(a, c, t, ask, page)
}
