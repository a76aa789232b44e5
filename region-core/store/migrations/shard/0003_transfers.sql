-- Units on their way between shards. A transfer is named by (borrower, seq) and has two halves, each written exactly once: the
-- donor debits `free` and records that it sent; the borrower credits `free` and records that it received. Nothing ever
-- times out by itself: a half is undone only after the other side has written that it will never take it.

-- Names this shard's transfers as a borrower. A row and not a sequence: it is locked in the transaction that inserts the
-- incoming half, so that every number below `next_seq` that can be seen has a row or was settled.
CREATE TABLE transfer_counter (
    one_row  boolean PRIMARY KEY DEFAULT true CONSTRAINT transfer_counter_one_row CHECK (one_row),
    next_seq bigint NOT NULL DEFAULT 1 CONSTRAINT transfer_counter_next_seq_positive CHECK (next_seq > 0)
);
INSERT INTO transfer_counter DEFAULT VALUES;

-- What this shard borrows. pending: asked, and nobody knows yet whether the donor gave. done: credited. cancelled: never to
-- be credited, whatever may still arrive.
CREATE TABLE transfers_in (
    seq        bigint PRIMARY KEY CONSTRAINT transfers_in_seq_positive CHECK (seq > 0),
    donor      smallint NOT NULL,
    sku        text NOT NULL,
    -- Units asked for.
    want       bigint NOT NULL CONSTRAINT transfers_in_want_counts CHECK (want > 0),
    -- Units credited, once done.
    units      bigint CONSTRAINT transfers_in_units_count CHECK (units >= 0),
    state      text NOT NULL CONSTRAINT transfers_in_state_known CHECK (state IN ('pending', 'done', 'cancelled')),
    created_at timestamptz NOT NULL DEFAULT shard_now(),
    -- When the donor was known to have closed its half too. The least seq without it is this shard's low-water mark, below
    -- which a donor need remember nothing.
    settled_at timestamptz,
    CONSTRAINT transfers_in_done_says_units CHECK ((state = 'done') = (units IS NOT NULL)),
    CONSTRAINT transfers_in_pending_is_unsettled CHECK (state <> 'pending' OR settled_at IS NULL)
);
CREATE INDEX transfers_in_unsettled ON transfers_in (seq) WHERE settled_at IS NULL;
CREATE INDEX transfers_in_by_sku ON transfers_in (sku, seq);

-- What this shard gave. sent: its units are in flight. acked: the borrower has them. cancelled: the borrower never will, and
-- they are free here again. A refusal is recorded too (0 units, acked at once), so that a late duplicate cannot debit.
CREATE TABLE transfers_out (
    borrower   smallint NOT NULL,
    seq        bigint NOT NULL CONSTRAINT transfers_out_seq_positive CHECK (seq > 0),
    sku        text NOT NULL,
    units      bigint NOT NULL CONSTRAINT transfers_out_units_count CHECK (units >= 0),
    state      text NOT NULL CONSTRAINT transfers_out_state_known CHECK (state IN ('sent', 'acked', 'cancelled')),
    created_at timestamptz NOT NULL DEFAULT shard_now(),
    PRIMARY KEY (borrower, seq)
);
CREATE INDEX transfers_out_sent ON transfers_out (created_at) WHERE state = 'sent';

-- Every seq of that borrower below `low` is settled. Rises only; its row lock makes one borrower's grants take turns.
CREATE TABLE transfer_lows (
    peer smallint PRIMARY KEY,
    low  bigint NOT NULL CONSTRAINT transfer_lows_low_positive CHECK (low > 0)
);
