//! A small store that is as it should be: two shards, a catalog, the provider's log and a client's list.
//!
//! What is under way lies in the future, so that no test depends on how long it takes.

use std::cell::RefCell;
use std::io::Write as _;

use region_core_store::test_support::{TestDatabase, catalog_database, shard_database};
use sqlx::AssertSqlSafe;
use tempfile::NamedTempFile;

use crate::audit::{Layout, ProviderLog, ShardSite};

/// The store.
pub(super) struct World {
    pub(super) layout: Layout,
    shards: [TestDatabase; 2],
    catalog: TestDatabase,
    journal: RefCell<(NamedTempFile, u64)>,
    carrier: RefCell<NamedTempFile>,
    acknowledged: RefCell<NamedTempFile>,
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Held,
    Claimed,
    Confirmed,
    /// Some of it has left.
    Shipped,
    /// All of it has arrived.
    Delivered,
    /// Cancelled before the money moved.
    Voided,
    /// Cancelled after the money moved.
    Refunded,
}

struct Order {
    number: u32,
    slot: u32,
    stage: Stage,
}

/// Shard 1 has given: 10 that arrived, 1 that is on its way, nothing, and 5 that it took back.
const GIVEN: &str = "
    INSERT INTO transfers_out (borrower, seq, sku, units, state, created_at) VALUES
        (2, 1, 'MUG', 10, 'acked', shard_now()), (2, 2, 'MUG', 1, 'sent', shard_now() + interval '1 hour'),
        (2, 3, 'CUP', 0, 'acked', shard_now()), (2, 4, 'MUG', 5, 'cancelled', shard_now());
    INSERT INTO transfer_lows (peer, low) VALUES (2, 2);
    UPDATE allotments SET free = free - 11 WHERE sku = 'MUG'";
const BORROWED: &str = "
    INSERT INTO transfers_in (seq, donor, sku, want, units, state, created_at, settled_at) VALUES
        (1, 1, 'MUG', 10, 10, 'done', shard_now(), shard_now()), (2, 1, 'MUG', 9, NULL, 'pending', shard_now() + interval '1 hour', NULL),
        (3, 1, 'CUP', 4, 0, 'done', shard_now(), shard_now()), (4, 1, 'MUG', 5, NULL, 'cancelled', shard_now(), shard_now());
    UPDATE transfer_counter SET next_seq = 5;
    UPDATE allotments SET free = free + 10 WHERE sku = 'MUG';
    INSERT INTO origins (sku, region, units) VALUES ('MUG', 'eu', 10)";
const ARRIVED: [&str; 2] = [
    "UPDATE transfers_out SET state = 'acked' WHERE state = 'sent'",
    "UPDATE transfers_in SET state = 'done', units = 1, placed = true, settled_at = shard_now() WHERE state = 'pending';
     UPDATE allotments SET free = free + 1 WHERE sku = 'MUG';
     UPDATE origins SET units = units + 1",
];
/// 100 of each SKU came in on each shard; what is not reserved or sold is free.
const STOCKED: &str = "
    INSERT INTO ledger (ref, sku, kind, units, elsewhere) VALUES
        ('first', 'MUG', 'supply', 120, NULL), ('broken', 'MUG', 'shrink', -30, '{}'), ('back', 'MUG', 'return', 10, NULL),
        ('cups', 'CUP', 'supply', 100, NULL);
    INSERT INTO allotments (sku, free, reserved, sold)
    SELECT sku, 100 - held - claimed, held, claimed FROM (
        SELECT sku, coalesce(sum(units) FILTER (WHERE state = 'held'), 0) AS held,
               coalesce(sum(units) FILTER (WHERE state = 'claimed'), 0) AS claimed
        FROM (VALUES ('MUG'), ('CUP')) AS skus (sku) LEFT JOIN reservations USING (sku) GROUP BY sku) AS orders";
const CATALOG: &str = "
    INSERT INTO control.shards VALUES (1, 'eu'), (2, 'us');
    INSERT INTO control.slot_owners SELECT slot, 1 + slot / 2048 FROM generate_series(0, 4095) AS slot;
    INSERT INTO control.slot_map (epoch) VALUES (1);
    INSERT INTO catalog.versions (version) VALUES (2);
    INSERT INTO catalog.price_history VALUES
        ('MUG', 1, 'GBP', 255), ('MUG', 2, 'GBP', 295), ('CUP', 1, 'GBP', 100), ('CAP', 1, 'GBP', 100)";

