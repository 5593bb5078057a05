// Package provider is edgefleet's Terraform provider. What it declares stands
// in a fleet directory (package declare), and what it starts runs as workflows
// (package control); this package translates between these and Terraform.
//
// Rules of this layer:
//   - A plan is refused where an apply would be, as far as the plan can know.
//   - The state holds no secret, and nothing that a refresh cannot find out
//     again: whoever loses it imports.
//   - What could not be found out is a warning or an error, and never taken for
//     in order.
package provider
