//! What the databases and the payment provider say after a run. Queries are checked at run time only, as everywhere in
//! these commands: they must compile without the queries' metadata.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use shared::OrderId;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

use crate::movements::{Movement, MovementLog};

/// How often the store is asked whether it is quiet.
const LOOK: Duration = Duration::from_millis(250);
/// How long a label is kept for who has begun to ask about it.
const LABELS_LEASED: Duration = Duration::from_secs(120);

/// An order as a shard keeps it under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) shard: u16,
    pub(super) key: String,
    pub(super) user_id: i64,
    pub(super) order_id: OrderId,
    /// Absent if the key names an order that is not there.
    pub(super) status: Option<String>,
    pub(super) total_minor: i64,
    pub(super) payment_id: Option<String>,
}

/// Key, user, order, status, total and payment.
type KeptRow = (String, i64, Uuid, Option<String>, Option<i64>, Option<String>);

/// Where the units of a SKU are, over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stock {
    /// Received and returned, less what was written off.
    pub(super) ledger: i64,
    pub(super) free: i64,
    pub(super) reserved: i64,
    pub(super) sold: i64,
}

/// What is still under way, over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnderWay {
    pub(super) orders: i64,
    pub(super) payments: i64,
    pub(super) transfers: i64,
    pub(super) events: i64,
    pub(super) labels: i64,
}

/// A parcel that has left, or a label that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    pub(super) order_id: OrderId,
    pub(super) key: String,
    pub(super) shipment_id: String,
    pub(super) left: bool,
}

/// Everything that is written down.
#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    pub(super) kept: Vec<Kept>,
    pub(super) stock: BTreeMap<String, Stock>,
    pub(super) movements: Vec<Movement>,
    pub(super) parcels: Vec<Parcel>,
    /// Our names of the parcels for which the carrier has sold a label and not taken it back, each as often as it did.
    pub(super) labels_paid: Vec<String>,
}

/// What the carrier says that it sold.
#[derive(Deserialize)]
struct CarrierLog {
    labels: Vec<SoldLabel>,
}

#[derive(Deserialize)]
struct SoldLabel {
    #[serde(default)]
    reference: Option<String>,
    refunded: bool,
}

/// The shards' databases, reached without the proxies.
#[derive(Clone, Debug)]
pub(super) struct Shards(pub(super) BTreeMap<u16, String>);

