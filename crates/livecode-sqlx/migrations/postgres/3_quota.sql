-- What was counted for whom, as the program reckons it. One row each, rewritten within its page (HOT) but where its expiry changes,
-- about once a day; those that say nothing any more go when others come.
CREATE TABLE tally (
    who        text COLLATE "C" PRIMARY KEY,
    at         bigint NOT NULL, -- of the latest run that was counted
    used       bigint NOT NULL CHECK (used >= 0),
    runs       bigint NOT NULL CHECK (runs >= 0), -- on that day
    expires_at bigint NOT NULL
) WITH (fillfactor = 50);

CREATE INDEX tally_by_expiry ON tally (expires_at);

-- How many an owner or a session has open, however many have ended.
CREATE INDEX execution_open_by_owner ON execution (owner, session_id) WHERE completed_at IS NULL;
