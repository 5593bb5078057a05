// Package store is what edgefleet remembers outside of Temporal: what every
// device was onboarded as (the registry), its last known state, when its
// configuration was last compared with its baseline (evidence), the settings
// that were captured before a change, the incidents, who holds which device
// (leases), and the audit ledger.
//
// One package serves SQLite (the default: one file, full fsync) and PostgreSQL,
// over database/sql with the same statements; migrations are embedded and run
// by Open.
//
// Rules of this layer:
//   - It imports nothing else of edgefleet. Its row types have the fields of
//     the types of the same name in workflows/contract, so that one converts to
//     the other with a Go conversion.
//   - Every write is idempotent under the identity of the activity that makes
//     it, because a Temporal activity may run again after it has committed.
//   - Every write goes through one goroutine that commits the work of all
//     callers who wait at that moment together, so that one fsync serves many.
//     No caller sees another's failure: what fails is rolled back, and the
//     others are run again one by one.
//   - Times are UTC with microseconds, stored as integers of microseconds since
//     1970 in both databases.
//   - Text that is not UTF-8, or holds a NUL, comes from devices too; such bytes
//     are replaced by U+FFFD before anything is compared, hashed or stored.
//
// On PostgreSQL the store wants a schema of its own, chosen with search_path in
// the URL; its user owns the tables, because Open migrates them. On SQLite it
// wants a local disk: locks do not work on most network file systems. Beside
// PATH there are PATH-wal and PATH-shm, which belong to it, and the empty
// PATH.lock, which orders starting processes.
//
// # Leases and writes in flight
//
// A device has at most one lease. Its token grows with every lease and is
// checked, in the same transaction, by every intent; so who has lost the device
// cannot begin a write. A write that has begun cannot be called back: it counts
// as in flight until its result is appended or its deadline has passed, and
// until then the device goes to nobody else, even when its owner lets go of it
// or is dead.
//
// # Registry and evidence
//
// A registration is written under the device's lease, with its event in the
// ledger in the same transaction; so of several runs that onboard a device the
// later one has the last word, and a retried activity has none. One run onboards
// a device once for one declaration, however often it says so: the number of
// onboardings in a device's row is the number of "onboarded" events that the
// ledger has of it.
//
// A pin is trusted from the first onboarding on that shows one. A later
// onboarding replaces it only by succeeding. Every pin that a device had is kept
// with its time, and a decommissioned device has none.
//
// Evidence is a configuration that was read and compared: in sync, or drifted.
// Whatever else an attempt comes to is noted as the last attempt, and the
// evidence keeps its age. A device that was onboarded and never looked at counts
// from its onboarding on, so that none is forgotten; a decommissioned device
// does not count, and begins without evidence when it comes back.
//
// # The ledger, for an auditor
//
// The ledger is a chain of entries with seq 1, 2, 3 and so on without a gap.
// The hash of an entry is
//
//	HMAC-SHA256(key, E)   when the ledger has a key
//	SHA-256(E)            when it has none
//
// in lowercase hexadecimal, where E is the concatenation of these fields, in
// this order, each preceded by its length in bytes as an unsigned 64-bit
// big-endian integer:
//
//	the text "edgefleet ledger v1"
//	seq, in decimal
//	time, in microseconds since 1970-01-01T00:00:00Z, in decimal
//	phase: intent, result or event
//	actor
//	device_id
//	action
//	item
//	before
//	after
//	outcome
//	reason
//	incident_id
//	workflow_id
//	run_id
//	activity_id
//	plan_hash
//	prev_hash, the hexadecimal hash of the entry before; 64 zeros for the first
//
// The ledger's head is one row: count, last_hash, key_id and mac. Its key_id is
// the first 16 hexadecimal digits of HMAC-SHA256(key, "edgefleet ledger key"),
// or empty without a key; its mac is computed like an entry's hash over the text
// "edgefleet ledger head v1", count, last_hash and key_id. The head changes in
// the transaction that appends, and nothing is appended to a ledger whose head
// does not carry its own mac: that would cover up what was done to it.
//
// What Verify finds by itself: an edited field, a deleted or moved entry, a tail
// that was cut. Without a key, whoever can write the database can also write a
// new chain from the start; with a key, the owner of an older copy of the whole
// ledger can put that copy back. Both are found with an anchor: keep the seq and
// hash that the last verification printed somewhere else, and give them to the
// next. Triggers in the database refuse UPDATE and DELETE on the ledger, as a
// fence against mistakes; it is the chain that gives the proof.
package store
