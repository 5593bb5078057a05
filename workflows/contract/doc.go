// Package contract is what the programs of edgefleet agree on when they talk
// through Temporal: names of workflows, actions, signals, updates, queries and
// search attributes, the inputs and results that travel with them, and the
// builders and parsers of workflow IDs.
//
// It is a leaf: it imports nothing of edgefleet, no device driver and no
// database, so that the alert bridge and the command line can link it and
// nothing else. Fields are only ever added to its structs; a name, once
// released, keeps its meaning.
package contract
