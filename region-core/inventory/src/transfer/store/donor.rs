//! The donor's half: `transfers_out` and `transfer_lows`.

use std::collections::HashMap;

use region_core_store::StoreError;
use region_core_store::{Bug, planted};
use shared::{RegionName, ShardId, Sku};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{parse_shard, parse_sku};
use crate::origins::rules::Lying;
use crate::origins::{self, Elsewhere};
use crate::store::{signed, unsigned};
use crate::transfer::message::{Ask, Given, Grant, Sent, Seq};

/// An outgoing half that nothing was heard of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overdue {
    /// To whom.
    pub borrower: ShardId,
    /// Which, of what, how many.
    pub sent: Sent,
}

/// Outgoing halves of a borrower that are closed here and not yet forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closable {
    /// Whose.
    pub borrower: ShardId,
    /// The cancelled ones among them, which the borrower is to settle.
    pub cancelled: Vec<Seq>,
}

/// What has left this shard and is not known to have arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InFlight {
    /// How many transfers.
    pub transfers: u64,
    /// How many units.
    pub units: u64,
    /// Age of the oldest, in seconds by the shard's clock.
    pub oldest_seconds: u64,
}

/// Notes that everything of that borrower below `low` is settled. Gives the highest mark ever heard, and holds its lock: one
/// borrower's grants take turns.
///
/// # Errors
/// When the database fails.
pub async fn raise_low(conn: &mut PgConnection, borrower: ShardId, low: Seq) -> Result<Seq, StoreError> {
    let low = sqlx::query_scalar!(
        "INSERT INTO transfer_lows (peer, low) VALUES ($1, $2)
         ON CONFLICT (peer) DO UPDATE SET low = greatest(transfer_lows.low, excluded.low)
         RETURNING low",
        borrower.number(),
        low.0,
    )
    .fetch_one(conn)
    .await?;
    Ok(Seq(low))
}

/// Answers each ask, once and for all: debits `free` by what `decide(ask, free)` gives and writes the outgoing half. What was
/// answered before gets the same answer, what is settled 0. `decide` may not give more than is free. `to` is the borrower's region,
/// where there are several: it decides which units go ([`Lying::lend`]).
///
/// # Errors
/// When the database fails.
pub async fn grant(
    conn: &mut PgConnection,
    message: &Grant,
    to: Option<&RegionName>,
    decide: impl Fn(&Ask, u64) -> u64 + Send + Sync,
) -> Result<Vec<Given>, StoreError> {
    let low = raise_low(conn, message.borrower, message.low).await?;
    let seqs: Vec<i64> = message.asks.iter().map(|ask| ask.seq.0).collect();
    // A statement after the lock: it sees what another core answered to the same message meanwhile.
    let mut known = recorded(conn, message.borrower, &seqs).await?;
    let (settled, open): (Vec<&Ask>, Vec<&Ask>) = message.asks.iter().partition(|ask| ask.seq < low);
    let open: Vec<&Ask> = open.into_iter().filter(|ask| !known.contains_key(&ask.seq)).collect();
    let mut stock = lock(conn, &open, to.is_some()).await?;
    let mut sending = Vec::with_capacity(open.len());
    for ask in open {
        if known.contains_key(&ask.seq) {
            continue; // Named twice in one message.
        }
        let stock = stock.entry(ask.sku.clone()).or_default();
        let units = decide(ask, stock.free).min(stock.free);
        stock.free -= units;
        let elsewhere = to.map(|to| stock.lying.lend(units, to)).unwrap_or_default();
        known.insert(ask.seq, (units, elsewhere.clone()));
        sending.push(Sending { ask, units, elsewhere });
    }
    send(conn, message.borrower, &sending).await?;
    let settled: Vec<Seq> = settled.into_iter().map(|ask| ask.seq).collect();
    let answer = |ask: &Ask| {
        let known = known.get(&ask.seq).filter(|_| !settled.contains(&ask.seq)).cloned();
        let (units, elsewhere) = known.unwrap_or_default();
        Given { seq: ask.seq, units, left: stock.get(&ask.sku).map(|stock| stock.free), elsewhere }
    };
    Ok(message.asks.iter().map(answer).collect())
}

