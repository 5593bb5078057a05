-- +goose Up

-- Values that count up and never come again: a rolled-back transaction takes
-- its value back with everything that knew it.
CREATE TABLE counter (
	name  TEXT NOT NULL PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT;
INSERT INTO counter (name, value) VALUES ('lease_token', 0), ('incident', 0);

CREATE TABLE device_state (
	device_id  TEXT NOT NULL PRIMARY KEY,
	state      TEXT NOT NULL,
	detail     TEXT NOT NULL,
	checked_at INTEGER NOT NULL
) STRICT;

CREATE TABLE captured_setting (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	device_id   TEXT NOT NULL,
	name        TEXT NOT NULL,
	value       TEXT NOT NULL,
	unit        TEXT NOT NULL,
	captured_at INTEGER NOT NULL,
	workflow_id TEXT NOT NULL,
	run_id      TEXT NOT NULL,
	activity_id TEXT NOT NULL,
	UNIQUE (device_id, workflow_id, run_id, activity_id, name)
) STRICT;
CREATE INDEX captured_setting_by_age ON captured_setting (device_id, id);

CREATE TABLE incident (
	id          TEXT NOT NULL PRIMARY KEY,
	number      INTEGER NOT NULL UNIQUE,
	device_id   TEXT NOT NULL,
	alert_name  TEXT NOT NULL,
	status      TEXT NOT NULL,
	reason      TEXT NOT NULL,
	detail      TEXT NOT NULL,
	workflow_id TEXT NOT NULL,
	run_id      TEXT NOT NULL,
	opened_at   INTEGER NOT NULL,
	ended_at    INTEGER,
	UNIQUE (workflow_id, run_id, device_id)
) STRICT;
CREATE INDEX incident_by_device ON incident (device_id, number);
CREATE INDEX incident_by_status ON incident (status, number);
CREATE INDEX incident_going ON incident (number) WHERE ended_at IS NULL;

CREATE TABLE incident_note (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	incident_id TEXT NOT NULL REFERENCES incident (id),
	at          INTEGER NOT NULL,
	text        TEXT NOT NULL,
	key         TEXT,
	UNIQUE (incident_id, key)
) STRICT;
CREATE INDEX incident_note_by_age ON incident_note (incident_id, id);

CREATE TABLE lease (
	device_id   TEXT NOT NULL PRIMARY KEY,
	token       INTEGER NOT NULL UNIQUE,
	workflow_id TEXT NOT NULL,
	run_id      TEXT NOT NULL,
	since       INTEGER NOT NULL,
	released    INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The intents of the ledger that have no result yet, as long as the lease is
-- there that they were made under.
CREATE TABLE write_in_flight (
	intent_seq INTEGER NOT NULL PRIMARY KEY,
	device_id  TEXT NOT NULL,
	token      INTEGER NOT NULL,
	deadline   INTEGER NOT NULL
) STRICT;
CREATE INDEX write_in_flight_by_lease ON write_in_flight (device_id, token);

CREATE TABLE ledger (
	seq         INTEGER NOT NULL PRIMARY KEY,
	time        INTEGER NOT NULL,
	phase       TEXT NOT NULL CHECK (phase IN ('intent', 'result', 'event')),
	actor       TEXT NOT NULL,
	device_id   TEXT NOT NULL,
	action      TEXT NOT NULL,
	item        TEXT NOT NULL,
	before      TEXT NOT NULL,
	after       TEXT NOT NULL,
	outcome     TEXT NOT NULL,
	reason      TEXT NOT NULL,
	incident_id TEXT NOT NULL,
	workflow_id TEXT NOT NULL,
	run_id      TEXT NOT NULL,
	activity_id TEXT NOT NULL,
	plan_hash   TEXT NOT NULL,
	prev_hash   TEXT NOT NULL,
	hash        TEXT NOT NULL,
	UNIQUE (workflow_id, run_id, activity_id, action, item, phase)
) STRICT;
CREATE INDEX ledger_by_device ON ledger (device_id, seq);
CREATE INDEX ledger_by_workflow ON ledger (workflow_id, seq);
CREATE INDEX ledger_by_incident ON ledger (incident_id, seq);

CREATE TABLE ledger_head (
	id        INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
	count     INTEGER NOT NULL,
	last_hash TEXT NOT NULL,
	key_id    TEXT NOT NULL,
	mac       TEXT NOT NULL
) STRICT;

-- +goose StatementBegin
CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
-- INSERT OR REPLACE deletes without asking the trigger above.
CREATE TRIGGER ledger_no_replace BEFORE INSERT ON ledger
WHEN EXISTS (SELECT 1 FROM ledger WHERE seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_head_no_delete BEFORE DELETE ON ledger_head
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
-- +goose StatementEnd
