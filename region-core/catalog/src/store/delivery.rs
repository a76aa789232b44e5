//! The delivery tables: the newest is in force, the others stay for audits.

use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use super::{CatalogError, advance, corrupt, lock_writers};
use crate::delivery::{DeliveryTable, Zone};

/// What became of a table that was to be in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetDelivery {
    /// It is in force from this version of the catalog on.
    Changed {
        /// The version.
        version: u64,
    },
    /// It was in force already, or another one was and was to be left so.
    AsItWas {
        /// Since this version.
        version: u64,
    },
}

/// Puts a table in force, under the catalog's next version; with `only_first`, only where none is in force. Repeats change
/// nothing.
///
/// # Errors
/// [`CatalogError`]; nothing is changed then.
pub async fn set_delivery(
    primary: &PgPool,
    table: &DeliveryTable,
    only_first: bool,
) -> Result<SetDelivery, CatalogError> {
    let mut tx = primary.begin().await?;
    lock_writers(&mut tx).await?;
    if let Some((version, standing)) = find(&mut tx).await?
        && (only_first || standing == *table)
    {
        return Ok(SetDelivery::AsItWas { version: unsigned(version)? });
    }
    let version = advance(&mut tx).await?;
    sqlx::query!(
        "INSERT INTO catalog.delivery_tables (version, currency, zones) VALUES ($1, $2, $3)",
        version,
        table.currency().code(),
        Json(table.zones()) as _,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("UPDATE catalog.versions SET delivery_version = version").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(SetDelivery::Changed { version: unsigned(version)? })
}

/// The table in force, and since which version.
pub(super) async fn find(conn: &mut PgConnection) -> Result<Option<(i64, DeliveryTable)>, CatalogError> {
    let row = sqlx::query!(
        r#"SELECT version, currency, zones AS "zones: Json<Vec<Zone>>" FROM catalog.delivery_tables
           ORDER BY version DESC LIMIT 1"#
    );
    let Some(row) = row.fetch_optional(conn).await? else { return Ok(None) };
    let currency = row.currency.parse().map_err(|_| corrupt("delivery_tables.currency", &row.currency))?;
    let table = DeliveryTable::new(currency, row.zones.0);
    let table = table.map_err(|invalid| corrupt("delivery_tables.zones", invalid))?;
    Ok(Some((row.version, table)))
}

fn unsigned(version: i64) -> Result<u64, CatalogError> {
    u64::try_from(version).map_err(|_| corrupt("versions.version", version))
}
