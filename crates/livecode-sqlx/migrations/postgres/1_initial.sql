-- Ids are UUIDs: they compare as the ids do, and that is by creation. Moments are milliseconds since 1970. What may hold a
-- NUL, which text here can't, is JSON, which writes it as \u0000; as text and not jsonb, which would refuse that as well.

-- No index has a column that a save changes, and pages are filled to four fifths: the row is rewritten within its page (HOT).
CREATE TABLE session (
    id         uuid PRIMARY KEY,
    owner      text COLLATE "C" NOT NULL,
    status     text NOT NULL CHECK (status IN ('ACTIVE', 'INACTIVE')),
    revision   bigint NOT NULL CHECK (revision >= 1),
    version    bigint NOT NULL CHECK (version >= 1),
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL
) WITH (fillfactor = 80);

-- What a session holds is its latest revision, so that an autosave writes the source once. A source of some length lies out of
-- line: a list of the history reads none of them.
CREATE TABLE session_revision (
    session_id uuid NOT NULL,
    revision   bigint NOT NULL CHECK (revision >= 1),
    language   text NOT NULL, -- JSON
    saved_at   bigint NOT NULL,
    source     text NOT NULL, -- JSON
    PRIMARY KEY (session_id, revision)
);

-- PostgreSQL writes a whole new row when any of it changes: what an execution was asked stands apart in `spec`, what it wrote
-- in `output`, so that a step from state to state writes a few hundred bytes. No index has a column that a start or output
-- changes, and pages are filled to four fifths, so that those steps stay within their page (HOT) and touch no index: only the
-- end does. Rows that are dead after it are few for each execution, and vacuum finds them by the map of pages that changed.
--
-- No table refers to another by a foreign key: each row that is added would read and lock its execution's. All rows of an
-- execution are added and removed by statements that see to it themselves.
CREATE TABLE execution (
    id                  uuid PRIMARY KEY,
    owner               text COLLATE "C" NOT NULL,
    session_id          uuid,
    revision            bigint,
    idempotency_key     text COLLATE "C", -- JSON
    language            text NOT NULL, -- JSON
    priority            smallint NOT NULL,
    state               text NOT NULL
                        CHECK (state IN ('QUEUED', 'RUNNING', 'COMPLETED', 'FAILED', 'TIMEOUT', 'CANCELLED')),
    attempt             bigint NOT NULL CHECK (attempt >= 1),
    failures            bigint NOT NULL CHECK (failures >= 0),
    version             bigint NOT NULL CHECK (version >= 1),
    run_after           bigint NOT NULL,
    created_at          bigint NOT NULL,
    started_at          bigint,
    completed_at        bigint,
    cancel_requested_at bigint,
    outcome             text, -- JSON
    failure             text, -- JSON
    last_seq            bigint NOT NULL CHECK (last_seq >= 1), -- of its event log
    CHECK (state <> 'RUNNING' OR started_at IS NOT NULL),
    CHECK ((completed_at IS NULL) = (state IN ('QUEUED', 'RUNNING'))),
    CHECK (outcome IS NULL OR completed_at IS NOT NULL)
) WITH (fillfactor = 80);

-- An idempotency key counts within its owner and session; no session counts as one.
CREATE UNIQUE INDEX execution_by_key ON execution (owner, idempotency_key, session_id) NULLS NOT DISTINCT
    WHERE idempotency_key IS NOT NULL;
-- History, page by page.
CREATE INDEX execution_by_owner ON execution (owner, id);
CREATE INDEX execution_by_session ON execution (session_id, id) WHERE session_id IS NOT NULL;
-- The sweep: few rows at any time, however long the history. By `completed_at`, since a start changes `state`.
CREATE INDEX execution_open ON execution (id) WHERE completed_at IS NULL;
-- What has ended, the earliest first: what is too young to be deleted isn't looked at.
CREATE INDEX execution_by_end ON execution (completed_at, id) WHERE completed_at IS NOT NULL;

