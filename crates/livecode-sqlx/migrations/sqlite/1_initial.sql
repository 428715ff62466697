-- Ids are UUIDs as 16 bytes: they compare as the ids do, and that is by creation. Moments are milliseconds since 1970.
-- STRICT, so that a value of the wrong type is refused and not kept.

CREATE TABLE session (
    id         BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    owner      TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('ACTIVE', 'INACTIVE')),
    revision   INTEGER NOT NULL CHECK (revision >= 1),
    version    INTEGER NOT NULL CHECK (version >= 1),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- What a session holds is its latest revision, so that an autosave writes the source once. The source, which can be many
-- pages long, is last: a list of the history reads none of them.
CREATE TABLE session_revision (
    session_id BLOB NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    revision   INTEGER NOT NULL CHECK (revision >= 1),
    language   TEXT NOT NULL,
    saved_at   INTEGER NOT NULL,
    source     TEXT NOT NULL, -- JSON
    PRIMARY KEY (session_id, revision)
) STRICT;

-- SQLite rewrites a whole row when any of it changes: what an execution was asked stands apart in `spec`, what it wrote
-- in `output`, so that a step from state to state writes a few hundred bytes.
CREATE TABLE execution (
    id                  BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    owner               TEXT NOT NULL,
    session_id          BLOB CHECK (length(session_id) = 16),
    revision            INTEGER,
    idempotency_key     TEXT,
    language            TEXT NOT NULL,
    priority            INTEGER NOT NULL,
    state               TEXT NOT NULL
                        CHECK (state IN ('QUEUED', 'RUNNING', 'COMPLETED', 'FAILED', 'TIMEOUT', 'CANCELLED')),
    attempt             INTEGER NOT NULL CHECK (attempt >= 1),
    failures            INTEGER NOT NULL CHECK (failures >= 0),
    version             INTEGER NOT NULL CHECK (version >= 1),
    run_after           INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    started_at          INTEGER,
    completed_at        INTEGER,
    cancel_requested_at INTEGER,
    outcome             TEXT, -- JSON
    failure             TEXT,
    last_seq            INTEGER NOT NULL CHECK (last_seq >= 1), -- of its event log
    CHECK (state <> 'RUNNING' OR started_at IS NOT NULL),
    CHECK ((completed_at IS NULL) = (state IN ('QUEUED', 'RUNNING'))),
    CHECK (outcome IS NULL OR completed_at IS NOT NULL)
) STRICT;

-- An idempotency key counts within its owner and session; no session counts as one, and NULL would be many.
CREATE UNIQUE INDEX execution_by_key ON execution (owner, ifnull(session_id, x''), idempotency_key)
    WHERE idempotency_key IS NOT NULL;
-- History, page by page.
CREATE INDEX execution_by_owner ON execution (owner, id);
CREATE INDEX execution_by_session ON execution (session_id, id) WHERE session_id IS NOT NULL;
-- The sweep: few rows at any time, however long the history.
CREATE INDEX execution_open ON execution (id) WHERE state IN ('QUEUED', 'RUNNING');

-- The program would have checked; this holds whoever writes.
CREATE TRIGGER execution_ends_once BEFORE UPDATE ON execution
WHEN OLD.state NOT IN ('QUEUED', 'RUNNING')
BEGIN
    SELECT RAISE(ABORT, 'an execution that has ended never changes');
END;

CREATE TABLE spec (
    execution_id BLOB NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    spec         TEXT NOT NULL -- JSON
) STRICT;

-- An execution's log is `event` and `output` together in the order of `seq`, which counts without gaps over both; after
-- them the end, which is the execution itself. Kept in the order of reading: one execution's entries lie side by side.
CREATE TABLE event (
    execution_id     BLOB NOT NULL REFERENCES execution (id) ON DELETE CASCADE,
    seq              INTEGER NOT NULL CHECK (seq >= 1),
    state            TEXT NOT NULL CHECK (state IN ('QUEUED', 'RUNNING')),
    attempt          INTEGER NOT NULL CHECK (attempt >= 1),
    cancel_requested INTEGER NOT NULL CHECK (cancel_requested IN (0, 1)),
    PRIMARY KEY (execution_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE output (
    execution_id BLOB NOT NULL REFERENCES execution (id) ON DELETE CASCADE,
    seq          INTEGER NOT NULL CHECK (seq >= 1),
    attempt      INTEGER NOT NULL CHECK (attempt >= 1),
    stdio        INTEGER NOT NULL CHECK (stdio IN (1, 2)), -- the program's descriptor
    bytes        BLOB NOT NULL,
    PRIMARY KEY (execution_id, seq)
) STRICT, WITHOUT ROWID;

-- The queue: what waits or runs now, and nothing of what has ended, so that a claim is as fast after a million
-- executions as after one. It doesn't refer to `execution`, because it may serve another store.
CREATE TABLE job (
    arrival      INTEGER PRIMARY KEY,
    execution_id BLOB NOT NULL UNIQUE CHECK (length(execution_id) = 16),
    attempt      INTEGER NOT NULL,
    priority     INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('WAITING', 'DELAYED', 'LEASED')),
    due_at       INTEGER NOT NULL, -- since when it can be claimed; until then, when it will be
    token        BLOB CHECK (length(token) = 16), -- of the latest lease; a lapsed one can be extended until the next claim
    CHECK (state <> 'DELAYED' OR token IS NULL),
    CHECK (state <> 'LEASED' OR token IS NOT NULL)
) STRICT;

-- A claim reads its jobs off the front of this one, past neither delayed nor leased ones.
CREATE INDEX job_waiting ON job (priority DESC, arrival) WHERE state = 'WAITING';
-- Those whose delay or lease is over, the next one that will be, and how many there are of each.
CREATE INDEX job_by_state ON job (state, due_at);

-- The queue's own time. One clock for all processes on this file, to the millisecond; no program's reading of it comes in.
CREATE VIEW clock AS SELECT CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER) AS now;
