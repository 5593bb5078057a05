// Package opcua is the driver for OPC UA servers.
package opcua
