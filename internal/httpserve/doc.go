// Package httpserve runs the HTTP server of a program: the bridge's webhook,
// the worker's admin port.
//
// It reads the same web configuration file as the Prometheus programs
// (--web.config.file: TLS, client certificates, basic authentication), bounds
// every phase of a request in time, listens on port 0 when it is asked to, and
// stops gracefully within a bound. What it serves is given.
package httpserve
