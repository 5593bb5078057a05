package bridge

import (
	"fmt"
	"os"

	"edgefleet/internal/routes"
)

// loadRoutes reads a routes file; "" is routes.Default. The error joins all
// that is wrong with it, one line each: file:line:column, what, and the remedy.
func loadRoutes(file string) (routes.List, error) {
	if file == "" {
		return routes.Parse("the default routes", []byte(routes.Default))
	}
	data, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flagRoutes, err)
	}
	return routes.Parse(file, data)
}
