-- What has ended, the earliest first: what is too young to be deleted isn't looked at.
CREATE INDEX execution_by_end ON execution (completed_at, id) WHERE completed_at IS NOT NULL;
