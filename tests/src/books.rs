//! What was written down: by the shards, and by the payment provider; and the few rows that tests change behind the store's
//! back. All SQL of the tests is here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use shared::{Money, OrderId, Sku, Slot, UserId};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::client::{Client, try_send};
use crate::store::Sites;
use crate::wait::until;

/// How long cores may take to elect one of theirs; they stand every second.
const ELECTED_WITHIN: Duration = Duration::from_secs(20);

/// The books of a whole store.
#[derive(Clone, Debug)]
pub struct Books {
    shards: BTreeMap<u16, PgPool>,
    sandbox: Client,
}

/// Where the units of a SKU are, over all shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Units {
    /// Received from suppliers and returned, less what was written off.
    pub supplied: i64,
    /// For sale.
    pub free: i64,
    /// Held for unpaid orders.
    pub reserved: i64,
    /// Claimed or confirmed.
    pub sold: i64,
}

/// An order as its shard has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderRow {
    /// The order.
    pub order_id: OrderId,
    /// Under which key it was accepted.
    pub key: String,
    /// Where it stands.
    pub status: String,
    /// What it costs, in minor units.
    pub total_minor: i64,
    /// The payment as the provider knows it, once there is one.
    pub payment_id: Option<String>,
}

/// What is written down about orders of one SKU, over all shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Orders that hold it.
    pub orders: i64,
    /// Their lines of it.
    pub lines: i64,
    /// Reservations of it.
    pub reservations: i64,
    /// Events that say that one of these orders was created.
    pub events: i64,
}

/// Money that moved, from the provider's own log.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Movement {
    /// Counts them.
    pub sequence: u64,
    /// `capture` or `refund`.
    pub kind: String,
    /// Our payment id.
    pub merchant_reference: String,
    /// How much.
    pub amount: Money,
}

impl Books {
    /// Opens the books. Connections are made when they are needed.
    ///
    /// # Panics
    /// If a database's address is none.
    #[must_use]
    pub fn of(sites: &Sites) -> Self {
        let pool = |url: &String| PgPoolOptions::new().max_connections(2).connect_lazy(url).unwrap();
        let shards = sites.shards.iter().map(|(id, url)| (*id, pool(url))).collect();
        Self { shards, sandbox: Client::new(&sites.addresses.sandbox) }
    }

    /// Where a SKU's units are.
    ///
    /// # Panics
    /// If a shard does not answer.
    pub async fn units(&self, sku: &Sku) -> Units {
        let mut all = Units::default();
        for pool in self.shards.values() {
            let (supplied, free, reserved, sold): (i64, i64, i64, i64) = sqlx::query_as(
                "SELECT (SELECT coalesce(sum(units), 0)::bigint FROM ledger WHERE sku = $1),
                        coalesce(sum(free), 0)::bigint, coalesce(sum(reserved), 0)::bigint,
                        coalesce(sum(sold), 0)::bigint
                 FROM allotments WHERE sku = $1",
            )
            .bind(sku.as_str())
            .fetch_one(pool)
            .await
            .unwrap();
            all.supplied += supplied;
            all.free += free;
            all.reserved += reserved;
            all.sold += sold;
        }
        all
    }

    /// What is written down about orders of a SKU; lines and reservations count whether their order is there or not.
    ///
    /// # Panics
    /// If a shard does not answer.
    pub async fn written(&self, sku: &Sku) -> Written {
        let mut all = Written::default();
        for pool in self.shards.values() {
            let (orders, lines, reservations, events): (i64, i64, i64, i64) = sqlx::query_as(
                "WITH wanted AS (SELECT order_id FROM line_items WHERE sku = $1)
                 SELECT (SELECT count(*) FROM orders JOIN wanted USING (order_id)),
                        (SELECT count(*) FROM wanted),
                        (SELECT count(*) FROM reservations WHERE sku = $1),
                        (SELECT count(*) FROM outbox JOIN wanted ON aggregate_id = order_id WHERE kind = 'OrderCreated')",
            )
            .bind(sku.as_str())
            .fetch_one(pool)
            .await
            .unwrap();
            all.orders += orders;
            all.lines += lines;
            all.reservations += reservations;
            all.events += events;
        }
        all
    }

    /// The core that writes a shard by preference, as the part of the system that it is; once there is one.
    ///
    /// # Panics
    /// If the shard does not answer, or none is elected in time.
    pub async fn preferred_core(&self, shard: u16) -> String {
        let elected = async || {
            let row = sqlx::query_scalar("SELECT core FROM preferred_writer").fetch_optional(&self.shards[&shard]);
            row.await.unwrap().map(|core: String| format!("core.{core}"))
        };
        until(&format!("shard {shard} has a preferred writer"), ELECTED_WITHIN, elected).await
    }

