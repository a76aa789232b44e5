//! SQL of where units lie. Whoever takes from these counts holds the locks of the SKUs' allotments.

use std::collections::{BTreeMap, HashMap};

use region_core_store::StoreError;
use shared::{OrderId, RegionName, Sku};
use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::Elsewhere;
use super::rules::{self, Lying};
use crate::store::{signed, unsigned};

/// Units of these SKUs that lie elsewhere and are assigned to no order. SKUs of which there are none are left out.
pub(crate) async fn unassigned(
    conn: &mut PgConnection,
    skus: &[String],
) -> Result<HashMap<Sku, Elsewhere>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT sku, region, units - assigned AS "left!" FROM origins WHERE sku = ANY ($1) AND units > assigned"#,
        skus,
    );
    let mut all: HashMap<Sku, Elsewhere> = HashMap::new();
    for row in rows.fetch_all(conn).await? {
        let (sku, region) = (parse_sku(&row.sku)?, parse_region(&row.region)?);
        all.entry(sku).or_default().insert(region, unsigned("origins.units", row.left)?);
    }
    Ok(all)
}

/// Decides which units were lost of a SKU, of which `units` were just taken from what is free. Says which did not lie here.
pub(crate) async fn lose(conn: &mut PgConnection, sku: &Sku, units: u64) -> Result<Elsewhere, StoreError> {
    let Some(elsewhere) = unassigned(conn, &[sku.as_str().to_owned()]).await?.remove(sku) else {
        return Ok(Elsewhere::new());
    };
    let unsold =
        sqlx::query_scalar!(r#"SELECT free + reserved AS "unsold!" FROM allotments WHERE sku = $1"#, sku.as_str(),);
    let unsold = unsigned("allotments.free", unsold.fetch_one(&mut *conn).await?)?;
    let lost = Lying { unsold: unsold + units, elsewhere }.lose(units);
    let (regions, gone) = columns(&lost)?;
    sqlx::query!(
        "UPDATE origins SET units = origins.units - lost.units
         FROM unnest($2::text[], $3::bigint[]) AS lost (region, units)
         WHERE origins.sku = $1 AND origins.region = lost.region",
        sku.as_str(),
        &regions,
        &gone,
    )
    .execute(conn)
    .await?;
    Ok(lost)
}

/// Those of these orders of which units may lie elsewhere, in the order given. Nothing is locked.
///
/// # Errors
/// When the database fails.
pub async fn concerned(conn: &mut PgConnection, orders: &[OrderId]) -> Result<Vec<OrderId>, StoreError> {
    let wanted = wanted(conn, orders).await?;
    Ok(orders.iter().filter(|order| wanted.contains_key(order)).copied().collect())
}

/// Assigns the units of these paid orders, one after the other, each once. The caller holds the locks of the orders' rows and has
/// seen that they are paid and not called off.
///
/// # Errors
/// When the database fails.
pub async fn assign(conn: &mut PgConnection, orders: &[OrderId]) -> Result<(), StoreError> {
    let mut wanted = wanted(conn, orders).await?;
    if wanted.is_empty() {
        return Ok(());
    }
    let mut lying = lock(conn, &wanted).await?;
    // As if none of these orders had been sold yet: what lies here is for those that come first.
    for (sku, units) in wanted.values().flatten() {
        lying.entry(sku.clone()).or_default().unsold += units;
    }
    let mut rows = Rows::default();
    for order in orders {
        let Some(lines) = wanted.remove(order) else { continue };
        for (sku, units) in &lines {
            lying.entry(sku.clone()).or_default().sell(*units);
        }
        for (sku, regions) in rules::assign(&lines, &mut lying) {
            for (region, units) in regions {
                rows.orders.push(order.as_uuid());
                rows.skus.push(sku.as_str().to_owned());
                rows.regions.push(region.to_string());
                rows.units.push(signed("order_origins.quantity", units)?);
            }
        }
    }
    rows.insert(conn).await
}

/// The lines of these orders of which units may lie elsewhere. Orders that were assigned before are left out, and SKUs of which the
/// counts cannot be trusted.
async fn wanted(
    conn: &mut PgConnection,
    orders: &[OrderId],
) -> Result<HashMap<OrderId, BTreeMap<Sku, u64>>, StoreError> {
    let orders: Vec<Uuid> = orders.iter().map(|order| order.as_uuid()).collect();
    let rows = sqlx::query!(
        r#"SELECT order_id, sku, units AS "units!: i64" FROM reservations
           WHERE order_id = ANY ($1) AND state = 'claimed'
             AND EXISTS (SELECT FROM origins WHERE origins.sku = reservations.sku AND origins.units > assigned)
             AND NOT EXISTS (SELECT FROM origins_unknown WHERE origins_unknown.sku = reservations.sku)
             AND NOT EXISTS (SELECT FROM order_origins WHERE order_origins.order_id = reservations.order_id)"#,
        &orders,
    );
    let mut wanted: HashMap<OrderId, BTreeMap<Sku, u64>> = HashMap::new();
    for row in rows.fetch_all(conn).await? {
        let (sku, units) = (parse_sku(&row.sku)?, unsigned("reservations.units", row.units)?);
        wanted.entry(OrderId::from_uuid(row.order_id)).or_default().insert(sku, units);
    }
    Ok(wanted)
}

/// Locks the allotments of these lines, in SKU order, and says where their units lie: a second statement, which sees what others
/// did that the first one waited for.
async fn lock(
    conn: &mut PgConnection,
    wanted: &HashMap<OrderId, BTreeMap<Sku, u64>>,
) -> Result<BTreeMap<Sku, Lying>, StoreError> {
    let mut skus: Vec<String> = wanted.values().flatten().map(|(sku, _)| sku.as_str().to_owned()).collect();
    skus.sort_unstable();
    skus.dedup();
    let unsold = sqlx::query!(
        r#"SELECT sku, free + reserved AS "unsold!" FROM allotments WHERE sku = ANY ($1) ORDER BY sku FOR UPDATE"#,
        &skus,
    );
    let unsold = unsold.fetch_all(&mut *conn).await?;
    let mut elsewhere = unassigned(conn, &skus).await?;
    let lying = |(sku, unsold): (&str, i64)| {
        let sku = parse_sku(sku)?;
        let elsewhere = elsewhere.remove(&sku).unwrap_or_default();
        Ok((sku, Lying { unsold: unsigned("allotments.free", unsold)?, elsewhere }))
    };
    unsold.iter().map(|row| (row.sku.as_str(), row.unsold)).map(lying).collect()
}

/// Columns of `order_origins`.
#[derive(Default)]
struct Rows {
    orders: Vec<Uuid>,
    skus: Vec<String>,
    regions: Vec<String>,
    units: Vec<i64>,
}

impl Rows {
    async fn insert(&self, conn: &mut PgConnection) -> Result<(), StoreError> {
        if self.orders.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "WITH new AS (
                 INSERT INTO order_origins (order_id, sku, region, quantity)
                 SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[])
                 RETURNING sku, region, quantity
             )
             UPDATE origins SET assigned = origins.assigned + sums.units
             FROM (SELECT sku, region, sum(quantity)::bigint AS units FROM new GROUP BY sku, region) AS sums
             WHERE origins.sku = sums.sku AND origins.region = sums.region",
            &self.orders,
            &self.skus,
            &self.regions,
            &self.units,
        )
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// Units of the order that lie in other regions than its shard's, by region.
///
/// # Errors
/// When the database fails.
pub async fn planned(
    conn: &mut PgConnection,
    order: OrderId,
) -> Result<BTreeMap<RegionName, BTreeMap<Sku, u64>>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT region, sku, quantity AS "quantity!: i64" FROM order_origins WHERE order_id = $1"#,
        order.as_uuid(),
    );
    let mut planned: BTreeMap<RegionName, BTreeMap<Sku, u64>> = BTreeMap::new();
    for row in rows.fetch_all(conn).await? {
        let (region, units) = (parse_region(&row.region)?, unsigned("order_origins.quantity", row.quantity)?);
        planned.entry(region).or_default().insert(parse_sku(&row.sku)?, units);
    }
    Ok(planned)
}

fn columns(elsewhere: &Elsewhere) -> Result<(Vec<String>, Vec<i64>), StoreError> {
    let units = elsewhere.values().map(|units| signed("origins.units", *units)).collect::<Result<_, _>>()?;
    Ok((elsewhere.keys().map(ToString::to_string).collect(), units))
}

fn parse_sku(sku: &str) -> Result<Sku, StoreError> {
    sku.parse().map_err(|_| StoreError::corrupt("origins.sku", sku))
}

fn parse_region(region: &str) -> Result<RegionName, StoreError> {
    region.parse().map_err(|_| StoreError::corrupt("origins.region", region))
}
