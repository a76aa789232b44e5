//! The `push_subscriptions` table.

use std::collections::HashSet;
use std::time::Duration;

use region_core_store::StoreError;
use sha2::{Digest, Sha256};
use shared::{EventId, OrderId};
use sqlx::PgConnection;
use uuid::Uuid;

/// Most browsers that are told of one order; the database says so too.
pub(crate) const MOST_BROWSERS: i32 = 5;

/// For how long a browser is told of an order.
const KEPT_FOR: Duration = Duration::from_secs(180 * 24 * 3600);

/// A browser that is told of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Subscription {
    /// Where its push service takes messages for it.
    pub(crate) endpoint: String,
    pub(crate) public_key: Vec<u8>,
    pub(crate) auth: Vec<u8>,
    /// Of which events it was told while others were still to be.
    pub(crate) told: Vec<Uuid>,
}

/// Which of these orders somebody's browser is told of.
pub(crate) async fn told_of(conn: &mut PgConnection, orders: &[OrderId]) -> Result<HashSet<OrderId>, StoreError> {
    let orders: Vec<_> = orders.iter().map(|order| order.as_uuid()).collect();
    let told =
        sqlx::query_scalar!("SELECT DISTINCT order_id FROM push_subscriptions WHERE order_id = ANY ($1)", &orders);
    Ok(told.fetch_all(conn).await?.into_iter().map(OrderId::from_uuid).collect())
}

/// The browsers that are told of the order.
pub(crate) async fn list(conn: &mut PgConnection, order: OrderId) -> Result<Vec<Subscription>, StoreError> {
    let rows = sqlx::query_as!(
        Subscription,
        r#"SELECT endpoint, public_key AS "public_key!", auth AS "auth!", told
           FROM push_subscriptions WHERE order_id = $1 ORDER BY place"#,
        order.as_uuid(),
    );
    Ok(rows.fetch_all(conn).await?)
}

/// Keeps a browser to be told, or the newer keys of one that is; false if there are [`MOST_BROWSERS`] others.
pub(crate) async fn keep(conn: &mut PgConnection, order: OrderId, new: &Subscription) -> Result<bool, StoreError> {
    // One after the other, so that no two take one place.
    let lock = sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 20))", order.to_string());
    lock.execute(&mut *conn).await?;
    let done = sqlx::query!(
        "INSERT INTO push_subscriptions (order_id, endpoint_digest, place, endpoint, public_key, auth)
         SELECT $1, $2::bytea, free.place, $3, $4, $5 FROM generate_series(1, $6::integer) AS free (place)
         WHERE NOT EXISTS (SELECT FROM push_subscriptions AS other WHERE other.order_id = $1
                           AND other.place = free.place AND other.endpoint_digest <> $2::bytea)
         ORDER BY free.place LIMIT 1
         ON CONFLICT (order_id, endpoint_digest) DO UPDATE SET public_key = excluded.public_key, auth = excluded.auth",
        order.as_uuid(),
        &digest(&new.endpoint)[..],
        new.endpoint,
        new.public_key,
        new.auth,
        MOST_BROWSERS,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Keeps that these browsers were told of an event; of the last 16, it is known.
pub(crate) async fn note_told(
    conn: &mut PgConnection,
    order: OrderId,
    event: EventId,
    endpoints: &[String],
) -> Result<(), StoreError> {
    let digests: Vec<_> = endpoints.iter().map(|endpoint| digest(endpoint).to_vec()).collect();
    let noted = sqlx::query!(
        "UPDATE push_subscriptions SET told = (told || $3::uuid)[greatest(cardinality(told) - 14, 1):]
         WHERE order_id = $1 AND endpoint_digest = ANY ($2::bytea[]) AND NOT $3 = ANY (told)",
        order.as_uuid(),
        &digests,
        event.as_uuid(),
    );
    noted.execute(conn).await?;
    Ok(())
}

/// Forgets at most `limit` browsers that are kept since longer than orders have news, the oldest first; tells how many.
pub(crate) async fn forget_old(conn: &mut PgConnection, limit: i64) -> Result<u64, StoreError> {
    let gone = sqlx::query!(
        "DELETE FROM push_subscriptions WHERE (order_id, endpoint_digest) IN (
             SELECT order_id, endpoint_digest FROM push_subscriptions
             WHERE created_at < shard_now() - make_interval(secs => $2)
             ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED)",
        limit,
        KEPT_FOR.as_secs_f64(),
    );
    Ok(gone.execute(conn).await?.rows_affected())
}

