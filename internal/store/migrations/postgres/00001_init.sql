-- +goose Up

-- Values that count up and never come again: a rolled-back transaction takes
-- its value back with everything that knew it.
CREATE TABLE counter (
	name  TEXT NOT NULL PRIMARY KEY,
	value BIGINT NOT NULL
);
INSERT INTO counter (name, value) VALUES ('lease_token', 0), ('incident', 0);

CREATE TABLE device_state (
	device_id  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	state      TEXT NOT NULL,
	detail     TEXT NOT NULL,
	checked_at BIGINT NOT NULL
);

CREATE TABLE captured_setting (
	id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	device_id   TEXT COLLATE "C" NOT NULL,
	name        TEXT COLLATE "C" NOT NULL,
	value       TEXT NOT NULL,
	unit        TEXT NOT NULL,
	captured_at BIGINT NOT NULL,
	workflow_id TEXT NOT NULL,
	run_id      TEXT NOT NULL,
	activity_id TEXT NOT NULL,
	UNIQUE (device_id, workflow_id, run_id, activity_id, name)
);
CREATE INDEX captured_setting_by_age ON captured_setting (device_id, id);

CREATE TABLE incident (
	id          TEXT NOT NULL PRIMARY KEY,
	number      BIGINT NOT NULL UNIQUE,
	device_id   TEXT COLLATE "C" NOT NULL,
	alert_name  TEXT NOT NULL,
	status      TEXT NOT NULL,
	reason      TEXT NOT NULL,
	detail      TEXT NOT NULL,
	workflow_id TEXT NOT NULL,
	run_id      TEXT NOT NULL,
	opened_at   BIGINT NOT NULL,
	ended_at    BIGINT,
	UNIQUE (workflow_id, run_id, device_id)
);
CREATE INDEX incident_by_device ON incident (device_id, number);
CREATE INDEX incident_by_status ON incident (status, number);
CREATE INDEX incident_going ON incident (number) WHERE ended_at IS NULL;

CREATE TABLE incident_note (
	id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	incident_id TEXT NOT NULL REFERENCES incident (id),
	at          BIGINT NOT NULL,
	text        TEXT NOT NULL,
	key         TEXT,
	UNIQUE (incident_id, key)
);
CREATE INDEX incident_note_by_age ON incident_note (incident_id, id);

CREATE TABLE lease (
	device_id   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	token       BIGINT NOT NULL UNIQUE,
	workflow_id TEXT NOT NULL,
	run_id      TEXT NOT NULL,
	since       BIGINT NOT NULL,
	released    BIGINT NOT NULL DEFAULT 0
);

-- The intents of the ledger that have no result yet, as long as the lease is
-- there that they were made under.
CREATE TABLE write_in_flight (
	intent_seq BIGINT NOT NULL PRIMARY KEY,
	device_id  TEXT COLLATE "C" NOT NULL,
	token      BIGINT NOT NULL,
	deadline   BIGINT NOT NULL
);
CREATE INDEX write_in_flight_by_lease ON write_in_flight (device_id, token);

CREATE TABLE ledger (
	seq         BIGINT NOT NULL PRIMARY KEY,
	time        BIGINT NOT NULL,
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
);
CREATE INDEX ledger_by_device ON ledger (device_id, seq);
CREATE INDEX ledger_by_workflow ON ledger (workflow_id, seq);
CREATE INDEX ledger_by_incident ON ledger (incident_id, seq);

CREATE TABLE ledger_head (
	id        BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
	count     BIGINT NOT NULL,
	last_hash TEXT NOT NULL,
	key_id    TEXT NOT NULL,
	mac       TEXT NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'the ledger is append-only';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER ledger_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
	FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only();
CREATE TRIGGER ledger_head_no_delete BEFORE DELETE OR TRUNCATE ON ledger_head
	FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only();
