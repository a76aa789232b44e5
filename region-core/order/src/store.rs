//! Orders in the shard. Every function runs inside the caller's transaction or on the caller's connection.

pub(crate) mod desk;
pub(crate) mod lines;
pub(crate) mod origin;
pub(crate) mod place;
pub(crate) mod progress;
pub(crate) mod read;
pub(crate) mod review;
