-- +goose Up

-- What each device was onboarded as. A row stays when its device goes.
CREATE TABLE registered_device (
	device_id        TEXT NOT NULL PRIMARY KEY,
	state            TEXT NOT NULL CHECK (state IN ('onboarding', 'onboarded', 'failed', 'decommissioned')),
	declared_hash    TEXT NOT NULL,
	revision         TEXT NOT NULL,
	site             TEXT NOT NULL,
	region           TEXT NOT NULL,
	profile          TEXT NOT NULL,
	maker            TEXT NOT NULL,
	model            TEXT NOT NULL,
	firmware         TEXT NOT NULL,
	serial           TEXT NOT NULL,
	pin              TEXT NOT NULL,
	baseline         TEXT NOT NULL,
	baseline_version TEXT NOT NULL,
	onboarded_at     INTEGER,
	changed_at       INTEGER NOT NULL,
	detail           TEXT NOT NULL,
	workflow_id      TEXT NOT NULL,
	run_id           TEXT NOT NULL,
	phases           TEXT NOT NULL,
	onboardings      INTEGER NOT NULL
) STRICT;
CREATE INDEX registered_device_by_state ON registered_device (state, device_id);
CREATE INDEX registered_device_by_site ON registered_device (site, device_id);
CREATE INDEX registered_device_by_region ON registered_device (region, device_id);

-- Every pin that a device had, and from when until when.
CREATE TABLE device_pin (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	device_id   TEXT NOT NULL REFERENCES registered_device (device_id),
	pin         TEXT NOT NULL,
	since       INTEGER NOT NULL,
	until       INTEGER,
	workflow_id TEXT NOT NULL,
	run_id      TEXT NOT NULL
) STRICT;
CREATE INDEX device_pin_by_device ON device_pin (device_id, id);
CREATE UNIQUE INDEX device_pin_present ON device_pin (device_id) WHERE until IS NULL;

-- The last attempt at reading a device's configuration (outcome, detail,
-- attempted_at), and the last time that it was read and compared (the rest).
CREATE TABLE device_evidence (
	device_id        TEXT NOT NULL PRIMARY KEY,
	site             TEXT NOT NULL,
	region           TEXT NOT NULL,
	outcome          TEXT NOT NULL CHECK (outcome IN ('in_sync', 'drifted', 'unreadable', 'under_change', 'no_baseline')),
	detail           TEXT NOT NULL,
	first_at         INTEGER NOT NULL,
	attempted_at     INTEGER NOT NULL,
	found            TEXT NOT NULL CHECK (found IN ('', 'in_sync', 'drifted')),
	evidence_at      INTEGER,
	drifted          INTEGER NOT NULL,
	drifted_since    INTEGER,
	baseline         TEXT NOT NULL,
	baseline_version TEXT NOT NULL,
	workflow_id      TEXT NOT NULL,
	run_id           TEXT NOT NULL
) STRICT;