/// What was answered to that borrower under these numbers. What was taken back is 0: the borrower said that it never comes.
async fn recorded(
    conn: &mut PgConnection,
    borrower: ShardId,
    seqs: &[i64],
) -> Result<HashMap<Seq, (u64, Elsewhere)>, StoreError> {
    if planted(Bug::NoDonorKey) {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"SELECT seq, CASE WHEN state = 'cancelled' THEN 0 ELSE units END AS "units!",
               CASE WHEN state <> 'cancelled' THEN elsewhere END AS "elsewhere: Json<Elsewhere>"
           FROM transfers_out WHERE borrower = $1 AND seq = ANY ($2)"#,
        borrower.number(),
        seqs,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let elsewhere = row.elsewhere.map(|Json(elsewhere)| elsewhere).unwrap_or_default();
            Ok((Seq(row.seq), (unsigned("transfers_out.units", row.units)?, elsewhere)))
        })
        .collect()
}

/// What a donor has of a SKU.
#[derive(Default)]
struct Stock {
    free: u64,
    lying: Lying,
}

/// Units that are to be sent.
struct Sending<'a> {
    ask: &'a Ask,
    units: u64,
    elsewhere: Elsewhere,
}

/// Locks these allotments in SKU order, the order in which everybody locks them; says what is free, and where units lie if that is
/// to be known.
async fn lock(conn: &mut PgConnection, asks: &[&Ask], lying: bool) -> Result<HashMap<Sku, Stock>, StoreError> {
    if asks.is_empty() {
        return Ok(HashMap::new());
    }
    let skus: Vec<String> = asks.iter().map(|ask| ask.sku.as_str().to_owned()).collect();
    let rows =
        sqlx::query!("SELECT sku, free, reserved FROM allotments WHERE sku = ANY ($1) ORDER BY sku FOR UPDATE", &skus)
            .fetch_all(&mut *conn)
            .await?;
    // A statement after the locks: it sees what whoever held them has written.
    let mut elsewhere = if lying { origins::unassigned(conn, &skus).await? } else { HashMap::new() };
    rows.into_iter()
        .map(|row| {
            let (sku, free) = (parse_sku("allotments.sku", &row.sku)?, unsigned("allotments.free", row.free)?);
            let unsold = free + unsigned("allotments.reserved", row.reserved)?;
            let lying = Lying { unsold, elsewhere: elsewhere.remove(&sku).unwrap_or_default() };
            Ok((sku, Stock { free, lying }))
        })
        .collect()
}