impl World {
    /// A store that sells: orders of every stage, and a transfer on its way.
    pub(super) async fn running() -> Self {
        let decided = [Stage::Confirmed, Stage::Voided, Stage::Refunded, Stage::Shipped, Stage::Delivered];
        let stages = [[Stage::Held, Stage::Claimed].as_slice(), &decided].concat();
        let world = Self::with(&stages).await;
        world.shard(1, GIVEN).await;
        world.shard(2, BORROWED).await;
        world
    }

    /// A store in which nothing is under way.
    pub(super) async fn at_rest() -> Self {
        let world = Self::with(&[Stage::Confirmed, Stage::Voided, Stage::Refunded]).await;
        for (shard, there) in [(1, GIVEN), (2, BORROWED), (1, ARRIVED[0]), (2, ARRIVED[1])] {
            world.shard(shard, there).await;
        }
        world
    }

    /// Orders 1, 2, … on shard 1 in these stages, each in the slot of its number, and a confirmed order 9 on shard 2.
    async fn with(stages: &[Stage]) -> Self {
        let (one, other, catalog) = tokio::join!(shard_database(), shard_database(), catalog_database());
        let (journal, acknowledged) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
        let carrier = NamedTempFile::new().unwrap();
        let site = |id, region: &str, database: &TestDatabase| ShardSite {
            id,
            region: region.to_owned(),
            url: database.url.clone(),
        };
        let layout = Layout {
            shards: vec![site(1, "eu", &one), site(2, "us", &other)],
            catalog: catalog.url.clone(),
            provider: Some(ProviderLog::Journal(journal.path().to_owned())),
            carrier: Some(carrier.path().to_owned()),
            acknowledged: Some(acknowledged.path().to_owned()),
        };
        let (journal, acknowledged) = (RefCell::new((journal, 0)), RefCell::new(acknowledged));
        let carrier = RefCell::new(carrier);
        let world = Self { layout, shards: [one, other], catalog, journal, carrier, acknowledged };
        world.catalog(CATALOG).await;
        world.shard(1, "DELETE FROM slots WHERE slot > 2047").await;
        world.shard(2, "DELETE FROM slots WHERE slot < 2048; UPDATE shard_meta SET shard_id = 2, region = 'us'").await;
        for (stage, number) in stages.iter().zip(1..) {
            world.place(1, &Order { number, slot: number, stage: *stage }).await;
        }
        world.place(2, &Order { number: 9, slot: 3000, stage: Stage::Confirmed }).await;
        for shard in [1, 2] {
            world.shard(shard, STOCKED).await;
        }
        world
    }

    /// Has a shard carry this out.
    pub(super) async fn shard(&self, id: usize, sql: impl Into<String>) {
        execute(&self.shards[id - 1], sql.into()).await;
    }

    /// Has the catalog carry this out.
    pub(super) async fn catalog(&self, sql: &str) {
        execute(&self.catalog, sql.to_owned()).await;
    }

    /// The order under a key of shard 1.
    pub(super) async fn order(&self, key: &str) -> String {
        let order = sqlx::query_scalar("SELECT order_id::text FROM idempotency_records WHERE key = $1");
        order.bind(key).fetch_one(&self.shards[0].pool).await.unwrap()
    }

    /// One more line in the client's list.
    pub(super) fn acknowledge(&self, line: &str) {
        writeln!(self.acknowledged.borrow_mut(), "{line}").unwrap();
    }

