//! The borrower's half: `transfer_counter` and `transfers_in`.

use std::collections::HashMap;

use region_core_store::StoreError;
use region_core_store::{Bug, planted};
use shared::{ShardId, Sku};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{parse_shard, parse_sku};
use crate::origins::{Elsewhere, Way};
use crate::store::{signed, unsigned};
use crate::transfer::message::{Count, Given, Sent, Seq, Standing, Standings};

/// Units that a shard would borrow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// Of what.
    pub sku: Sku,
    /// At most how many; at least 1.
    pub want: u64,
}

/// Units that a transfer brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credited {
    /// Of what.
    pub sku: Sku,
    /// How many came.
    pub units: u64,
    /// How many are free now.
    pub free: u64,
}

/// An incoming half whose donor has not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Which.
    pub seq: Seq,
    /// From whom.
    pub donor: ShardId,
    /// Of what.
    pub sku: Sku,
    /// How many were asked for.
    pub want: u64,
}

/// An incoming half that is credited, which its donor may not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Which.
    pub seq: Seq,
    /// From whom.
    pub donor: ShardId,
}

/// Begins one transfer for each wish. Gives their numbers, in order, and the low-water mark to send along.
///
/// # Errors
/// When the database fails.
pub async fn begin(conn: &mut PgConnection, donor: ShardId, wishes: &[Wish]) -> Result<(Vec<Seq>, Seq), StoreError> {
    let count = i64::try_from(wishes.len()).map_err(|_| StoreError::corrupt("transfers_in", wishes.len()))?;
    let first = sqlx::query_scalar!(
        r#"UPDATE transfer_counter SET next_seq = next_seq + $1 RETURNING next_seq - $1 AS "first!""#,
        count,
    )
    .fetch_one(&mut *conn)
    .await?;
    let seqs: Vec<i64> = (first..first + count).collect();
    let skus: Vec<String> = wishes.iter().map(|wish| wish.sku.as_str().to_owned()).collect();
    let wants =
        wishes.iter().map(|wish| signed("transfers_in.want", wish.want)).collect::<Result<Vec<_>, StoreError>>()?;
    sqlx::query!(
        "INSERT INTO transfers_in (seq, donor, sku, want, state)
         SELECT seq, $1, sku, want, 'pending' FROM unnest($2::bigint[], $3::text[], $4::bigint[]) AS new (seq, sku, want)",
        donor.number(),
        &seqs,
        &skus,
        &wants,
    )
    .execute(&mut *conn)
    .await?;
    // A statement of its own: its snapshot is younger than the counter's lock, and so sees every number given before.
    Ok((seqs.into_iter().map(Seq).collect(), low(conn).await?))
}

/// This shard's low-water mark: everything it borrowed under a lower number is settled on both sides.
///
/// One statement, hence one snapshot: all numbers below the counter that it sees have their rows in it.
///
/// # Errors
/// When the database fails.
pub async fn low(conn: &mut PgConnection) -> Result<Seq, StoreError> {
    let low = sqlx::query_scalar!(
        r#"SELECT coalesce((SELECT min(seq) FROM transfers_in WHERE settled_at IS NULL), next_seq) AS "low!"
           FROM transfer_counter"#,
    )
    .fetch_one(conn)
    .await?;
    Ok(Seq(low))
}

