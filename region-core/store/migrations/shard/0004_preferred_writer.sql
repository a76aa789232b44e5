-- Which process writes this shard by preference, by the name that the others of its region know it under: the holder of the
-- session's advisory lock 0x777269746572 (`writer`), who alone writes this row, on the connection that holds the lock. For
-- the others it is a hint where to hand their orders; nothing that is written relies on it.
CREATE TABLE preferred_writer (
    one_row boolean PRIMARY KEY DEFAULT true CONSTRAINT preferred_writer_one_row CHECK (one_row),
    core    text NOT NULL CONSTRAINT preferred_writer_core_named CHECK (core <> ''),
    since   timestamptz NOT NULL DEFAULT shard_now(),
    -- How often it was taken, the first time included.
    taken   bigint NOT NULL DEFAULT 1 CONSTRAINT preferred_writer_taken_counts CHECK (taken > 0)
);
