//! Nothing lives on two shards: every order's id and every user's key, of all shards, walked side by side.
//!
//! What a slot that moved away left behind does not count.

use anyhow::Context as _;
use futures::StreamExt as _;
use uuid::Uuid;

use super::cut::{Cut, Shard};
use super::merge::{Merge, Rows};
use super::report::{Breach, Findings, Found};
use super::rules::{ORDERS_ONCE, slot_of_user, slot_of_uuid};

const ORDERS: &str = concat!(
    "SELECT order_id FROM orders JOIN slots ON slots.slot = ",
    slot_of_uuid!("order_id"),
    " WHERE slots.state IN ('owner', 'frozen') ORDER BY order_id"
);
const KEYS: &str = concat!(
    "SELECT user_id, key FROM idempotency_records JOIN slots ON slots.slot = ",
    slot_of_user!("user_id"),
    " WHERE slots.state IN ('owner', 'frozen') ORDER BY user_id, key COLLATE \"C\""
);

/// A user and a key of his.
type Key = (i64, String);

pub(super) async fn check(cut: &mut Cut, findings: &mut Findings) -> anyhow::Result<()> {
    findings.add(ORDERS_ONCE, orders(cut).await.context("the orders of all shards")?);
    findings.add(ORDERS_ONCE, keys(cut).await.context("the keys of all shards")?);
    Ok(())
}

fn order_rows(shard: &mut Shard) -> (i16, Rows<'_, Uuid>) {
    (shard.id, sqlx::query_scalar(ORDERS).fetch(&mut shard.conn).boxed())
}

fn key_rows(shard: &mut Shard) -> (i16, Rows<'_, Key>) {
    (shard.id, sqlx::query_as(KEYS).fetch(&mut shard.conn).boxed())
}

async fn orders(cut: &mut Cut) -> anyhow::Result<Found> {
    let mut merge = Merge::of(cut.shards.iter_mut().map(order_rows)).await?;
    let mut found = Found::default();
    loop {
        let same = merge.next(|order| order).await?;
        let Some((_, order)) = same.first() else { return Ok(found) };
        let key = order.to_string();
        note(&mut found, "orders", key, &same);
    }
}

async fn keys(cut: &mut Cut) -> anyhow::Result<Found> {
    let mut merge = Merge::of(cut.shards.iter_mut().map(key_rows)).await?;
    let mut found = Found::default();
    loop {
        let same = merge.next(|key| key).await?;
        let Some((_, (user, key))) = same.first() else { return Ok(found) };
        let key = format!("user {user}, key {key}");
        note(&mut found, "idempotency_records", key, &same);
    }
}

fn note<T>(found: &mut Found, table: &str, key: String, same: &[(i16, T)]) {
    found.rows += same.len() as u64;
    if same.len() > 1 {
        let shards = same.iter().map(|(shard, _)| shard.to_string()).collect::<Vec<_>>().join(" and ");
        found.breach(Breach {
            shard: None,
            table: table.to_owned(),
            key,
            problem: format!("lives on shards {shards}"),
        });
    }
}
