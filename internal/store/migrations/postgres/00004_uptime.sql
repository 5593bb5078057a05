-- +goose Up

-- For how long each device is known to have been up, and down, in
-- microseconds. What nobody saw is in neither.
CREATE TABLE device_uptime (
	device_id   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	up          BIGINT NOT NULL,
	down        BIGINT NOT NULL,
	state       TEXT NOT NULL CHECK (state IN ('', 'up', 'down')),
	observed_at BIGINT NOT NULL
);
