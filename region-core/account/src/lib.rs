//! Who shoppers are: guests, accounts, passwords and sessions.
//!
//! A guest is a user without credentials, minted at the first write. Signing *up* puts credentials on the guest's own
//! id and moves nothing. Signing *in* to an older account carries the guest's cart over and keeps its orders reachable by
//! an alias. The login directory says which user an e-mail belongs to; it lives in the shard that owns the slot of the
//! e-mail's digest, so a sign-in may touch two regions. Each piece of work that belongs to one slot is a step that runs
//! here or, over `/internal`, in the region that owns the slot; every step can be run twice.
//!
//! Deliberately absent: verification of tokens (`web`), profiles and addresses, outside identity providers, mail. Whether a
//! token was revoked and whose orders a caller may see, `order` reads from `users` and `user_aliases` in statements of its
//! own.

mod limits;
mod password;
mod routes;
mod rules;
mod service;
mod sign_in;
mod sign_up;
mod signer;
mod step;
mod store;
mod sweep;

pub use limits::{Limits, Rate};
pub use password::{Hasher, HasherBusy};
pub use routes::{Api, internal_router, router};
pub use service::{AccountError, Accounts, Parts};
pub use signer::{BadSigningKey, Signer};
