-- +goose Up

-- What a plan is of: '' is configuration.
ALTER TABLE rollout_plan ADD COLUMN kind TEXT NOT NULL DEFAULT '';

-- Which version each device said that it runs, and when it did.
CREATE TABLE device_version (
	device_id TEXT NOT NULL PRIMARY KEY,
	version   TEXT NOT NULL,
	seen_at   INTEGER NOT NULL
) STRICT;