    /// Waits until another core than that one writes a shard by preference.
    ///
    /// # Panics
    /// If the shard does not answer, or none is elected in time.
    pub async fn prefers_another(&self, shard: u16, than: &str) {
        let elected = async || Some(self.preferred_core(shard).await).filter(|core| core != than);
        until(&format!("shard {shard} has another preferred writer"), ELECTED_WITHIN, elected).await;
    }

    /// Checks on every shard and for every SKU that no unit came from nowhere or went there.
    ///
    /// # Panics
    /// Naming the first SKU whose units do not add up.
    pub async fn conserve_units(&self) {
        for (shard, pool) in &self.shards {
            let wrong: Option<(String, i64, i64)> = sqlx::query_as(
                "SELECT sku, supplied, held FROM
                    (SELECT sku, sum(units)::bigint AS supplied FROM ledger GROUP BY sku) AS supplies
                    FULL JOIN (SELECT sku, free + reserved + sold AS held FROM allotments) AS holdings USING (sku)
                 WHERE supplied IS DISTINCT FROM held LIMIT 1",
            )
            .fetch_optional(pool)
            .await
            .unwrap();
            assert_eq!(wrong, None, "shard {shard}: SKU, supplied and held do not go together");
        }
    }

    /// A user's orders, oldest first.
    ///
    /// # Panics
    /// If a shard does not answer.
    pub async fn orders_of(&self, user: UserId) -> Vec<OrderRow> {
        let mut orders = Vec::new();
        for pool in self.shards.values() {
            let rows: Vec<(String, String, String, i64, Option<String>)> = sqlx::query_as(
                "SELECT order_id::text, key, status, total_minor, payment_id::text
                 FROM orders JOIN idempotency_records USING (order_id, user_id) LEFT JOIN payments USING (order_id)
                 WHERE user_id = $1 ORDER BY order_id",
            )
            .bind(user.as_i64())
            .fetch_all(pool)
            .await
            .unwrap();
            orders.extend(rows.into_iter().map(|(id, key, status, total_minor, payment_id)| OrderRow {
                order_id: id.parse().unwrap(),
                key,
                status,
                total_minor,
                payment_id,
            }));
        }
        orders
    }

    /// How many rows a user has in each table that his requests write to.
    ///
    /// # Panics
    /// If a shard does not answer.
    pub async fn rows_of(&self, user: UserId) -> [i64; 6] {
        let mut all = [0; 6];
        for pool in self.shards.values() {
            let row: (i64, i64, i64, i64, i64, i64) = sqlx::query_as(
                "SELECT (SELECT count(*) FROM orders WHERE user_id = $1),
                        (SELECT count(*) FROM idempotency_records WHERE user_id = $1),
                        (SELECT count(*) FROM reservations JOIN orders USING (order_id) WHERE user_id = $1),
                        (SELECT count(*) FROM outbox JOIN orders ON order_id = aggregate_id WHERE user_id = $1),
                        (SELECT count(*) FROM cart_lines JOIN carts USING (cart_id) WHERE user_id = $1),
                        (SELECT count(*) FROM cart_operations JOIN carts USING (cart_id) WHERE user_id = $1)",
            )
            .bind(user.as_i64())
            .fetch_one(pool)
            .await
            .unwrap();
            for (sum, count) in all.iter_mut().zip([row.0, row.1, row.2, row.3, row.4, row.5]) {
                *sum += count;
            }
        }
        all
    }

    /// How many users the store has.
    ///
    /// # Panics
    /// If a shard does not answer.
    pub async fn users(&self) -> i64 {
        let mut all = 0;
        for pool in self.shards.values() {
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(pool).await.unwrap();
            all += count;
        }
        all
    }

    /// Says in a shard what it is to a slot: `owner`, `moved` and so on. With `owner`, users of that slot are known there.
    ///
    /// # Panics
    /// If the shard does not answer.
    pub async fn set_slot(&self, shard: u16, slot: Slot, state: &str) {
        sqlx::query(
            "INSERT INTO slots (slot, state, epoch) VALUES ($1, $2, 1)
             ON CONFLICT (slot) DO UPDATE SET state = excluded.state, epoch = slots.epoch + 1",
        )
        .bind(i16::from(slot))
        .bind(state)
        .execute(&self.shards[&shard])
        .await
        .unwrap();
    }

    /// Makes a user who has nothing yet known in another shard, too.
    ///
    /// # Panics
    /// If the shard does not answer.
    pub async fn introduce(&self, user: UserId, shard: u16) {
        let introduced = sqlx::query("INSERT INTO users (user_id) VALUES ($1)").bind(user.as_i64());
        introduced.execute(&self.shards[&shard]).await.unwrap();
    }