    /// One more fact in the provider's log.
    pub(super) fn provider(&self, reference: &str, fact: &str) {
        let (file, sequence) = &mut *self.journal.borrow_mut();
        *sequence += 1;
        writeln!(file, r#"{{"sequence":{sequence},"at_ms":1,"reference":"{reference}",{fact}}}"#).unwrap();
    }

    /// One more fact in the carrier's log.
    pub(super) fn carrier(&self, reference: &str, fact: &str) {
        writeln!(self.carrier.borrow_mut(), r#"{{"sequence":1,"at_ms":1,"id":"{reference}",{fact}}}"#).unwrap();
    }

    /// Copies an order and its key from one shard to another.
    pub(super) async fn copy_order(&self, key: &str, from: usize, to: usize) {
        for table in ["orders", "idempotency_records"] {
            let rows = format!(
                "SELECT coalesce(jsonb_agg(to_jsonb(row)), '[]')::text FROM {table} AS row
                 WHERE order_id = (SELECT order_id FROM idempotency_records WHERE key = $1)"
            );
            let rows: String =
                sqlx::query_scalar(AssertSqlSafe(rows)).bind(key).fetch_one(&self.shards[from - 1].pool).await.unwrap();
            // Generated columns cannot be written.
            let columns = "SELECT string_agg(attname, ', ') FROM pg_attribute
                 WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''";
            let pool = &self.shards[to - 1].pool;
            let columns: String = sqlx::query_scalar(columns).bind(table).fetch_one(pool).await.unwrap();
            let insert = format!(
                "INSERT INTO {table} ({columns})
                 SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, $1::jsonb)"
            );
            sqlx::query(AssertSqlSafe(insert)).bind(rows).execute(pool).await.unwrap();
        }
    }

    /// Moves a slot from one shard to another, as its coordinator would, and leaves what it held behind.
    pub(super) async fn move_slot(&self, slot: i16, from: usize, to: usize) {
        self.shard(from, format!("UPDATE slots SET state = 'moved', epoch = 2 WHERE slot = {slot}")).await;
        self.shard(to, format!("INSERT INTO slots VALUES ({slot}, 'owner', 2)")).await;
        let map = format!(
            "UPDATE control.slot_owners SET shard_id = {to} WHERE slot = {slot}; UPDATE control.slot_map SET epoch = 2"
        );
        self.catalog(&map).await;
    }

    /// An order of two mugs and a cup, with all that belongs to it, and what others know of it.
    async fn place(&self, shard: usize, order: &Order) {
        self.shard(shard, order.sql()).await;
        for fact in order.facts() {
            self.provider(&format!("pay_{}", order.number), &fact);
        }
        if matches!(order.stage, Stage::Shipped | Stage::Delivered) {
            let (reference, number) = (format!("shp_{}", order.number), order.number);
            self.carrier(&reference, &format!(r#""fact":"created","reference":"{}""#, order.id(2)));
            self.carrier(&reference, &format!(r#""fact":"bought","service":1,"tracking_code":"T{number}""#));
        }
        self.acknowledge(&format!(
            r#"{{"order_id":"{}","user_id":"{}","key":"key-{}","total_minor":690,"currency":"GBP"}}"#,
            order.id(0),
            order.user(),
            order.number
        ));
    }
}

async fn execute(database: &TestDatabase, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql.clone()))
        .execute(&database.pool)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

impl Order {
    /// 0 for the order, 1 for its payment, 2 for its parcel, 3 for its return, 4 for its refund.
    fn id(&self, what: u32) -> String {
        format!("01900000-0000-7{:03x}-800{what}-{:012x}", self.slot, self.number)
    }

    fn user(&self) -> u32 {
        (self.slot << 10) + 1
    }

    /// What was said, in order: topic, kind and who hears it.
    fn said(&self) -> Vec<(&'static str, &'static str, Option<&'static str>)> {
        let order = |kind, heard| ("order_events", kind, heard);
        let payment = |kind| ("payment_events", kind, Some("order.payment-news"));
        let (created, claimed) = (order("OrderCreated", Some("payment")), order("OrderClaimed", Some("payment")));
        let cancelled = order("OrderCancelled", Some("payment"));
        let authorized = payment("PaymentAuthorized");
        let parcel = |kind| ("shipping_events", kind, None);
        let paid = vec![created, authorized, claimed, payment("PaymentCaptured"), order("OrderConfirmed", None)];
        let sent = [parcel("ShipmentSent"), order("OrderShipped", None)];
        match self.stage {
            Stage::Held => vec![created],
            Stage::Claimed => vec![created, authorized, claimed],
            Stage::Confirmed => paid,
            Stage::Shipped => [paid.as_slice(), &sent].concat(),
            Stage::Delivered => {
                let arrived = [parcel("ShipmentDelivered"), order("OrderDelivered", None)];
                let back = [parcel("OrderReturned"), ("payment_events", "RefundIssued", None)];
                [paid.as_slice(), &sent, &arrived, &back].concat()
            }
            Stage::Voided => vec![created, authorized, cancelled, payment("PaymentVoided")],
            Stage::Refunded => {
                vec![created, authorized, claimed, cancelled, payment("PaymentCaptured"), payment("PaymentRefunded")]
            }
        }
    }

    /// What the provider wrote down.
    fn facts(&self) -> Vec<String> {
        let created = format!(
            r#""fact":"created","merchant_reference":"{}","amount_minor":690,"currency":"GBP","token":"tok_success""#,
            self.id(1)
        );
        let fact = |name: &str| format!(r#""fact":"{name}""#);
        let refunded = r#""fact":"refunded","amount_minor":690"#.to_owned();
        match self.stage {
            Stage::Held => vec![created],
            Stage::Claimed => vec![created, fact("authorized")],
            Stage::Confirmed | Stage::Shipped => vec![created, fact("authorized"), fact("captured")],
            Stage::Delivered => {
                let part = format!(r#""fact":"refunded","amount_minor":100,"refund_reference":"{}""#, self.id(4));
                vec![created, fact("authorized"), fact("captured"), part]
            }
            Stage::Voided => vec![created, fact("authorized"), fact("voided")],
            Stage::Refunded => vec![created, fact("authorized"), fact("captured"), refunded],
        }
    }

    fn sql(&self) -> String {
        let (order, payment, user, number) = (self.id(0), self.id(1), self.user(), self.number);
        let (status, claimed, reservation, state, captured, refunded) = match self.stage {
            Stage::Held => ("PENDING", false, "held", "to_authorize", 0, 0),
            Stage::Claimed => ("PENDING", true, "claimed", "to_capture", 0, 0),
            Stage::Confirmed => ("CONFIRMED", true, "claimed", "captured", 690, 0),
            Stage::Shipped => ("SHIPPED", true, "claimed", "captured", 690, 0),
            Stage::Delivered => ("DELIVERED", true, "claimed", "captured", 690, 100),
            Stage::Voided => ("CANCELLED", false, "released", "voided", 0, 0),
            Stage::Refunded => ("CANCELLED", true, "released", "refunded", 690, 690),
        };
        let said = self.said();
        let versions = |topic| said.iter().filter(|(said, ..)| *said == topic).count();
        let (version, payment_version) = (versions("order_events"), versions("payment_events"));
        let mut sql = format!(
            "INSERT INTO users (user_id) VALUES ({user});
             INSERT INTO idempotency_records (user_id, key, request_hash, order_id)
             VALUES ({user}, 'key-{number}', sha256('{number}'), '{order}');
             INSERT INTO orders (order_id, user_id, status, claimed_at, cancel_reason, payment_token, currency, subtotal_minor,
                 shipping_minor, total_minor, catalog_version, shipping_address, version, expires_at)
             VALUES ('{order}', {user}, '{status}', CASE WHEN {claimed} THEN shard_now() + interval '1 hour' END,
                 CASE WHEN '{status}' = 'CANCELLED' THEN 'test' END, 'tok_success', 'GBP', 690, 0, 690, 2, '{{}}', {version},
                 shard_now() + interval '1 hour');
             INSERT INTO line_items VALUES ('{order}', 'MUG', 'a mug', 2, 295), ('{order}', 'CUP', 'a cup', 1, 100);
             INSERT INTO reservations VALUES ('{order}', 'MUG', 2, '{reservation}'), ('{order}', 'CUP', 1, '{reservation}');
             INSERT INTO payments (payment_id, order_id, provider, provider_reference, payment_token, currency, amount_minor,
                 captured_minor, refunded_minor, state, version, changed_at)
             VALUES ('{payment}', '{order}', 'sandbox', 'pay_{number}', 'tok_success', 'GBP', 690, {captured}, {refunded},
                 '{state}', {payment_version}, shard_now() + interval '1 hour');"
        );
        sql.push_str(&self.parcel());
        sql.push_str(&self.back());
        sql.push_str(&format!(
            "INSERT INTO money_entries (payment_id, cause, order_id, debit, credit, amount_minor, currency)
             SELECT payment_id, cause, order_id, debit, credit, minor, currency
             FROM payments LEFT JOIN refunds USING (payment_id, order_id, currency) CROSS JOIN LATERAL (VALUES
                 ('capture', 'provider', 'order', captured_minor),
                 (concat_ws(' ', 'refund', refund_id), 'order', 'provider', refunded_minor)
             ) AS entry (cause, debit, credit, minor)
             WHERE order_id = '{order}' AND minor > 0;"
        ));
        if self.stage == Stage::Voided {
            sql.push_str(&format!(
                "INSERT INTO order_reviews (order_id, score, reasons, decision, decided_at)
                 VALUES ('{order}', 110, '{{many_orders_on_card}}', 'refused', shard_now());"
            ));
        }
        let mut next = std::collections::HashMap::new();
        for (place, (topic, kind, heard)) in said.into_iter().enumerate() {
            let version = next.entry(topic).and_modify(|version| *version += 1).or_insert(1);
            let event = format!("01900000-0000-7000-9{place:03x}-{number:012x}");
            sql.push_str(&format!(
                "INSERT INTO outbox (event_id, topic, kind, aggregate_id, aggregate_version, payload, created_at)
                 VALUES ('{event}', '{topic}', '{kind}', '{order}', {version}, '{{}}', shard_now() + interval '1 hour');"
            ));
            if let Some(consumer) = heard {
                sql.push_str(&format!("INSERT INTO inbox (consumer, event_id) VALUES ('{consumer}', '{event}');"));
            }
        }
        sql
    }

    /// A mug that came back broken, and what was given back for it.
    fn back(&self) -> String {
        if self.stage != Stage::Delivered {
            return String::new();
        }
        let (order, payment, back, refund, number) = (self.id(0), self.id(1), self.id(3), self.id(4), self.number);
        format!(
            "INSERT INTO returns (return_id, order_id, key, request_hash, reason, inspected_at)
             VALUES ('{back}', '{order}', 'return', sha256('{number}'), 'broken', shard_now() + interval '1 hour');
             INSERT INTO return_lines VALUES ('{back}', 'MUG', 1, 0, 1);
             UPDATE sent_units SET returned = 1 WHERE order_id = '{order}' AND sku = 'MUG';
             INSERT INTO ledger (ref, sku, kind, units) VALUES
                 ('return {back}, MUG', 'MUG', 'return', 1), ('return {back}, MUG, lost', 'MUG', 'shrink', -1);
             INSERT INTO refunds (refund_id, order_id, payment_id, provider, key, request_hash, currency, amount_minor,
                 reason, state)
             VALUES ('{refund}', '{order}', '{payment}', 'sandbox', 'refund', sha256('{number}'), 'GBP', 100, 'broken',
                 'refunded');"
        )
    }

    /// The parcel that has left, with one mug if the rest is to follow, each under a label of its own.
    fn parcel(&self) -> String {
        let (mugs, cups, arrived, label) = match self.stage {
            Stage::Shipped => (1, 0, "NULL", "sent"),
            Stage::Delivered => (2, 1, "shard_now() + interval '1 hour'", "arrived"),
            Stage::Held | Stage::Claimed | Stage::Confirmed | Stage::Voided | Stage::Refunded => return String::new(),
        };
        let (order, parcel, number) = (self.id(0), self.id(2), self.number);
        format!(
            "INSERT INTO shipments (shipment_id, order_id, key, request_hash, carrier, tracking_code, delivered_at)
             VALUES ('{parcel}', '{order}', 'parcel', sha256('{number}'), 'Post', 'T{number}', {arrived});
             INSERT INTO shipment_lines
             SELECT '{parcel}', sku, units FROM (VALUES ('MUG', {mugs}), ('CUP', {cups})) AS line (sku, units) WHERE units > 0;
             INSERT INTO labels (shipment_id, order_id, key, request_hash, service, weight_grams, destination, state, reference,
                 carrier, tracking_code, pdf)
             VALUES ('{parcel}', '{order}', 'parcel', sha256('{number}'), 'Tracked', 450, '{{}}', '{label}', 'shp_{number}',
                 'Post', 'T{number}', '%PDF-');
             INSERT INTO label_lines SELECT * FROM shipment_lines WHERE shipment_id = '{parcel}';
             INSERT INTO sent_units VALUES ('{order}', 'MUG', 2, {mugs}), ('{order}', 'CUP', 1, {cups});"
        )
    }
}
