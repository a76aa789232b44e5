//! scaffold
pub mod certificates;
mod error;
pub mod guardian;
pub mod layout;
mod part;
pub mod ports;
pub mod postgres;
mod probe;
pub mod process;
pub mod redis;
pub mod store;
mod user;
pub use error::SystemError;
pub use part::{Part, PartSpec};
pub use probe::Probe;
pub use user::ServiceUser;
