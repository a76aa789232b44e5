//! Fault runs: a whole store of its own under load while its parts die, hang and lose sight of each other, and then the
//! books compared with what the clients were told.
//!
//! What happens when is decided from a seed before anything starts (`schedule`, `goods`); `chaos` carries it out on the
//! running parts while `load` places orders through the front door, `hands` send them, take them back and call them off as who keeps
//! the store does, and `history` keeps what each client was told. When the
//! faults are over the store must become quiet by itself; then `verdict` compares, and the audit looks at every row.
//!
//! Deliberately absent: privileges. Everything is asked for through the PoP with the users' and an operator's own tokens; only the comparison
//! reads the databases, directly, not through the links that were made bad.

mod books;
mod broker;
mod bug;
mod chaos;
mod ci;
mod client;
mod failpoint;
mod goods;
mod hands;
mod history;
mod load;
mod report;
mod run;
mod scenario;
mod schedule;
mod verdict;

pub(crate) use self::bug::Bug;
pub(crate) use self::ci::run as run_in_ci;
pub(crate) use self::failpoint::Failpoint;
pub(crate) use self::run::run;
pub(crate) use self::scenario::Scenario;
