//! Labels in the shard. What `order` calls runs inside its transaction, which has locked the order's row; the rest is the driver's.

use std::collections::BTreeMap;
use std::time::Duration;

use region_core_store::{StoreError, expect_rows};
use shared::api::order::{Address, Label, LabelState, OrderItem};
use shared::{Currency, IdempotencyKey, Money, OrderId, Quantity, ShipmentId, Sku};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Known, sku};
use crate::carrier::Way;
use crate::rules::label::{Answer, Asked, Settled, Standing};

/// For how long after it was asked for a parcel is looked at: whatever becomes of it later, a person finds out.
const LOOKED_AFTER: Duration = Duration::from_secs(60 * 24 * 3600);

/// A label that is to be bought.
#[derive(Clone, Debug)]
pub struct NewLabel<'a> {
    /// Minted by the caller, in the order's slot.
    pub shipment_id: ShipmentId,
    /// Whose units are under it.
    pub order_id: OrderId,
    /// What the sender called it.
    pub key: &'a IdempotencyKey,
    /// Tells one request under that key from another.
    pub request_hash: [u8; 32],
    /// What is bought.
    pub service: &'a str,
    /// What the parcel weighs.
    pub weight_grams: u32,
    /// Where it goes.
    pub destination: &'a Address,
    /// What it holds.
    pub units: &'a BTreeMap<Sku, Quantity>,
    /// All lines of the order.
    pub ordered: &'a BTreeMap<Sku, Quantity>,
}

/// A label as whoever decides about its order finds it.
#[derive(Clone, Debug)]
pub struct HeldLabel {
    /// Where it stands.
    pub state: LabelState,
    /// What the sender called its parcel.
    pub key: IdempotencyKey,
    /// What the request under the key meant.
    pub request_hash: [u8; 32],
    /// Who takes it, once it is bought.
    pub carrier: Option<String>,
    /// The carrier's name for it, once it is bought.
    pub tracking_code: Option<String>,
    /// Where its way can be followed.
    pub tracking_url: Option<String>,
    /// What is under it.
    pub units: BTreeMap<Sku, Quantity>,
    /// Why it could not be bought or given back.
    pub problem: Option<String>,
    /// What whoever wrote it off called that, and why he did.
    pub written_off: Option<(IdempotencyKey, String)>,
}

const fn name(state: LabelState) -> &'static str {
    match state {
        LabelState::ToBuy => "to_buy",
        LabelState::Bought => "bought",
        LabelState::Refused => "refused",
        LabelState::ToVoid => "to_void",
        LabelState::Voided => "voided",
        LabelState::WrittenOff => "written_off",
        LabelState::Sent => "sent",
        LabelState::Arrived => "arrived",
    }
}

fn state(text: &str) -> Result<LabelState, StoreError> {
    Ok(match text {
        "to_buy" => LabelState::ToBuy,
        "bought" => LabelState::Bought,
        "refused" => LabelState::Refused,
        "to_void" => LabelState::ToVoid,
        "voided" => LabelState::Voided,
        "written_off" => LabelState::WrittenOff,
        "sent" => LabelState::Sent,
        "arrived" => LabelState::Arrived,
        other => return Err(StoreError::corrupt("labels.state", other)),
    })
}

/// The label that the sender has called so.
///
/// # Errors
/// When the shard does.
pub async fn find_key(
    conn: &mut PgConnection,
    order: OrderId,
    key: &IdempotencyKey,
) -> Result<Option<Known>, StoreError> {
    let row = sqlx::query!(
        "SELECT shipment_id, request_hash FROM labels WHERE order_id = $1 AND key = $2",
        order.as_uuid(),
        key.as_str(),
    );
    let Some(row) = row.fetch_optional(conn).await? else { return Ok(None) };
    let request_hash = digest(row.request_hash, row.shipment_id)?;
    Ok(Some(Known { shipment_id: ShipmentId::from_uuid(row.shipment_id), request_hash }))
}

