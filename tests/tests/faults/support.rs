//! What the tests of faults have in common.

use std::time::Duration;

use shared::OrderId;
use shared::api::order::{Order, PlaceOrder};
use tests::client::try_send;
use tests::{Books, Shopper, until};

/// How long an order may take to be placed while the store mends itself.
const PLACED_WITHIN: Duration = Duration::from_secs(30);

/// Places an order as a patient client does: whatever is not definite is asked again under the same key.
///
/// An acknowledgement that came is remembered: what is said later must agree with it.
pub(crate) async fn place_until_known(shopper: &Shopper, key: &str, order: &PlaceOrder) -> OrderId {
    let mut told = None;
    let placed = async || {
        let answer = try_send(shopper.placing(key, order)).await.ok()?;
        match answer.status {
            201 => {
                let id = answer.json::<Order>().order_id;
                assert_eq!(*told.get_or_insert(id), id, "one key, two orders");
                Some(id)
            }
            429 | 500 | 502 | 503 | 504 => None,
            other => panic!("{other}: {}", answer.text()),
        }
    };
    until(&format!("the order under {key} is placed"), PLACED_WITHIN, placed).await
}

/// A buyer, his orders as acknowledged, and the keys he used.
pub(crate) struct Buyer {
    pub(crate) shopper: Shopper,
    pub(crate) acknowledged: Vec<(String, OrderId)>,
}

impl Buyer {
    /// Checks that each key has its order and no other exists, and that each was decided with the money to match.
    pub(crate) async fn got_what_was_acknowledged(&self, books: &Books) {
        for (_, id) in &self.acknowledged {
            self.shopper.decided(*id).await;
        }
        let orders = books.money_matches(self.shopper.tokens.user_id).await;
        let mut kept: Vec<_> = orders.into_iter().map(|order| (order.key, order.order_id)).collect();
        let mut expected = self.acknowledged.clone();
        kept.sort();
        expected.sort();
        assert_eq!(kept, expected, "left: what the shard has; right: what was acknowledged");
    }
}
