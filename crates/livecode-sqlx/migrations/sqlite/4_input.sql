-- What is sent to programs while they are there. An execution that takes any has a row in `stdin`, from the beginning: others cost
-- nothing. It's apart from the log, so that a piece changes neither the record nor the numbers of events.
CREATE TABLE stdin (
    execution_id BLOB NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    last_seq     INTEGER NOT NULL DEFAULT 0 CHECK (last_seq >= 0), -- of its pieces
    size         INTEGER NOT NULL DEFAULT 0 CHECK (size >= 0), -- what they count together
    ended        INTEGER NOT NULL DEFAULT 0 CHECK (ended IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE input (
    execution_id BLOB NOT NULL REFERENCES execution (id) ON DELETE CASCADE,
    seq          INTEGER NOT NULL CHECK (seq >= 1),
    bytes        BLOB, -- none is the end
    PRIMARY KEY (execution_id, seq)
) STRICT, WITHOUT ROWID;