fn digest(bytes: Vec<u8>, shipment: Uuid) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::corrupt("labels.request_hash", shipment))
}

/// Writes a label down, to be bought, and keeps its units. The database refuses one that holds more than is left.
///
/// # Errors
/// When the shard does.
pub async fn keep(conn: &mut PgConnection, label: &NewLabel<'_>) -> Result<(), StoreError> {
    let NewLabel { shipment_id, order_id, units, ordered, .. } = label;
    sqlx::query!(
        "INSERT INTO labels (shipment_id, order_id, key, request_hash, service, weight_grams, destination)
         VALUES ($1, $2, $3::text, $4::bytea, $5, $6, $7)",
        shipment_id.as_uuid(),
        order_id.as_uuid(),
        label.key.as_str(),
        label.request_hash.as_slice(),
        label.service,
        i32::try_from(label.weight_grams).unwrap_or(i32::MAX),
        Json(label.destination) as _,
    )
    .execute(&mut *conn)
    .await?;
    let packed = |sku: &Sku| units.get(sku).map_or(0, |quantity| i64::from(quantity.units()));
    let skus: Vec<String> = ordered.keys().map(|sku| sku.as_str().to_owned()).collect();
    let all: Vec<i64> = ordered.values().map(|quantity| i64::from(quantity.units())).collect();
    let under: Vec<i64> = ordered.keys().map(packed).collect();
    sqlx::query!(
        "INSERT INTO label_lines (shipment_id, sku, units)
         SELECT $1, sku, units FROM unnest($2::text[], $3::bigint[]) AS line (sku, units) WHERE units > 0",
        shipment_id.as_uuid(),
        &skus,
        &under,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO sent_units (order_id, sku, ordered, sent, labelled)
         SELECT $1, sku, ordered, 0, units
         FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS line (sku, ordered, units)
         ON CONFLICT (order_id, sku) DO UPDATE SET labelled = sent_units.labelled + excluded.labelled",
        order_id.as_uuid(),
        &skus,
        &all,
        &under,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether units of the order are under a label whose parcel has not left.
///
/// # Errors
/// When the shard does.
pub async fn has_live(conn: &mut PgConnection, order: OrderId) -> Result<bool, StoreError> {
    let live = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM labels WHERE order_id = $1 AND is_live) AS "live!""#,
        order.as_uuid(),
    );
    Ok(live.fetch_one(conn).await?)
}

/// The order's label, locked.
///
/// # Errors
/// When the shard does.
pub async fn lock(
    conn: &mut PgConnection,
    order: OrderId,
    shipment: ShipmentId,
) -> Result<Option<HeldLabel>, StoreError> {
    let row = sqlx::query!(
        "SELECT state, key, request_hash, carrier, tracking_code, tracking_url, problem, write_off_key, write_off_reason
         FROM labels
         WHERE shipment_id = $1 AND order_id = $2 FOR UPDATE",
        shipment.as_uuid(),
        order.as_uuid(),
    );
    let Some(row) = row.fetch_optional(&mut *conn).await? else { return Ok(None) };
    let lines = sqlx::query!("SELECT sku, units FROM label_lines WHERE shipment_id = $1", shipment.as_uuid());
    let lines = lines.fetch_all(conn).await?;
    let write_off_key = row.write_off_key.map(|key| key.parse()).transpose();
    let write_off_key = write_off_key.map_err(|_| StoreError::corrupt("labels.write_off_key", shipment))?;
    Ok(Some(HeldLabel {
        state: state(&row.state)?,
        problem: row.problem,
        written_off: write_off_key.zip(row.write_off_reason),
        key: row.key.parse().map_err(|_| StoreError::corrupt("labels.key", shipment))?,
        request_hash: digest(row.request_hash, shipment.as_uuid())?,
        carrier: row.carrier,
        tracking_code: row.tracking_code,
        tracking_url: row.tracking_url,
        units: lines.into_iter().map(|line| line_of(&line.sku, line.units)).collect::<Result<_, _>>()?,
    }))
}