-- The program would have checked; this holds whoever writes.
CREATE FUNCTION execution_has_ended() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'an execution that has ended never changes' USING ERRCODE = 'check_violation'; END $$;
CREATE TRIGGER execution_ends_once BEFORE UPDATE ON execution
    FOR EACH ROW WHEN (OLD.completed_at IS NOT NULL) EXECUTE FUNCTION execution_has_ended();

CREATE TABLE spec (
    execution_id uuid PRIMARY KEY,
    spec         text NOT NULL -- JSON
);

-- An execution's log is `event` and `output` together in the order of `seq`, which counts without gaps over both; after
-- them the end, which is the execution itself. Both are only ever added to, so that vacuum has nothing to do in them but when
-- history is removed.
CREATE TABLE event (
    execution_id     uuid NOT NULL,
    seq              bigint NOT NULL CHECK (seq >= 1),
    state            text NOT NULL CHECK (state IN ('QUEUED', 'RUNNING')),
    attempt          bigint NOT NULL CHECK (attempt >= 1),
    cancel_requested boolean NOT NULL,
    PRIMARY KEY (execution_id, seq)
);

CREATE TABLE output (
    execution_id uuid NOT NULL,
    seq          bigint NOT NULL CHECK (seq >= 1),
    attempt      bigint NOT NULL CHECK (attempt >= 1),
    stdio        smallint NOT NULL CHECK (stdio IN (1, 2)), -- the program's descriptor
    bytes        bytea NOT NULL,
    PRIMARY KEY (execution_id, seq)
);

-- The queue: what waits or runs now, and nothing of what has ended, so that a claim is as fast after a million
-- executions as after one. It doesn't refer to `execution`, because it may serve another store.
--
-- A job is a row for a moment: added, leased (a new row version with entries in other indexes), removed. A claim reads off the
-- front of `job_waiting`, which is where the entries of rows that are dead lie until a vacuum takes them out, and a short queue
-- that turns over fast leaves thousands of them a second there. Three things keep them few: claims take many at a time; pages
-- are filled to half, which leaves room for the versions to come and gives a scan fewer rows to look at; and the queue itself
-- vacuums this table as soon as enough jobs have passed through it, because the server's own vacuum comes once a minute at most.
-- What is below makes that one come as early as it may, for when no process of ours is left; and no vacuum gives pages
-- back to the file system, which would lock the table and which the next jobs would only take again.
CREATE SEQUENCE job_arrival;
CREATE TABLE job (
    execution_id uuid PRIMARY KEY,
    attempt      bigint NOT NULL,
    owner        text COLLATE "C" NOT NULL,
    priority     smallint NOT NULL,
    turn         bigint NOT NULL, -- among those of its priority; 0 until the delay has passed
    arrival      bigint NOT NULL DEFAULT nextval('job_arrival'),
    state        text NOT NULL CHECK (state IN ('WAITING', 'DELAYED', 'LEASED')),
    due_at       timestamptz NOT NULL, -- since when it can be claimed; until then, when it will be
    token        uuid, -- of the latest lease; a lapsed one can be extended until the next claim
    CHECK (state <> 'DELAYED' OR token IS NULL),
    CHECK (state <> 'LEASED' OR token IS NOT NULL)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);

-- A claim reads its jobs off the front of this one, past neither delayed nor leased ones. With `due_at` in it, those that wait
-- are counted, and the oldest found, without a look at the table.
CREATE INDEX job_waiting ON job (priority DESC, turn, arrival) INCLUDE (due_at) WHERE state = 'WAITING';
-- The last turn that an owner's waiting jobs have.
CREATE INDEX job_by_owner ON job (owner, priority, turn) WHERE state = 'WAITING';
-- Those whose delay or lease is over, and the next one that will be.
CREATE INDEX job_due ON job (due_at) WHERE state <> 'WAITING';
