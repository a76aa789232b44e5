//! What the outside parties to build and test against have in common, whatever they sell: misbehaviour on demand, a durable log
//! and a listener on loopback.

pub mod faults;
pub mod journal;
pub mod server;