fn line_of(name: &str, units: i64) -> Result<(Sku, Quantity), StoreError> {
    let quantity = Quantity::new(units).map_err(|error| StoreError::corrupt("label_lines.units", error))?;
    Ok((sku("label_lines.sku", name)?, quantity))
}

/// Lets the units of a label that was live go: into its parcel, or for another one.
///
/// # Errors
/// When the shard does.
pub async fn release(conn: &mut PgConnection, shipment: ShipmentId) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE sent_units SET labelled = labelled - label_lines.units
         FROM label_lines JOIN labels USING (shipment_id)
         WHERE labels.shipment_id = $1 AND sent_units.order_id = labels.order_id AND sent_units.sku = label_lines.sku",
        shipment.as_uuid(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says where a locked label stands; the carrier is asked about it soon, unless that is its end.
///
/// # Errors
/// When the shard does.
pub async fn set_state(conn: &mut PgConnection, shipment: ShipmentId, state: LabelState) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE labels SET state = $2::text, problem = NULL, next_attempt_at = shard_now(), changed_at = shard_now()
         WHERE shipment_id = $1",
        shipment.as_uuid(),
        name(state),
    );
    expect_rows("labels", done.execute(conn).await?.rows_affected(), 1)
}

/// Writes a locked label off: it is of no use, and nobody takes it back. Why that was not done stays beside it.
///
/// # Errors
/// When the shard does.
pub async fn write_off(
    conn: &mut PgConnection,
    shipment: ShipmentId,
    key: &IdempotencyKey,
    reason: &str,
) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE labels SET state = 'written_off', write_off_key = $2::text, write_off_reason = $3, failures = 0,
             next_attempt_at = shard_now(), changed_at = shard_now()
         WHERE shipment_id = $1",
        shipment.as_uuid(),
        key.as_str(),
        reason,
    );
    expect_rows("labels", done.execute(conn).await?.rows_affected(), 1)
}

/// When parcels of the order were seen to have left under labels that had come to nothing, and who has them under which code.
///
/// # Errors
/// When the shard does.
pub async fn list_strayed(
    conn: &mut PgConnection,
    order: OrderId,
) -> Result<Vec<(OffsetDateTime, String)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT strayed_at AS "strayed_at!", concat_ws(', ', carrier, tracking_code) AS "what!"
           FROM labels WHERE order_id = $1 AND strayed_at IS NOT NULL ORDER BY strayed_at, shipment_id"#,
        order.as_uuid(),
    );
    let rows = rows.fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.strayed_at, row.what)).collect())
}

/// The order's labels, in the order in which they were asked for.
pub(crate) async fn list(conn: &mut PgConnection, order: OrderId) -> Result<Vec<Label>, StoreError> {
    let rows = sqlx::query_as!(
        LabelRow,
        r#"
        SELECT shipment_id, state, service, weight_grams, carrier, tracking_code, tracking_url, cost_minor, cost_currency, way,
            problem, strayed_at, created_at, array_agg(sku ORDER BY sku) AS "skus!", array_agg(units::bigint ORDER BY sku) AS "units!"
        FROM labels JOIN label_lines USING (shipment_id)
        WHERE order_id = $1 GROUP BY shipment_id ORDER BY created_at, shipment_id
        "#,
        order.as_uuid(),
    );
    rows.fetch_all(conn).await?.into_iter().map(LabelRow::into_label).collect()
}

