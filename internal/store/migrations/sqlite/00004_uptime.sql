-- +goose Up

-- For how long each device is known to have been up, and down, in
-- microseconds. What nobody saw is in neither.
CREATE TABLE device_uptime (
	device_id   TEXT NOT NULL PRIMARY KEY,
	up          INTEGER NOT NULL,
	down        INTEGER NOT NULL,
	state       TEXT NOT NULL CHECK (state IN ('', 'up', 'down')),
	observed_at INTEGER NOT NULL
) STRICT;