impl Shards {
    /// Waits until nothing is under way; tells how long that took, or what still was when the time was over. Labels may take
    /// longer: who died while he asked the carrier about one keeps others off it for [`LABELS_LEASED`].
    pub(super) async fn quiet(&self, within: Duration) -> anyhow::Result<Result<Duration, UnderWay>> {
        let begun = Instant::now();
        loop {
            let under_way = self.under_way().await?;
            if under_way == UnderWay::default() {
                return Ok(Ok(begun.elapsed()));
            }
            let only_labels = under_way == UnderWay { labels: under_way.labels, ..UnderWay::default() };
            if begun.elapsed() >= if only_labels { within + LABELS_LEASED } else { within } {
                return Ok(Err(under_way));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn under_way(&self) -> anyhow::Result<UnderWay> {
        let mut sum = UnderWay::default();
        for (shard, url) in &self.0 {
            let mut shard = connect(*shard, url).await?;
            let (orders, payments, transfers, events, labels): (i64, i64, i64, i64, i64) =
                sqlx::query_as(UNDER_WAY).fetch_one(&mut shard).await.context("cannot ask what is under way")?;
            sum.orders += orders;
            sum.payments += payments;
            sum.transfers += transfers;
            sum.events += events;
            sum.labels += labels;
            shard.close().await?;
        }
        Ok(sum)
    }

    /// Reads all orders under keys that begin so, all stock, and all movements of money.
    pub(super) async fn read(&self, prefix: &str, (sandbox, carrier): (&str, &str)) -> anyhow::Result<Books> {
        let movements = MovementLog::at(sandbox)?.all().await?;
        let mut books = Books { movements, labels_paid: labels_paid(carrier).await?, ..Books::default() };
        for (&number, url) in &self.0 {
            let mut shard = connect(number, url).await?;
            let rows: Vec<KeptRow> = sqlx::query_as(
                "SELECT i.key, i.user_id, i.order_id, o.status, o.total_minor, p.payment_id::text
                 FROM idempotency_records i LEFT JOIN orders o USING (order_id) LEFT JOIN payments p USING (order_id)
                 WHERE starts_with(i.key, $1) ORDER BY i.key",
            )
            .bind(prefix)
            .fetch_all(&mut shard)
            .await?;
            books.kept.extend(rows.into_iter().map(|(key, user_id, order, status, total, payment_id)| Kept {
                shard: number,
                key,
                user_id,
                order_id: OrderId::from_uuid(order),
                status,
                total_minor: total.unwrap_or_default(),
                payment_id,
            }));
            books.count(&mut shard).await?;
            let parcels: Vec<(Uuid, String, String, bool)> =
                sqlx::query_as(PARCELS).bind(prefix).fetch_all(&mut shard).await.context("cannot read the parcels")?;
            books.parcels.extend(parcels.into_iter().map(|(order, key, shipment_id, left)| Parcel {
                order_id: OrderId::from_uuid(order),
                key,
                shipment_id,
                left,
            }));
            shard.close().await?;
        }
        Ok(books)
    }

    /// Puts slots that nobody lives in from one shard into another: two transactions, the source's first, as a move's
    /// freeze and take-over would. Nobody who reads the map hears of it. Gives the slots.
    pub(super) async fn move_slots(&self, from: u16, to: u16) -> anyhow::Result<Vec<i16>> {
        let url = |number: u16| self.0.get(&number).with_context(|| format!("there is no shard {number}"));
        let (mut source, mut target) = (connect(from, url(from)?).await?, connect(to, url(to)?).await?);
        let mut moving = source.begin().await?;
        // The lock first: what was being written in these slots is committed and seen by the next statement.
        sqlx::query("SELECT FROM slots WHERE state = 'owner' ORDER BY slot FOR UPDATE").execute(&mut *moving).await?;
        let slots: Vec<i16> = sqlx::query_scalar(
            "UPDATE slots SET state = 'moved', epoch = epoch + 1
             WHERE state = 'owner' AND slot NOT IN (SELECT slot FROM users) AND slot NOT IN (SELECT slot FROM logins)
             RETURNING slot",
        )
        .fetch_all(&mut *moving)
        .await?;
        moving.commit().await?;
        sqlx::query(
            "INSERT INTO slots (slot, state, epoch)
             SELECT slot, 'owner', (SELECT max(epoch) + 1 FROM slots) FROM unnest($1::smallint[]) AS new (slot)
             ON CONFLICT (slot) DO UPDATE SET state = 'owner', epoch = greatest(slots.epoch, excluded.epoch)",
        )
        .bind(&slots)
        .execute(&mut target)
        .await?;
        source.close().await?;
        target.close().await?;
        Ok(slots)
    }
}

/// Tells the primary of the map about slots that have moved.
pub(super) async fn publish_map(catalog: &str, moved: &[(u16, Vec<i16>)]) -> anyhow::Result<()> {
    let mut catalog = PgConnection::connect(catalog).await.context("cannot reach the catalog's database")?;
    let mut publishing = catalog.begin().await?;
    for (to, slots) in moved {
        sqlx::query("UPDATE control.slot_owners SET shard_id = $1 WHERE slot = ANY($2)")
            .bind(i16::try_from(*to)?)
            .bind(slots)
            .execute(&mut *publishing)
            .await?;
    }
    sqlx::query("UPDATE control.slot_map SET epoch = epoch + 1").execute(&mut *publishing).await?;
    publishing.commit().await?;
    Ok(catalog.close().await?)
}

impl Books {
    async fn count(&mut self, shard: &mut PgConnection) -> anyhow::Result<()> {
        let rows: Vec<(String, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT sku, coalesce(units, 0), coalesce(free, 0), coalesce(reserved, 0), coalesce(sold, 0)
             FROM allotments FULL JOIN (SELECT sku, sum(units)::bigint AS units FROM ledger GROUP BY sku) l USING (sku)",
        )
        .fetch_all(shard)
        .await?;
        for (sku, ledger, free, reserved, sold) in rows {
            let all = self.stock.entry(sku).or_default();
            all.ledger += ledger;
            all.free += free;
            all.reserved += reserved;
            all.sold += sold;
        }
        Ok(())
    }
}

/// Every parcel once: under a label it has the label's id.
const PARCELS: &str = "
    SELECT order_id, key::text, shipment_id::text, true FROM shipments WHERE starts_with(key, $1)
    UNION ALL
    SELECT order_id, key::text, shipment_id::text, false FROM labels
    WHERE starts_with(key, $1) AND shipment_id NOT IN (SELECT shipment_id FROM shipments)";

async fn labels_paid(carrier: &str) -> anyhow::Result<Vec<String>> {
    let asked = reqwest::Client::builder().no_proxy().build()?.get(format!("{carrier}/log")).send().await?;
    let log: CarrierLog = asked.error_for_status()?.json().await.context("the carrier's log")?;
    let kept = log.labels.into_iter().filter(|label| !label.refunded);
    Ok(kept.map(|label| label.reference.unwrap_or_default()).collect())
}

/// Orders that are undecided, payments that wait for an exchange or for their order's decision and money that is to go back,
/// transfers of which one half is missing, events that a consumer has not taken yet, labels that are being bought or given back.
/// That an order's news were taken shows in what became of it; only the plan from where it is sent is waited for by name, until it
/// is entered as taken or passed, as it is in a store of one region.
const UNDER_WAY: &str = "
    SELECT (SELECT count(*) FROM orders WHERE status = 'PENDING'),
           (SELECT count(*) FROM payments WHERE state IN
               ('to_create', 'to_authorize', 'to_confirm', 'to_capture', 'to_void', 'to_refund'))
               + (SELECT count(*) FROM refunds WHERE is_open),
           (SELECT count(*) FROM transfers_in WHERE state = 'pending')
               + (SELECT count(*) FROM transfers_out WHERE state = 'sent'),
           (SELECT count(*) FROM event_retries)
               + (SELECT count(*) FROM orders JOIN payments USING (order_id)
                  WHERE status = 'CANCELLED' AND state IN ('authorized', 'captured', 'challenge_required'))
               + (SELECT count(*) FROM outbox WHERE kind = 'OrderConfirmed'
                  AND NOT EXISTS (SELECT FROM inbox AS done
                                  WHERE done.consumer = 'order.origins' AND done.event_id = outbox.event_id)
                  AND NOT EXISTS (SELECT FROM dead_letters AS letter
                                  WHERE letter.consumer = 'order.origins' AND letter.event_id = outbox.event_id)
                  AND NOT EXISTS (SELECT FROM consumer_cursors AS passed
                                  WHERE passed.consumer = 'order.origins' AND (outbox.transaction_id < passed.settled_before
                                      OR outbox.transaction_id < passed.window_before AND outbox.sequence <= passed.sequence))),
           (SELECT count(*) FROM labels WHERE state IN ('to_buy', 'to_void'))";

async fn connect(number: u16, url: &str) -> anyhow::Result<PgConnection> {
    PgConnection::connect(url).await.with_context(|| format!("cannot reach the database of shard {number}"))
}
