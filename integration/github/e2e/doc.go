// Package e2e runs the steps of the delivery pipeline with the real edgefleet
// against running workers and a simulated fleet.
package e2e