/// The order's label as it is printed, if it was bought.
pub(crate) async fn pdf(
    conn: &mut PgConnection,
    order: OrderId,
    shipment: ShipmentId,
) -> Result<Option<Vec<u8>>, StoreError> {
    let pdf = sqlx::query_scalar!(
        "SELECT pdf FROM labels WHERE shipment_id = $1 AND order_id = $2 AND state IN ('bought', 'sent', 'arrived')",
        shipment.as_uuid(),
        order.as_uuid(),
    );
    Ok(pdf.fetch_optional(conn).await?.flatten())
}

/// Takes at most `limit` that are due, the longest due first, and keeps others off them for `lease`.
pub(crate) async fn lease(conn: &mut PgConnection, limit: i64, lease: Duration) -> Result<Vec<Asked>, StoreError> {
    let rows = sqlx::query_as!(
        AskedRow,
        r#"
        UPDATE labels SET leased_until = shard_now() + make_interval(secs => $2), attempts = attempts + 1
        WHERE shipment_id IN (
            SELECT shipment_id FROM labels
            WHERE (is_open OR is_watched) AND next_attempt_at <= (SELECT shard_now())
              AND (leased_until IS NULL OR leased_until < (SELECT shard_now()))
              AND (state NOT IN ('bought', 'sent') OR created_at > (SELECT shard_now()) - make_interval(secs => $3))
            ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED
        )
        RETURNING shipment_id, order_id, state, reference, service, weight_grams,
            destination AS "destination: Json<Address>", attempts, told
        "#,
        limit,
        lease.as_secs_f64(),
        LOOKED_AFTER.as_secs_f64(),
    );
    rows.fetch_all(conn).await?.into_iter().map(AskedRow::into_asked).collect()
}

/// How the label stands whose exchange has ended, locked; `None` if another worker has begun another one since.
pub(crate) async fn standing(conn: &mut PgConnection, asked: &Asked) -> Result<Option<Standing>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT state, failures, pdf IS NOT NULL AS "printed!",
                  extract(epoch FROM shard_now() - changed_at)::float8 AS "since!"
           FROM labels WHERE shipment_id = $1 AND attempts = $2 FOR UPDATE"#,
        asked.shipment_id.as_uuid(),
        asked.attempts,
    );
    let Some(row) = row.fetch_optional(conn).await? else { return Ok(None) };
    let since = Duration::try_from_secs_f64(row.since).unwrap_or_default();
    Ok(Some(Standing { state: state(&row.state)?, failures: row.failures, since, printed: row.printed }))
}

/// Keeps what an exchange came to: the facts in the answer, and what follows from it.
pub(crate) async fn settle(
    conn: &mut PgConnection,
    asked: &Asked,
    answer: &Answer,
    settled: &Settled,
) -> Result<(), StoreError> {
    let Facts { reference, postage, way, pdf } = Facts::of(answer);
    let cost = postage.and_then(|postage| postage.cost);
    let done = sqlx::query!(
        "UPDATE labels SET
            state = $2::text, failures = $3::integer, leased_until = NULL,
            problem = CASE WHEN failures = 0 AND ($15 OR state IN ('refused', 'voided', 'written_off')) THEN problem ELSE $4 END,
            next_attempt_at = CASE WHEN told = $14 THEN shard_now() + make_interval(secs => $5) ELSE shard_now() END,
            changed_at = CASE WHEN state = $2 THEN changed_at ELSE shard_now() END,
            reference = coalesce(reference, $6), carrier = coalesce(carrier, $7),
            tracking_code = coalesce(tracking_code, $8), tracking_url = coalesce(tracking_url, $9),
            cost_minor = coalesce(cost_minor, $10::bigint), cost_currency = coalesce(cost_currency, $11::text),
            way = coalesce($12, way), pdf = coalesce(pdf, $13),
            strayed_at = CASE WHEN $16 THEN coalesce(strayed_at, shard_now()) ELSE strayed_at END
         WHERE shipment_id = $1",
        asked.shipment_id.as_uuid(),
        name(settled.state),
        settled.failures,
        settled.problem,
        settled.pause.as_secs_f64(),
        reference,
        postage.map(|postage| postage.carrier.as_str()),
        postage.map(|postage| postage.tracking_code.as_str()),
        postage.and_then(|postage| postage.tracking_url.as_deref()),
        cost.map(Money::minor),
        cost.map(|cost| cost.currency().code()),
        way.map(Way::name),
        pdf,
        asked.told,
        // That it is seen again is no answer to why it could not be given back, nor is what is said of it after its end.
        matches!(answer, Answer::Shown(_)),
        settled.strayed,
    );
    expect_rows("labels", done.execute(conn).await?.rows_affected(), 1)
}

