//! The `push_subscriptions` table.

use std::collections::HashSet;

use region_core_store::StoreError;
use sha2::{Digest, Sha256};
use shared::OrderId;
use sqlx::PgConnection;
use uuid::Uuid;

/// Most browsers that are told of one order; the database says so too.
pub(crate) const MOST_BROWSERS: i32 = 5;

/// A browser that is told of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Subscription {
    /// Where its push service takes messages for it.
    pub(crate) endpoint: String,
    pub(crate) public_key: Vec<u8>,
    pub(crate) auth: Vec<u8>,
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
        r#"SELECT endpoint, public_key AS "public_key!", auth AS "auth!"
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
        Subscription { endpoint, public_key: vec![4; 65], auth: vec![number; 16] }
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
}