/// Credits what a donor gave, each transfer once: only those still pending. A refusal is settled at once, for the donor has
/// nothing more to learn of it. `way` is the one that they came, where there are several regions: units that do not lie in the
/// shard's own are written down.
///
/// # Errors
/// When the database fails.
pub async fn credit(
    conn: &mut PgConnection,
    donor: ShardId,
    way: Option<&Way>,
    given: &[Given],
) -> Result<Vec<Credited>, StoreError> {
    let seqs: Vec<i64> = given.iter().map(|given| given.seq.0).collect();
    let units =
        given.iter().map(|given| signed("transfers_in.units", given.units)).collect::<Result<Vec<_>, StoreError>>()?;
    let lying = |given: &Given| Json(way.map(|way| way.lying(given.units, &given.elsewhere)).unwrap_or_default());
    let lying: Vec<Json<Elsewhere>> = given.iter().map(lying).collect();
    let rows = sqlx::query!(
        r#"
        WITH done AS (
            UPDATE transfers_in SET state = 'done', units = given.units, placed = true,
                settled_at = CASE WHEN given.units = 0 THEN shard_now() END
            FROM unnest($1::bigint[], $2::bigint[], $5::jsonb[]) AS given (seq, units, lying)
            WHERE transfers_in.seq = given.seq AND transfers_in.donor = $3 AND (transfers_in.state = 'pending' OR $4)
            RETURNING transfers_in.sku, given.units, given.lying
        ), came AS (
            INSERT INTO origins (sku, region, units)
            SELECT sku, lies.key, sum(lies.value::bigint)::bigint FROM done, jsonb_each_text(lying) AS lies
            GROUP BY sku, lies.key ORDER BY sku, lies.key
            ON CONFLICT (sku, region) DO UPDATE SET units = origins.units + excluded.units
        ), sums AS MATERIALIZED (
            SELECT sku, sum(units)::bigint AS units FROM done GROUP BY sku HAVING sum(units) > 0
        ), added AS (
            INSERT INTO allotments (sku, free) SELECT sku, units FROM sums ORDER BY sku
            ON CONFLICT (sku) DO UPDATE SET free = allotments.free + excluded.free
            RETURNING sku, free
        )
        SELECT sku AS "sku!", sums.units AS "units!", added.free AS "free!" FROM sums JOIN added USING (sku)
        "#,
        &seqs,
        &units,
        donor.number(),
        planted(Bug::NoCreditCheck),
        &lying as _,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let sku = parse_sku("transfers_in.sku", &row.sku)?;
            let units = unsigned("transfers_in.units", row.units)?;
            Ok(Credited { sku, units, free: unsigned("allotments.free", row.free)? })
        })
        .collect()
}

/// Whether [`settle`] would have anything to do.
///
/// # Errors
/// When the database fails.
pub async fn is_to_settle(conn: &mut PgConnection, seqs: &[Seq]) -> Result<bool, StoreError> {
    if !seqs.is_empty() {
        return Ok(true);
    }
    let low = low(conn).await?;
    let old = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM transfers_in WHERE seq < $1 AND settled_at < shard_now() - interval '1 minute') AS "old!""#,
        low.0,
    );
    Ok(old.fetch_one(conn).await?)
}

/// Notes that the donor has acknowledged these credited ones, and forgets what is settled below the low-water mark and was
/// settled a while ago: until then it shows to [`counts`] that there was a transfer.
///
/// # Errors
/// When the database fails.
pub async fn settle(conn: &mut PgConnection, seqs: &[Seq]) -> Result<(), StoreError> {
    let seqs: Vec<i64> = seqs.iter().map(|seq| seq.0).collect();
    sqlx::query!(
        "UPDATE transfers_in SET settled_at = shard_now() WHERE seq = ANY ($1) AND state = 'done' AND settled_at IS NULL",
        &seqs,
    )
    .execute(&mut *conn)
    .await?;
    let low = low(conn).await?;
    sqlx::query!("DELETE FROM transfers_in WHERE seq < $1 AND settled_at < shard_now() - interval '1 minute'", low.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Says where these stand, and writes that those which were never credited never will be: from then on an answer that is
/// still on its way credits nothing. `closed` are cancelled ones whose donor has its units back: they are settled.
///
/// A number that was never given is cancelled too, and not given any more.
///
/// # Errors
/// When the database fails.
pub async fn status(
    conn: &mut PgConnection,
    donor: ShardId,
    sent: &[Sent],
    closed: &[Seq],
) -> Result<Standings, StoreError> {
    let (asked, closed) = (sent.iter().map(|sent| sent.seq.0).collect::<Vec<_>>(), closed.iter().map(|seq| seq.0));
    // No transfer begins meanwhile, so that "there is no such row" stays true.
    sqlx::query!("SELECT next_seq FROM transfer_counter FOR UPDATE").fetch_one(&mut *conn).await?;
    sqlx::query!(
        "UPDATE transfers_in SET state = 'cancelled' WHERE seq = ANY ($1) AND donor = $2 AND state = 'pending'",
        &asked,
        donor.number(),
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE transfers_in SET settled_at = shard_now()
         WHERE seq = ANY ($1) AND donor = $2 AND state = 'cancelled' AND settled_at IS NULL",
        &closed.collect::<Vec<_>>(),
        donor.number(),
    )
    .execute(&mut *conn)
    .await?;
    let (known, low) = (recorded(conn, &asked).await?, low(conn).await?);
    let mut standings = Vec::with_capacity(sent.len());
    for sent in sent {
        let standing = match known.get(&sent.seq) {
            Some((by, state)) if *by == donor.number() && state == "done" => Standing::Done,
            // Under this number another donor was asked: nothing from this one is ever credited.
            Some(_) => Standing::Cancelled,
            None if sent.seq < low => Standing::Settled,
            None => {
                bury(conn, donor, sent).await?;
                Standing::Cancelled
            }
        };
        standings.push((sent.seq, standing));
    }
    Ok(Standings { standings, low })
}

async fn recorded(conn: &mut PgConnection, seqs: &[i64]) -> Result<HashMap<Seq, (i16, String)>, StoreError> {
    let rows =
        sqlx::query!("SELECT seq, donor, state FROM transfers_in WHERE seq = ANY ($1)", seqs).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (Seq(row.seq), (row.donor, row.state))).collect())
}

