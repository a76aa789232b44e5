//! The commands, one file each.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod delivery;
pub(crate) mod down;
pub(crate) mod faults;
pub(crate) mod import;
pub(crate) mod logs;
pub(crate) mod replay;
pub(crate) mod sqlx;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod tools;
pub(crate) mod up;
