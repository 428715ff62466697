-- Where the word of an execution's end stands. An execution of whose end somebody is told has a row here, from the beginning:
-- others cost nothing. It's apart from the execution, which never changes after its end.
CREATE TABLE delivery (
    execution_id BLOB NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    url          TEXT NOT NULL,
    state        TEXT NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'DELIVERED', 'FAILED')),
    attempts     INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    due_at       INTEGER, -- when the next try may begin, where there will be one and the execution has ended
    delivered_at INTEGER,
    last_error   TEXT,
    version      INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1),
    CHECK (due_at IS NULL OR state = 'PENDING'),
    CHECK ((delivered_at IS NULL) = (state <> 'DELIVERED'))
) STRICT, WITHOUT ROWID;

-- What there is still to do, and nothing else: it's looked at all the time.
CREATE INDEX delivery_due ON delivery (due_at, execution_id) WHERE due_at IS NOT NULL;

-- By trigger, so that no end can be written without it.
CREATE TRIGGER delivery_becomes_due AFTER UPDATE OF completed_at ON execution WHEN NEW.completed_at IS NOT NULL
BEGIN
    UPDATE delivery SET due_at = NEW.completed_at, version = version + 1 WHERE execution_id = NEW.id;
END;
