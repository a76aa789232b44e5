//! Units on their way between shards.
//!
//! The borrower starts. Each step is one local transaction in its shard's turn, and every message may be lost, doubled, late
//! or out of order:
//!
//! 1. *begin* (borrower): draws a number under the counter's lock and writes the incoming half, pending. Then GRANT.
//! 2. *grant* (donor): below the borrower's low-water mark the answer is 0; a number seen before gets the same answer again;
//!    else `free` is debited and the outgoing half written, sent. A refusal is written too, so that a late duplicate cannot
//!    debit.
//! 3. *credit* (borrower): pending becomes done, and only then `free` rises. Then ACK.
//! 4. *ack* (donor): sent becomes acked; the borrower notes the transfer as settled.
//! 5. *status*: a donor that has heard nothing for long asks. The borrower answers done; or, if it has credited nothing, writes
//!    in the same transaction that it never will, and answers cancelled. Only then the donor takes the units back, and tells
//!    the borrower that it has.
//!
//! No clock undoes anything: until it is known where they are, units in flight are safe and unsellable. Halves are forgotten
//! only below the low-water mark: the least number that is not yet settled on both sides.
//!
//! [`store`] has the steps, `rules` the decisions, [`desk`] answers the messages for the shards of this region, [`donors`]
//! carries them to whatever region.

pub mod desk;
pub mod donors;
pub mod message;
pub(crate) mod routes;
pub(crate) mod rules;
pub mod store;
