//! How many orders came lately from one user, to one address and on one card: sets in the region's Redis, by time.

use region_core_events::contract::OrderFacts;
use region_core_store::redis::Redis;

use crate::provider::Card;
use crate::rules::Payment;

/// Most orders of one user, address or card that are remembered; no bound may be higher.
pub const MOST_COUNTED: u32 = 1_000;

/// Keeps each order once under each key, forgets what is older than the window, and counts. An order that is there already
/// keeps its time.
const SCRIPT: &str = r"
local counts = {}
for i, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', ARGV[1] - ARGV[2])
    if redis.call('ZCARD', key) < tonumber(ARGV[4]) then
        redis.call('ZADD', key, 'NX', ARGV[1], ARGV[3])
    end
    redis.call('PEXPIRE', key, ARGV[2])
    counts[i] = tostring(redis.call('ZCARD', key))
end
return counts
";

/// Orders in the window, this one among them; 0 where nothing could be counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Of the user.
    pub by_user: u32,
    /// To the address.
    pub to_address: u32,
    /// On the card.
    pub on_card: u32,
}

/// Counts the order of this payment. `None` if Redis does not answer in time.
pub(crate) async fn count(
    redis: &Redis,
    window_seconds: u32,
    now_ms: u64,
    payment: &Payment,
    facts: &OrderFacts,
    card: Option<&Card>,
) -> Option<Counts> {
    let mut keys = vec![format!("risk:user:{}", facts.user_id), format!("risk:address:{}", facts.address)];
    keys.extend(card.map(|card| format!("risk:card:{}", card.fingerprint)));
    let window_ms = u64::from(window_seconds) * 1_000;
    let order = payment.order_id.to_string();
    let arguments = vec![now_ms.to_string(), window_ms.to_string(), order, MOST_COUNTED.to_string()];
    let counted = redis.run("risk", SCRIPT, keys, arguments).await?;
    let mut counts = counted.iter().map(|count| count.parse().ok());
    let mut next = || counts.next().flatten();
    Some(Counts { by_user: next()?, to_address: next()?, on_card: if card.is_some() { next()? } else { 0 } })
}

#[cfg(test)]
mod tests {
    use shared::id::{Slot, USER_EPOCH_MS};
    use shared::{Currency, Money, OrderId, PaymentId, UserId};
    use shared_clock::Entropy;

    use super::*;

    const MINUTE: u64 = 60_000;

    async fn redis() -> Redis {
        let url = std::env::var("MERIDIAN_TEST_REDIS_URL").expect("run the tests with `cargo xtask test`");
        let redis = Redis::connect(&url).unwrap();
        while !redis.is_up().await {
            tokio::task::yield_now().await;
        }
        redis
    }

    /// An order of a shopper, to a door and on a card of this test alone: Redis is shared by all.
    fn order(dice: &Entropy) -> Payment {
        let (slot, amount) = (Slot::new(3).unwrap(), Money::new(1_250, Currency::GBP).unwrap());
        let payment_id = PaymentId::mint(USER_EPOCH_MS, slot, dice.bytes());
        Payment::new("bank", payment_id, OrderId::mint(USER_EPOCH_MS, slot, dice.bytes()), amount, "tok".to_owned())
    }

    fn own(dice: &Entropy) -> (OrderFacts, Card) {
        let word = || dice.bytes::<8>().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let ms = USER_EPOCH_MS + u64::from(u32::from_le_bytes(dice.bytes()));
        let user_id = UserId::mint(ms, Slot::new(3).unwrap(), u16::from_le_bytes(dice.bytes())).unwrap();
        let facts = OrderFacts { user_id, address: word(), country: "GB".to_owned(), mail_domain: None };
        (facts, Card { fingerprint: word(), country: None })
    }

    #[tokio::test]
    async fn an_order_counts_once_however_often_it_is_judged_until_the_window_has_passed() {
        let (redis, dice) = (redis().await, Entropy::system());
        let (facts, card) = own(&dice);
        let start = 1_800_000_000_000;
        let count = async |payment: &Payment, minutes: u64, card: Option<&Card>| {
            count(&redis, 3_600, start + minutes * MINUTE, payment, &facts, card).await.unwrap()
        };
        let (first, second, third) = (order(&dice), order(&dice), order(&dice));
        for _ in 0..3 {
            assert_eq!(count(&first, 0, Some(&card)).await, Counts { by_user: 1, to_address: 1, on_card: 1 });
        }
        assert_eq!(count(&second, 30, None).await, Counts { by_user: 2, to_address: 2, on_card: 0 });
        assert_eq!(count(&third, 59, Some(&card)).await, Counts { by_user: 3, to_address: 3, on_card: 2 });
        let later = count(&third, 61, Some(&card)).await;
        assert_eq!(later, Counts { by_user: 2, to_address: 2, on_card: 1 }, "the first is forgotten");
    }

    #[tokio::test]
    async fn nothing_is_counted_while_redis_is_away() {
        let dice = Entropy::system();
        let (facts, card) = own(&dice);
        assert_eq!(count(&Redis::absent(), 3_600, 1, &order(&dice), &facts, Some(&card)).await, None);
    }
}
