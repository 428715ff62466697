-- What is sent to programs while they are there. An execution that takes any has a row in `stdin`, from the beginning: others cost
-- nothing. It's apart from the log, so that a piece changes neither the record nor the numbers of events. The row's lock puts
-- pieces that come at the same time in order, and it's rewritten within its page (HOT).
CREATE TABLE stdin (
    execution_id uuid PRIMARY KEY,
    last_seq     bigint NOT NULL DEFAULT 0 CHECK (last_seq >= 0), -- of its pieces
    size         bigint NOT NULL DEFAULT 0 CHECK (size >= 0), -- what they count together
    ended        boolean NOT NULL DEFAULT false
) WITH (fillfactor = 80);

CREATE TABLE input (
    execution_id uuid NOT NULL,
    seq          bigint NOT NULL CHECK (seq >= 1),
    bytes        bytea, -- none is the end
    PRIMARY KEY (execution_id, seq)
);
