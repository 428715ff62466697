-- Where the word of an execution's end stands. An execution of whose end somebody is told has a row here, from the beginning:
-- others cost nothing. It's apart from the execution, which never changes after its end.
--
-- Each try leaves dead entries at the head of the index below: the server is to vacuum early.
CREATE TABLE delivery (
    execution_id uuid PRIMARY KEY,
    url          text NOT NULL, -- JSON
    state        text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'DELIVERED', 'FAILED')),
    attempts     bigint NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    due_at       bigint, -- when the next try may begin, where there will be one and the execution has ended
    delivered_at bigint,
    last_error   text, -- JSON
    version      bigint NOT NULL DEFAULT 1 CHECK (version >= 1),
    CHECK (due_at IS NULL OR state = 'PENDING'),
    CHECK ((delivered_at IS NULL) = (state <> 'DELIVERED'))
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);

-- What there is still to do, and nothing else: it's looked at all the time.
CREATE INDEX delivery_due ON delivery (due_at, execution_id) WHERE due_at IS NOT NULL;
