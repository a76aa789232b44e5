//! Search over the catalog: text, category and price, best match first, with counts to narrow down by.
//!
//! The index is made from the catalog's snapshot and lives in memory; losing it costs a second at the next start. It holds
//! no facts of its own: titles, prices and categories of what it finds come from the same snapshot that orders are priced
//! from. Deliberately absent: suggestions, synonyms, personal ranking, and a trait over engines (there is one).

mod index;
mod query;
mod routes;
mod rules;
mod search;

pub use routes::{Api, router};
pub use search::{Search, SearchError};
