// Package stack runs all of edgefleet in one process: the embedded Temporal
// with its Web UI, the alert bridge, the worker, and beside them, as processes
// of their own, the simulated fleet, Prometheus and Alertmanager.
//
// Everything stands in one data folder, and a second start on it continues
// where the first one stopped:
//
//	temporal/        the engine's database
//	store.db         incidents, leases, captures and the ledger
//	ledger.key       the secret of the ledger's chain
//	fleet/           the fleet directory that the worker runs
//	simfleet.json    how the simulated fleet is reached
//	prometheus/, alertmanager/
package stack
