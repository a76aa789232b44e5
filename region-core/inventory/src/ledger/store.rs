//! SQL of the ledger, in the turn of the shard.

use region_core_store::StoreError;
use shared::{ShardId, Sku};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{Back, EntryKind, EntryUnits, LedgerError, LedgerLine, Reference, StockEntry};
use crate::origins;
use crate::store::unsigned;

/// Lines of one shard that are listed at most.
const MOST_LINES: i64 = 1_000;

impl EntryKind {
    /// How databases keep it, and the sign of its units.
    fn as_stored(self) -> (&'static str, i64) {
        match self {
            Self::Supply => ("supply", 1),
            Self::Return => ("return", 1),
            Self::Shrink => ("shrink", -1),
        }
    }

    fn from_stored(kind: &str) -> Result<Self, StoreError> {
        match kind {
            "supply" => Ok(Self::Supply),
            "return" => Ok(Self::Return),
            "shrink" => Ok(Self::Shrink),
            other => Err(StoreError::corrupt("ledger.kind", other)),
        }
    }
}

/// Books an entry and moves *free* with it. `false`, with nothing changed, if this very entry was booked before.
///
/// # Errors
/// [`LedgerError::ReferenceTaken`] or [`LedgerError::NotFree`]; the caller's transaction must not commit then.
pub async fn book(conn: &mut PgConnection, entry: &StockEntry) -> Result<bool, LedgerError> {
    let StockEntry { reference: Reference(reference), sku, kind, units, .. } = entry;
    let (kind, sign) = kind.as_stored();
    let units = sign * i64::from(*units);
    // The reference first: a repeat waits on the unique index for the first to end.
    let new = sqlx::query!(
        // Of a loss it is said where it lay, and below which of it lay elsewhere.
        "INSERT INTO ledger (ref, sku, kind, units, elsewhere) VALUES ($1, $2, $3, $4, CASE WHEN $4::bigint < 0 THEN '{}'::jsonb END)
         ON CONFLICT (ref) DO NOTHING",
        reference,
        sku.as_str(),
        kind,
        units,
    )
    .execute(&mut *conn)
    .await
    .map_err(StoreError::from)?;
    if new.rows_affected() == 0 {
        return repeat(conn, reference, (sku, kind, units)).await;
    }
    if units > 0 {
        add(conn, sku, units).await?;
    } else {
        take(conn, sku, units.unsigned_abs()).await?;
        lose(conn, reference, sku, units.unsigned_abs()).await?;
    }
    Ok(true)
}

/// Books units that came back for one `cause`: all of them as a return, and those that cannot be sold again as a loss. `back` is
/// sorted by SKU, the order in which everybody locks allotments. What was booked before is left out.
///
/// # Errors
/// As [`book`].
pub async fn take_back(conn: &mut PgConnection, cause: &str, back: &[Back]) -> Result<(), LedgerError> {
    for Back { sku, free, lost } in back {
        let all = i64::from(*free) + i64::from(*lost);
        let entries = [(EntryKind::Return, all, ""), (EntryKind::Shrink, i64::from(*lost), ", lost")];
        for (kind, units, what) in entries.into_iter().filter(|(_, units, _)| *units > 0) {
            let reference = Reference(format!("{cause}, {sku}{what}"));
            book(conn, &StockEntry { reference, sku: sku.clone(), kind, units: EntryUnits(units), shard: None })
                .await?;
        }
    }
    Ok(())
}

/// `false` if the reference stands for the very same entry.
async fn repeat(
    conn: &mut PgConnection,
    reference: &str,
    (sku, kind, units): (&Sku, &str, i64),
) -> Result<bool, LedgerError> {
    let known = sqlx::query!("SELECT sku, kind, units FROM ledger WHERE ref = $1", reference)
        .fetch_one(conn)
        .await
        .map_err(StoreError::from)?;
    let same = known.sku == sku.as_str() && known.kind == kind && known.units == units;
    if same { Ok(false) } else { Err(LedgerError::ReferenceTaken(reference.to_owned())) }
}

async fn add(conn: &mut PgConnection, sku: &Sku, units: i64) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO allotments (sku, free) VALUES ($1, $2)
         ON CONFLICT (sku) DO UPDATE SET free = allotments.free + excluded.free",
        sku.as_str(),
        units,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn take(conn: &mut PgConnection, sku: &Sku, units: u64) -> Result<(), LedgerError> {
    let wanted = crate::store::signed("ledger.units", units)?;
    let taken =
        sqlx::query!("UPDATE allotments SET free = free - $2 WHERE sku = $1 AND free >= $2", sku.as_str(), wanted,)
            .execute(&mut *conn)
            .await
            .map_err(StoreError::from)?;
    if taken.rows_affected() == 1 {
        return Ok(());
    }
    let free = sqlx::query_scalar!("SELECT free FROM allotments WHERE sku = $1", sku.as_str())
        .fetch_optional(conn)
        .await
        .map_err(StoreError::from)?;
    let free = unsigned("allotments.free", free.unwrap_or(0))?;
    Err(LedgerError::NotFree { sku: sku.clone(), units, free })
}

/// Notes which of the units that were lost did not lie in this region: those that do are lost first.
async fn lose(conn: &mut PgConnection, reference: &str, sku: &Sku, units: u64) -> Result<(), StoreError> {
    let elsewhere = origins::lose(conn, sku, units).await?;
    if elsewhere.is_empty() {
        return Ok(());
    }
    sqlx::query!("UPDATE ledger SET elsewhere = $2 WHERE ref = $1", reference, Json(&elsewhere) as _)
        .execute(conn)
        .await?;
    Ok(())
}

/// A SKU's entries in this shard, newest first.
pub(super) async fn list(conn: &mut PgConnection, shard: ShardId, sku: &Sku) -> Result<Vec<LedgerLine>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT ref AS reference, kind, abs(units) AS "units!", created_at FROM ledger
           WHERE sku = $1 ORDER BY created_at DESC LIMIT $2"#,
        sku.as_str(),
        MOST_LINES,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(LedgerLine {
                reference: Reference(row.reference),
                sku: sku.clone(),
                kind: EntryKind::from_stored(&row.kind)?,
                units: EntryUnits::try_from(row.units).map_err(|error| StoreError::corrupt("ledger.units", error))?,
                shard,
                booked_at: row.created_at,
            })
        })
        .collect()
}