/// Writes the tombstone of a transfer that this shard does not know.
async fn bury(conn: &mut PgConnection, donor: ShardId, sent: &Sent) -> Result<(), StoreError> {
    tracing::error!(transfer.seq = sent.seq.0, donor.id = %donor, "a donor sent units that this shard did not ask for");
    sqlx::query!(
        "INSERT INTO transfers_in (seq, donor, sku, want, state) VALUES ($1, $2, $3, $4, 'cancelled')",
        sent.seq.0,
        donor.number(),
        sent.sku.as_str(),
        signed("transfers_in.want", sent.units.max(1))?,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("UPDATE transfer_counter SET next_seq = greatest(next_seq, $1)", sent.seq.0 + 1).execute(conn).await?;
    Ok(())
}

/// Pending ones that began at least `older_than_seconds` ago, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list_pending(
    conn: &mut PgConnection,
    older_than_seconds: f64,
    limit: i64,
) -> Result<Vec<Pending>, StoreError> {
    let rows = sqlx::query!(
        "SELECT seq, donor, sku, want FROM transfers_in
         WHERE settled_at IS NULL AND state = 'pending' AND created_at <= shard_now() - make_interval(secs => $1)
         ORDER BY seq LIMIT $2",
        older_than_seconds,
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let (donor, sku) =
                (parse_shard("transfers_in.donor", row.donor)?, parse_sku("transfers_in.sku", &row.sku)?);
            Ok(Pending { seq: Seq(row.seq), donor, sku, want: unsigned("transfers_in.want", row.want)? })
        })
        .collect()
}

/// Credited ones that are not settled, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list_received(conn: &mut PgConnection, limit: i64) -> Result<Vec<Received>, StoreError> {
    let rows = sqlx::query!(
        "SELECT seq, donor FROM transfers_in WHERE settled_at IS NULL AND state = 'done' ORDER BY seq LIMIT $1",
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| Ok(Received { seq: Seq(row.seq), donor: parse_shard("transfers_in.donor", row.donor)? }))
        .collect()
}

/// What this shard has of each of these SKUs, all at one instant.
///
/// # Errors
/// When the database fails.
pub async fn counts(conn: &mut PgConnection, skus: &[Sku]) -> Result<Vec<Count>, StoreError> {
    let skus: Vec<String> = skus.iter().map(|sku| sku.as_str().to_owned()).collect();
    let rows = sqlx::query!(
        r#"
        SELECT sku AS "sku!", coalesce(allotments.free, 0) AS "free!", coalesce(coming.arriving, false) AS "arriving!",
            coalesce(coming.begun, 0) AS "begun!"
        FROM (SELECT DISTINCT unnest($1::text[]) AS sku) AS asked
        LEFT JOIN allotments USING (sku)
        LEFT JOIN LATERAL (
            -- A cancelled one is on its way as well, until its donor has the units back.
            -- One that was refused has moved nothing.
            SELECT bool_or(state <> 'done' AND settled_at IS NULL) AS arriving,
                max(seq) FILTER (WHERE state <> 'done' OR units > 0) AS begun
            FROM transfers_in WHERE transfers_in.sku = asked.sku
        ) AS coming ON true
        "#,
        &skus,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let sku = parse_sku("allotments.sku", &row.sku)?;
            let free = unsigned("allotments.free", row.free)?;
            Ok(Count { sku, free, arriving: row.arriving, begun: Seq(row.begun) })
        })
        .collect()
}
