//! The ways by which shoppers are told. Each makes a message of a letter and hands it over.

use futures::future::BoxFuture;
use shared::api::order::Order;

use crate::letter::Letter;
use crate::rules::{Channel, Outcome, Patience};
use crate::store::Leased;

/// What is to be told now.
pub(crate) struct Told<'a> {
    pub(crate) leased: &'a Leased,
    /// The order as it stands now.
    pub(crate) order: &'a Order,
    pub(crate) letter: Letter,
}

/// A way to reach a shopper.
pub(crate) trait Way: Send + Sync + 'static {
    /// What rows, metrics and logs call it.
    fn channel(&self) -> Channel;

    /// How patiently it tells, where `usual` is how others do.
    fn patience(&self, usual: Patience) -> Patience {
        usual
    }

    /// Tells, at least once. The caller bounds the time; a future that is dropped leaves nothing behind here.
    fn tell<'a>(&'a self, told: Told<'a>) -> BoxFuture<'a, Outcome>;
}