/// What an answer says that stays true.
struct Facts<'a> {
    reference: Option<&'a str>,
    postage: Option<&'a crate::carrier::Postage>,
    way: Option<Way>,
    pdf: Option<&'a [u8]>,
}

impl<'a> Facts<'a> {
    fn of(answer: &'a Answer) -> Self {
        let nothing = Self { reference: None, postage: None, way: None, pdf: None };
        match answer {
            Answer::Named(reference) => Self { reference: Some(reference), ..nothing },
            Answer::Bought { postage, way, pdf } => {
                Self { postage: Some(postage), way: Some(*way), pdf: Some(pdf), ..nothing }
            }
            Answer::Shown(way) => Self { way: Some(*way), ..nothing },
            Answer::Voided | Answer::NothingBought | Answer::Refused(_) | Answer::Unknown(_) => nothing,
        }
    }
}

/// For how many seconds the longest due has been due, of those that somebody waits for; 0 if none is.
pub(crate) async fn oldest_due(conn: &mut PgConnection) -> Result<f64, StoreError> {
    let seconds = sqlx::query_scalar!(
        r#"SELECT extract(epoch FROM shard_now() - next_attempt_at)::float8 AS "seconds!"
           FROM labels WHERE is_open AND (state NOT IN ('bought', 'sent') OR created_at > shard_now() - make_interval(secs => $1))
           ORDER BY next_attempt_at LIMIT 1"#,
        LOOKED_AFTER.as_secs_f64(),
    );
    Ok(seconds.fetch_optional(conn).await?.unwrap_or_default().max(0.0))
}

/// The label of that name of the carrier's.
pub(crate) async fn find_reference(conn: &mut PgConnection, reference: &str) -> Result<Option<ShipmentId>, StoreError> {
    let found = sqlx::query_scalar!("SELECT shipment_id FROM labels WHERE reference = $1", reference);
    Ok(found.fetch_optional(conn).await?.map(ShipmentId::from_uuid))
}

