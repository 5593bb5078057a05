-- +goose Up

-- What a rollout would do, device by device. Once it is frozen its hash covers
-- all of it, and nothing of it changes any more.
CREATE TABLE rollout_plan (
	plan_id     TEXT NOT NULL PRIMARY KEY,
	hash        TEXT NOT NULL,
	state       TEXT NOT NULL CHECK (state IN ('planning', 'frozen')),
	baseline    TEXT NOT NULL,
	version     TEXT NOT NULL,
	file        TEXT NOT NULL,
	source      TEXT NOT NULL,
	selector    TEXT NOT NULL,
	strategy    TEXT NOT NULL,
	revision    TEXT NOT NULL,
	waves       TEXT NOT NULL,
	actor       TEXT NOT NULL,
	reason      TEXT NOT NULL,
	created_at  BIGINT NOT NULL,
	expires_at  BIGINT,
	workflow_id TEXT NOT NULL,
	run_id      TEXT NOT NULL
);
CREATE UNIQUE INDEX rollout_plan_by_hash ON rollout_plan (hash) WHERE state = 'frozen';
CREATE INDEX rollout_plan_by_age ON rollout_plan (created_at);

-- Wave 0 is a device that the plan leaves out, for the reason in excluded. The
-- settings and changes are JSON with exact values.
CREATE TABLE rollout_plan_device (
	plan_id   TEXT NOT NULL REFERENCES rollout_plan (plan_id),
	device_id TEXT COLLATE "C" NOT NULL,
	site      TEXT NOT NULL,
	region    TEXT NOT NULL,
	batch     BIGINT NOT NULL,
	wave      BIGINT NOT NULL,
	excluded  TEXT NOT NULL,
	detail    TEXT NOT NULL,
	calendar  TEXT NOT NULL,
	takes     BIGINT NOT NULL,
	changes   TEXT NOT NULL,
	settings  TEXT NOT NULL,
	PRIMARY KEY (plan_id, device_id)
);
CREATE INDEX rollout_plan_device_by_batch ON rollout_plan_device (plan_id, batch, device_id);
CREATE INDEX rollout_plan_device_by_wave ON rollout_plan_device (plan_id, wave, device_id);

-- A plan that was started. It is started once.
CREATE TABLE rollout (
	rollout_id  TEXT NOT NULL PRIMARY KEY,
	plan_id     TEXT NOT NULL UNIQUE REFERENCES rollout_plan (plan_id),
	state       TEXT NOT NULL,
	detail      TEXT NOT NULL,
	actor       TEXT NOT NULL,
	reason      TEXT NOT NULL,
	started_at  BIGINT NOT NULL,
	changed_at  BIGINT NOT NULL,
	ended_at    BIGINT,
	workflow_id TEXT NOT NULL,
	run_id      TEXT NOT NULL
);
CREATE INDEX rollout_by_age ON rollout (started_at);
CREATE INDEX rollout_going ON rollout (plan_id) WHERE ended_at IS NULL;

-- What became of each device of a rollout. Touched says that something may have
-- been written to it; previous is the assignment that it had before, as JSON.
CREATE TABLE rollout_device (
	rollout_id  TEXT NOT NULL REFERENCES rollout (rollout_id),
	device_id   TEXT COLLATE "C" NOT NULL,
	state       TEXT NOT NULL,
	reason      TEXT NOT NULL,
	detail      TEXT NOT NULL,
	touched     BIGINT NOT NULL,
	unsafe      BIGINT NOT NULL,
	attempts    BIGINT NOT NULL,
	previous    TEXT NOT NULL,
	began_at    BIGINT NOT NULL,
	ended_at    BIGINT,
	workflow_id TEXT NOT NULL,
	run_id      TEXT NOT NULL,
	activity_id TEXT NOT NULL,
	PRIMARY KEY (rollout_id, device_id)
);
CREATE INDEX rollout_device_by_state ON rollout_device (rollout_id, state, device_id);

-- What a device was last given on purpose, which is what it should have.
CREATE TABLE assignment (
	device_id   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	baseline    TEXT NOT NULL,
	version     TEXT NOT NULL,
	settings    TEXT NOT NULL,
	actor       TEXT NOT NULL,
	workflow_id TEXT NOT NULL,
	run_id      TEXT NOT NULL,
	assigned_at BIGINT NOT NULL
);
