-- What was counted for whom, as the program reckons it. One row each; those that say nothing any more go when others come.
CREATE TABLE tally (
    who        TEXT NOT NULL PRIMARY KEY,
    at         INTEGER NOT NULL, -- of the latest run that was counted
    used       INTEGER NOT NULL CHECK (used >= 0),
    runs       INTEGER NOT NULL CHECK (runs >= 0), -- on that day
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tally_by_expiry ON tally (expires_at);

-- How many an owner or a session has open, however many have ended.
CREATE INDEX execution_open_by_owner ON execution (owner, session_id) WHERE state IN ('QUEUED', 'RUNNING');
