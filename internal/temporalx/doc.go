// Package temporalx connects the programs of edgefleet to Temporal, all in the
// same way.
//
// Where to connect comes, the later over the earlier, from Temporal's own
// configuration file and profile (TEMPORAL_CONFIG_FILE, TEMPORAL_PROFILE),
// from TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY and
// TEMPORAL_TLS_*, and from the flags --temporal-address and
// --temporal-namespace. Everything that Temporal's CLI connects with works
// here too.
//
// A connection is lazy: it is made without a word to the server, so that a
// program can start, and say that it is not ready, while Temporal is down.
// What goes wrong is explained in one line that names what to do.
package temporalx
