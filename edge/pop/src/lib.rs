//! The native point of presence: hosts the storefront near its shoppers, and is the way to the cores for itself and for
//! Cloudflare Workers.
//!
//! Three listeners: *public* serves [`edge_app`]; *uplink* takes `/v1` requests that a Worker signed; *ops* tells whether
//! the process is well. All requests for cores go through one [`upstream::Upstream`], which picks the user's home region
//! and sends over QUIC with mutual TLS. Who a user is, is not decided here: only cores and the app read tokens, and the
//! region picked from a token's claim is a hint that the core checks.
//!
//! Deliberately absent: TLS towards shoppers (whatever ends it is a terminator, see [`config::Listen`]), a cache on disk, and purges pushed by the
//! cores; cached pages live by their freshness alone.

pub mod bodies;
pub mod config;
mod connection;
pub mod crowd;
pub mod guard;
pub mod headers;
pub mod host;
pub mod keys;
pub mod limits;
pub mod listener;
pub mod ops;
mod pop;
pub mod rules;
pub mod signed;
pub mod stock;
pub mod streams;
pub mod upstream;

pub use config::{Config, ConfigError};
pub use pop::{Pop, StartError};
