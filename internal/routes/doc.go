// Package routes says which runbook answers which alerts: the routes file, in
// Alertmanager's syntax of matchers. The bridge routes by it, and the command
// line checks it beside the fleet directory that has the runbooks.
package routes