/// Forgets these browsers.
pub(crate) async fn forget(conn: &mut PgConnection, order: OrderId, endpoints: &[String]) -> Result<(), StoreError> {
    let digests: Vec<_> = endpoints.iter().map(|endpoint| digest(endpoint).to_vec()).collect();
    let order: Uuid = order.as_uuid();
    let gone = sqlx::query!(
        "DELETE FROM push_subscriptions WHERE order_id = $1 AND endpoint_digest = ANY ($2::bytea[])",
        order,
        &digests,
    );
    gone.execute(conn).await?;
    Ok(())
}

fn digest(endpoint: &str) -> [u8; 32] {
    Sha256::digest(endpoint.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use region_core_store::test_support::shard_database;
    use shared::Slot;

    use super::*;

    fn browser(number: u8) -> Subscription {
        let endpoint = format!("https://push.example/{number}");
        Subscription { endpoint, public_key: vec![4; 65], auth: vec![number; 16], told: Vec::new() }
    }

    #[tokio::test]
    async fn an_order_is_told_to_five_browsers_at_most_and_to_each_once() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        let order = |number| OrderId::mint(1_800_000_000_000, Slot::new(7).unwrap(), [number; 8]);
        for number in [1, 2, 3, 4, 5, 1, 5] {
            assert!(keep(&mut conn, order(1), &browser(number)).await.unwrap(), "{number}");
        }
        assert!(!keep(&mut conn, order(1), &browser(6)).await.unwrap());
        assert!(keep(&mut conn, order(2), &browser(6)).await.unwrap(), "another order has its own");
        let newer = Subscription { auth: vec![9; 16], ..browser(2) };
        assert!(keep(&mut conn, order(1), &newer).await.unwrap());
        let kept = list(&mut conn, order(1)).await.unwrap();
        assert_eq!(kept, [browser(1), newer, browser(3), browser(4), browser(5)]);
        for _ in 0..2 {
            forget(&mut conn, order(1), &[browser(3).endpoint, browser(9).endpoint]).await.unwrap();
        }
        assert!(keep(&mut conn, order(1), &browser(6)).await.unwrap());
        assert_eq!(list(&mut conn, order(1)).await.unwrap()[2], browser(6));
        let told = told_of(&mut conn, &[order(1), order(2), order(3)]).await.unwrap();
        assert_eq!(told, HashSet::from([order(1), order(2)]));
    }

    #[tokio::test]
    async fn of_the_last_events_it_is_known_who_was_told_and_old_browsers_are_forgotten_a_few_at_a_time() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        let order = OrderId::mint(1_800_000_000_000, Slot::new(7).unwrap(), [1; 8]);
        let event = |number| EventId::mint(1_800_000_000_000, [number; 10]);
        for number in 1..=4 {
            keep(&mut conn, order, &browser(number)).await.unwrap();
        }
        for number in 1..=20 {
            for _ in 0..2 {
                note_told(&mut conn, order, event(number), &[browser(1).endpoint]).await.unwrap();
            }
        }
        let kept = list(&mut conn, order).await.unwrap();
        assert_eq!(kept[0].told, (5..=20).map(|number| event(number).as_uuid()).collect::<Vec<_>>());
        assert!(kept[1].told.is_empty());

        let aged = "UPDATE push_subscriptions SET created_at = shard_now() - interval '181 days' WHERE place <= 3";
        sqlx::query(aged).execute(&mut *conn).await.unwrap();
        assert_eq!(forget_old(&mut conn, 2).await.unwrap(), 2);
        assert_eq!(forget_old(&mut conn, 2).await.unwrap(), 1);
        assert_eq!(forget_old(&mut conn, 2).await.unwrap(), 0);
        assert_eq!(list(&mut conn, order).await.unwrap(), [browser(4)]);
    }
}
