-- Among jobs of one priority the owners take turns. The table is made anew, since a column that is added needs a default.
CREATE TABLE fair_job (
    arrival      INTEGER PRIMARY KEY,
    execution_id BLOB NOT NULL UNIQUE CHECK (length(execution_id) = 16),
    attempt      INTEGER NOT NULL,
    owner        TEXT NOT NULL,
    priority     INTEGER NOT NULL,
    turn         INTEGER CHECK (turn >= 0), -- among those of its priority; none before it has begun to wait
    state        TEXT NOT NULL CHECK (state IN ('WAITING', 'DELAYED', 'LEASED')),
    due_at       INTEGER NOT NULL, -- since when it can be claimed; until then, when it will be
    token        BLOB CHECK (length(token) = 16), -- of the latest lease; a lapsed one can be extended until the next claim
    CHECK (state <> 'DELAYED' OR token IS NULL),
    CHECK (state <> 'LEASED' OR token IS NOT NULL)
) STRICT;

-- What is queued already: each owner's in the order of arrival. Where the records are another store's, nobody is the owner.
INSERT INTO fair_job (arrival, execution_id, attempt, owner, priority, turn, state, due_at, token)
SELECT arrival, execution_id, job.attempt, ifnull(owner, ''), job.priority,
    iif(job.state = 'DELAYED', NULL,
        row_number() OVER (PARTITION BY job.state = 'DELAYED', ifnull(owner, ''), job.priority ORDER BY arrival) - 1),
    job.state, due_at, token
FROM job LEFT JOIN execution ON id = execution_id;

DROP TABLE job;
ALTER TABLE fair_job RENAME TO job;

-- A claim reads its jobs off the front of this one, past neither delayed nor leased ones. What has no turn yet is in neither
-- of these two, so that it's put in once.
CREATE INDEX job_waiting ON job (priority DESC, turn, arrival) WHERE state = 'WAITING' AND turn IS NOT NULL;
-- Where an owner's line ends.
CREATE INDEX job_by_owner ON job (owner, priority, turn) WHERE state = 'WAITING' AND turn IS NOT NULL;
-- Those whose delay or lease is over, the next one that will be, and how many there are of each.
CREATE INDEX job_by_state ON job (state, due_at);

-- The turn that a job would be given now: one more than the highest of its owner's waiting ones of its priority, but no less
-- than the lowest of anybody's. It's two reads at the ends of two indexes.
CREATE VIEW next_turn AS
SELECT arrival, max(
    ifnull((SELECT min(turn) FROM job WHERE priority = asked.priority AND state = 'WAITING' AND turn IS NOT NULL), 0),
    ifnull((SELECT max(turn) + 1 FROM job
            WHERE owner = asked.owner AND priority = asked.priority AND state = 'WAITING' AND turn IS NOT NULL), 0)) AS turn
FROM job AS asked;

-- By trigger, because jobs that come or become due together begin to wait one after the other.
CREATE TRIGGER job_comes AFTER INSERT ON job WHEN NEW.state = 'WAITING' AND NEW.turn IS NULL
BEGIN
    UPDATE job SET turn = (SELECT turn FROM next_turn WHERE arrival = NEW.arrival) WHERE arrival = NEW.arrival;
END;
CREATE TRIGGER job_becomes_due AFTER UPDATE OF state ON job WHEN NEW.state = 'WAITING' AND NEW.turn IS NULL
BEGIN
    UPDATE job SET turn = (SELECT turn FROM next_turn WHERE arrival = NEW.arrival) WHERE arrival = NEW.arrival;
END;
