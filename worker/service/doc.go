// Package service is the worker: the one program that reaches devices and the
// store. It runs the workflows, the central activities, and the device
// activities of its regions; it answers Prometheus for its devices, and keeps
// house after workflows that ended without a word.
package service