async fn send(conn: &mut PgConnection, borrower: ShardId, sending: &[Sending<'_>]) -> Result<(), StoreError> {
    if sending.is_empty() {
        return Ok(());
    }
    let seqs: Vec<i64> = sending.iter().map(|sending| sending.ask.seq.0).collect();
    let skus: Vec<String> = sending.iter().map(|sending| sending.ask.sku.as_str().to_owned()).collect();
    let units = sending
        .iter()
        .map(|sending| signed("transfers_out.units", sending.units))
        .collect::<Result<Vec<_>, StoreError>>()?;
    let elsewhere: Vec<Json<&Elsewhere>> = sending.iter().map(|sending| Json(&sending.elsewhere)).collect();
    sqlx::query!(
        "WITH sent AS (
             SELECT * FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::jsonb[]) AS sent (seq, sku, units, elsewhere)
         ), lent AS (
             UPDATE origins SET units = origins.units - sums.units
             FROM (SELECT sku, lies.key AS region, sum(lies.value::bigint)::bigint AS units
                   FROM sent, jsonb_each_text(elsewhere) AS lies GROUP BY sku, lies.key) AS sums
             WHERE origins.sku = sums.sku AND origins.region = sums.region
         ), debited AS (
             UPDATE allotments SET free = allotments.free - sums.units
             FROM (SELECT sku, sum(units)::bigint AS units FROM sent GROUP BY sku HAVING sum(units) > 0) AS sums
             WHERE allotments.sku = sums.sku
         )
         INSERT INTO transfers_out (borrower, seq, sku, units, state, elsewhere)
         SELECT $1, seq, sku, units, CASE WHEN units = 0 THEN 'acked' ELSE 'sent' END, elsewhere FROM sent
         -- Never in the way: what is recorded was answered without coming here.
         ON CONFLICT (borrower, seq) DO NOTHING",
        borrower.number(),
        &seqs,
        &skus,
        &units,
        &elsewhere as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that the borrower has credited these.
///
/// # Errors
/// When the database fails.
pub async fn acknowledge(conn: &mut PgConnection, borrower: ShardId, seqs: &[Seq]) -> Result<(), StoreError> {
    let seqs: Vec<i64> = seqs.iter().map(|seq| seq.0).collect();
    sqlx::query!(
        "UPDATE transfers_out SET state = 'acked' WHERE borrower = $1 AND seq = ANY ($2) AND state = 'sent'",
        borrower.number(),
        &seqs,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes back the units of these, each once. Only for those of which the borrower said that it will never credit them. The database
/// itself writes down, at the commit, that they lie where they lay (`transfers_out_come_back`).
///
/// # Errors
/// When the database fails.
pub async fn cancel(conn: &mut PgConnection, borrower: ShardId, seqs: &[Seq]) -> Result<Vec<Sku>, StoreError> {
    let seqs: Vec<i64> = seqs.iter().map(|seq| seq.0).collect();
    let back = sqlx::query_scalar!(
        r#"
        WITH cancelled AS (
            UPDATE transfers_out SET state = 'cancelled'
            WHERE borrower = $1 AND seq = ANY ($2) AND state = 'sent'
            RETURNING sku, units
        )
        INSERT INTO allotments (sku, free)
        SELECT sku, sum(units)::bigint FROM cancelled GROUP BY sku ORDER BY sku
        ON CONFLICT (sku) DO UPDATE SET free = allotments.free + excluded.free
        RETURNING sku
        "#,
        borrower.number(),
        &seqs,
    )
    .fetch_all(conn)
    .await?;
    back.iter().map(|sku| parse_sku("transfers_out.sku", sku)).collect()
}

/// Outgoing halves that were sent at least `older_than_seconds` ago and not heard of, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list_overdue(
    conn: &mut PgConnection,
    older_than_seconds: f64,
    limit: i64,
) -> Result<Vec<Overdue>, StoreError> {
    let rows = sqlx::query!(
        "SELECT borrower, seq, sku, units FROM transfers_out
         WHERE state = 'sent' AND created_at <= shard_now() - make_interval(secs => $1)
         ORDER BY created_at LIMIT $2",
        older_than_seconds,
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let sku = parse_sku("transfers_out.sku", &row.sku)?;
            let sent = Sent { seq: Seq(row.seq), sku, units: unsigned("transfers_out.units", row.units)? };
            Ok(Overdue { borrower: parse_shard("transfers_out.borrower", row.borrower)?, sent })
        })
        .collect()
}

/// Borrowers with closed halves that are still remembered and older than that (cancelled ones 2 seconds, for their borrower
/// cannot tell what is left until it hears of it): they are to be asked for their low-water mark, and told what was cancelled.
///
/// # Errors
/// When the database fails.
pub async fn list_closable(
    conn: &mut PgConnection,
    older_than_seconds: f64,
    limit: i64,
) -> Result<Vec<Closable>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT borrower, array_remove(array_agg(cancelled ORDER BY cancelled), NULL) AS "cancelled!" FROM (
            SELECT borrower, CASE WHEN state = 'cancelled' THEN seq END AS cancelled FROM transfers_out
            WHERE state <> 'sent' AND created_at <= shard_now()
                - make_interval(secs => CASE WHEN state = 'cancelled' THEN least($1::float8, 2) ELSE $1 END)
            ORDER BY state DESC, seq LIMIT $2
        ) AS closed
        GROUP BY borrower
        "#,
        older_than_seconds,
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let borrower = parse_shard("transfers_out.borrower", row.borrower)?;
            Ok(Closable { borrower, cancelled: row.cancelled.into_iter().map(Seq).collect() })
        })
        .collect()
}

/// Forgets closed halves that no message can ask for any more: those below their borrower's low-water mark.
///
/// # Errors
/// When the database fails.
pub async fn forget(conn: &mut PgConnection) -> Result<u64, StoreError> {
    let gone = sqlx::query!(
        "DELETE FROM transfers_out USING transfer_lows
         WHERE peer = borrower AND seq < low AND state IN ('acked', 'cancelled')",
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}

/// What is on its way from here.
///
/// # Errors
/// When the database fails.
pub async fn in_flight(conn: &mut PgConnection) -> Result<InFlight, StoreError> {
    let row = sqlx::query!(
        r#"
        SELECT count(*) AS "transfers!", coalesce(sum(units), 0)::bigint AS "units!",
            greatest(coalesce(extract(epoch FROM shard_now() - min(created_at)), 0), 0)::bigint AS "oldest_seconds!"
        FROM transfers_out WHERE state = 'sent'
        "#,
    )
    .fetch_one(conn)
    .await?;
    Ok(InFlight {
        transfers: unsigned("transfers_out", row.transfers)?,
        units: unsigned("transfers_out.units", row.units)?,
        oldest_seconds: unsigned("transfers_out.created_at", row.oldest_seconds)?,
    })
}