    /// Publishes in the primary catalog database that a slot belongs to another shard from now on.
    ///
    /// # Panics
    /// If the database does not answer.
    pub async fn publish_owner(catalog: &str, slot: Slot, shard: u16) {
        let pool = PgPoolOptions::new().max_connections(1).connect(catalog).await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        let owner = sqlx::query("UPDATE control.slot_owners SET shard_id = $2 WHERE slot = $1");
        owner.bind(i16::from(slot)).bind(i16::try_from(shard).unwrap()).execute(&mut *tx).await.unwrap();
        sqlx::query("UPDATE control.slot_map SET epoch = epoch + 1").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// All money that the provider moved, in order.
    ///
    /// # Panics
    /// If the provider does not answer.
    pub async fn movements(&self) -> Vec<Movement> {
        #[derive(Deserialize)]
        struct Log {
            movements: Vec<Movement>,
        }
        let mut all: Vec<Movement> = Vec::new();
        loop {
            let after = all.last().map_or(0, |movement| movement.sequence);
            let request = self.sandbox.request(http::Method::GET, &format!("/v1/log?after={after}"));
            let Log { movements } = try_send(request).await.unwrap().expect(200).json();
            if movements.is_empty() {
                return all;
            }
            all.extend(movements);
        }
    }

    /// How often money moved for a user.
    pub async fn movements_of(&self, user: UserId) -> usize {
        let (orders, movements) = (self.orders_of(user).await, self.movements().await);
        let of_user = |movement: &&Movement| {
            orders.iter().any(|order| order.payment_id.as_ref() == Some(&movement.merchant_reference))
        };
        movements.iter().filter(of_user).count()
    }

    /// What the provider captured for each payment of ours, refunds taken off, in minor units.
    pub async fn captured(&self) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for movement in self.movements().await {
            let sign = if movement.kind == "capture" { 1 } else { -1 };
            *sums.entry(movement.merchant_reference).or_default() += sign * movement.amount.minor();
        }
        sums
    }

    /// Minor units that were given back of an order in parts.
    async fn given_back(&self, order: OrderId) -> i64 {
        let sql =
            "SELECT coalesce(sum(amount_minor), 0)::bigint FROM refunds WHERE order_id = $1 AND state = 'refunded'";
        self.sum(sql, order).await
    }

    /// Minor units that the ledger of money has for an order, what went back taken off.
    async fn entered(&self, order: OrderId) -> i64 {
        let sql =
            "SELECT coalesce(sum(CASE WHEN debit = 'provider' THEN amount_minor ELSE -amount_minor END), 0)::bigint
                   FROM money_entries WHERE order_id = $1";
        self.sum(sql, order).await
    }

    async fn sum(&self, sql: &'static str, order: OrderId) -> i64 {
        let mut all = 0;
        for pool in self.shards.values() {
            let minor: i64 = sqlx::query_scalar(sql).bind(order.as_uuid()).fetch_one(pool).await.unwrap();
            all += minor;
        }
        all
    }

    /// Checks that each of a user's orders is decided and that the money agrees: its total exactly once for a paid
    /// order, less what was given back of it, nothing for a cancelled one; and that the ledger of money says the same of paid
    /// ones. Gives the orders.
    ///
    /// # Panics
    /// Naming the order for which that is not so.
    pub async fn money_matches(&self, user: UserId) -> Vec<OrderRow> {
        let (orders, movements) = (self.orders_of(user).await, self.movements().await);
        for order in &orders {
            let of_order = |movement: &&Movement| Some(&movement.merchant_reference) == order.payment_id.as_ref();
            let moved: Vec<_> = movements.iter().filter(of_order).collect();
            let captures = moved.iter().filter(|movement| movement.kind == "capture").count();
            let sign = |movement: &&Movement| if movement.kind == "capture" { 1 } else { -1 };
            let net: i64 = moved.iter().map(|movement| sign(movement) * movement.amount.minor()).sum();
            let expected = match order.status.as_str() {
                "CONFIRMED" | "SHIPPED" | "DELIVERED" => order.total_minor - self.given_back(order.order_id).await,
                "CANCELLED" => 0,
                other => panic!("order {} is {other}", order.order_id),
            };
            assert_eq!(net, expected, "{order:?} moved {moved:?}");
            if order.status != "CANCELLED" {
                assert_eq!(self.entered(order.order_id).await, net, "{order:?}: the ledger of money says otherwise");
            }
            assert!(captures <= 1, "{order:?} was charged more than once: {moved:?}");
        }
        orders
    }
}