/// Enters a notice into the inbox; whether it was not there before.
pub(crate) async fn enter(conn: &mut PgConnection, consumer: &str, event: Uuid) -> Result<bool, StoreError> {
    let done =
        sqlx::query!("INSERT INTO inbox (consumer, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", consumer, event);
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Ends the pause before a label is looked at. Whoever has leased it keeps it, and looks once more after.
pub(crate) async fn make_due(conn: &mut PgConnection, shipment: ShipmentId) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE labels SET next_attempt_at = shard_now(), told = told + 1 WHERE shipment_id = $1 AND (is_open OR is_watched)",
        shipment.as_uuid(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

struct LabelRow {
    shipment_id: Uuid,
    state: String,
    service: String,
    weight_grams: i32,
    carrier: Option<String>,
    tracking_code: Option<String>,
    tracking_url: Option<String>,
    cost_minor: Option<i64>,
    cost_currency: Option<String>,
    way: Option<String>,
    problem: Option<String>,
    strayed_at: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
    skus: Vec<String>,
    units: Vec<i64>,
}

impl LabelRow {
    fn into_label(self) -> Result<Label, StoreError> {
        let item = |(name, units): (String, i64)| {
            let (sku, quantity) = line_of(&name, units)?;
            Ok::<_, StoreError>(OrderItem { sku, quantity })
        };
        let weight = u32::try_from(self.weight_grams);
        Ok(Label {
            shipment_id: ShipmentId::from_uuid(self.shipment_id),
            state: state(&self.state)?,
            service: self.service,
            weight_grams: weight.map_err(|error| StoreError::corrupt("labels.weight_grams", error))?,
            items: self.skus.into_iter().zip(self.units).map(item).collect::<Result<_, _>>()?,
            carrier: self.carrier,
            tracking_code: self.tracking_code,
            tracking_url: self.tracking_url,
            cost: self.cost_minor.zip(self.cost_currency).map(cost).transpose()?,
            way: self.way,
            problem: self.problem,
            strayed_at: self.strayed_at,
            created_at: self.created_at,
        })
    }
}

fn cost((minor, currency): (i64, String)) -> Result<Money, StoreError> {
    let currency: Currency = currency.parse().map_err(|error| StoreError::corrupt("labels.cost_currency", error))?;
    Money::new(minor, currency).map_err(|error| StoreError::corrupt("labels.cost_minor", error))
}

struct AskedRow {
    shipment_id: Uuid,
    order_id: Uuid,
    state: String,
    reference: Option<String>,
    service: String,
    weight_grams: i32,
    destination: Json<Address>,
    attempts: i32,
    told: i32,
}

impl AskedRow {
    fn into_asked(self) -> Result<Asked, StoreError> {
        let weight = u32::try_from(self.weight_grams);
        Ok(Asked {
            shipment_id: ShipmentId::from_uuid(self.shipment_id),
            order_id: OrderId::from_uuid(self.order_id),
            state: state(&self.state)?,
            reference: self.reference,
            service: self.service,
            weight_grams: weight.map_err(|error| StoreError::corrupt("labels.weight_grams", error))?,
            destination: self.destination.0,
            attempts: self.attempts,
            told: self.told,
        })
    }
}

#[cfg(test)]
mod tests {
    use region_core_store::test_support::shard_database;
    use shared::Slot;

    use super::*;

    #[tokio::test]
    async fn a_label_that_is_watched_is_leased_and_nobody_waits_for_it() {
        let database = shard_database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        let id = |number| ShipmentId::mint(1_800_000_000_000, Slot::new(9).unwrap(), [number; 8]).as_uuid();
        // Without the orders that they are of.
        sqlx::raw_sql("SET session_replication_role = replica").execute(&mut *conn).await.unwrap();
        for (number, state, late) in [(1, "to_void", 60.0), (2, "voided", 3600.0), (3, "refused", 3600.0)] {
            let destination =
                r#"{"name": "Ada", "line1": "1", "city": "London", "postal_code": "N1", "country": "GB"}"#;
            let new = sqlx::query(
                "INSERT INTO labels (shipment_id, order_id, key, request_hash, service, weight_grams, destination, state,
                     reference, next_attempt_at)
                 VALUES ($1, $1, $1::text, sha256(''), 'Letter', 1, $2::jsonb, $3,
                     CASE WHEN $3 = 'refused' THEN NULL ELSE 'shp' END, shard_now() - make_interval(secs => $4))",
            );
            let new = new.bind(id(number)).bind(destination).bind(state).bind(late);
            new.execute(&mut *conn).await.unwrap();
            sqlx::raw_sql("UPDATE labels SET reference = reference || shipment_id").execute(&mut *conn).await.unwrap();
        }
        let late = oldest_due(&mut conn).await.unwrap();
        assert!((60.0..1800.0).contains(&late), "{late}");
        let leased = lease(&mut conn, 10, Duration::from_secs(60)).await.unwrap();
        let mut leased: Vec<_> = leased.iter().map(|asked| asked.shipment_id.as_uuid()).collect();
        leased.sort_unstable();
        assert_eq!(leased, [id(1), id(2)], "what was never known to the carrier is not asked about");
    }
}
