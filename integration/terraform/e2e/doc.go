// Package e2e runs the real Terraform, with the real provider, against a
// running edgefleet and a simulated fleet. Terraform is the one in PATH; the
// provider is built, and installed from a mirror on this machine, so that
// nothing is fetched.
package e2e
