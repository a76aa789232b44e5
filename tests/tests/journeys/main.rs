//! Journeys through a whole store: two regions, three shards, the PoP and the Worker, all of them real.
//!
//! The tests share one store and keep out of each other's way by users, goods and keys of their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod browser;
mod buying;
mod caching;
mod cards;
mod checkout_refusals;
mod delivery;
mod following;
mod forms;
mod hosted;
mod kafka;
mod labels;
mod link;
mod mail;
mod operator;
mod origins;
mod privacy;
mod pushing;
mod regions;
mod repairs;
mod returning;
mod reviews;
mod routes;
mod sending;
mod sessions;
mod stock;
mod store;
mod tokens;
mod webhooks;

/// Makes of a journey, which is told the shop's origin, one test through the PoP and one through the Worker.
macro_rules! through_both {
    ($($journey:ident)*) => { $(
        mod $journey {
            #[tokio::test]
            async fn through_the_pop() {
                super::$journey(crate::store::pop()).await;
            }

            #[tokio::test]
            async fn through_the_worker() {
                super::$journey(crate::store::worker()).await;
            }
        }
    )* };
}
pub(crate) use through_both;
