//! Promises about buying labels, kept by a real Postgres and the real carrier sandbox.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode};
use region_core_carrier_sandbox::{Hook, Options, Sandbox};
use region_core_shipping::rules::label::Pauses;
use region_core_shipping::{
    Account, Deadlines, Departures, EasyPost, NewLabel, NoticeError, Settings, Shipping, keep_label, set_label_state,
    write_off_label,
};
use region_core_store::{Shard, Shards, test_support};
use region_core_web::Peers;
use secrecy::SecretString;
use serde_json::{Value, json};
use shared::api::order::{Address, Label, LabelState};
use shared::id::Slot;
use shared::{OrderId, Problem, Quantity, ShipmentId, Sku};
use shared_clock::{Clock, Entropy};
use sqlx::{PgConnection, Row};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const MS: u64 = 1_800_000_000_000;
/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(60);
const SECRET: &str = "swordfish";

/// What orders were told.
#[derive(Default)]
struct Told(Mutex<Vec<(&'static str, ShipmentId)>>);

impl Departures for Told {
    fn left(&self, _: OrderId, shipment: ShipmentId) -> BoxFuture<'_, Result<(), Problem>> {
        self.0.lock().unwrap().push(("left", shipment));
        std::future::ready(Ok(())).boxed()
    }

    fn arrived(&self, _: OrderId, shipment: ShipmentId) -> BoxFuture<'_, Result<(), Problem>> {
        self.0.lock().unwrap().push(("arrived", shipment));
        std::future::ready(Ok(())).boxed()
    }
}

/// A shard with a paid order, its driver, and a carrier.
struct Shop {
    shards: Shards,
    shard: Shard,
    shipping: Shipping,
    told: Arc<Told>,
    origin: String,
    stop: CancellationToken,
    _log: tempfile::TempDir,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn address(country: &str) -> Address {
    Address {
        name: "Ada Lovelace".into(),
        line1: "12 St James's Square".into(),
        line2: None,
        city: "London".into(),
        region: None,
        postal_code: Some("SW1Y 4JH".into()),
        country: country.into(),
    }
}

fn order() -> OrderId {
    OrderId::mint(MS, Slot::new(9).unwrap(), [1; 8])
}

fn parcel(number: u8) -> ShipmentId {
    ShipmentId::mint(MS, Slot::new(9).unwrap(), [number; 8])
}

impl Shop {
    /// `heard` is whether the carrier's notices reach the shop.
    async fn open(heard: bool) -> Self {
        let (log, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/webhooks/carrier", listener.local_addr().unwrap());
        let secret = SecretString::from(SECRET.to_owned());
        let options = Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: log.path().to_owned(),
            hook: heard.then(|| Hook { url, secret: secret.clone() }),
            step: None,
            silence: LIMIT,
        };
        let sandbox = Sandbox::open(&options, Clock::system(), Entropy::system()).await.unwrap();
        let origin = format!("http://{}", sandbox.address());
        tokio::spawn(sandbox.run(stop.clone()));
        let account = Account {
            url: origin.clone(),
            api_key: secret.clone(),
            webhook_secrets: vec![secret],
            from: address("GB"),
        };
        let deadlines = Deadlines { connect: Duration::from_secs(1), total: Duration::from_millis(500) };
        let carrier = Arc::new(EasyPost::within(&account, deadlines).unwrap());
        let pauses = Pauses {
            first: Duration::from_millis(20),
            longest: Duration::from_millis(100),
            quiet: Duration::from_millis(1),
            ..Pauses::default()
        };
        let settings = Settings { poll: Duration::from_millis(20), pauses, ..Settings::default() };
        let shards = test_support::one_shard().await;
        let shard = shards.all().next().unwrap().clone();
        let shipping = Shipping::new(shards.clone(), Some(carrier), Peers::none()).bounded_by(settings);
        let told = Arc::new(Told::default());
        let departures = Arc::clone(&told) as Arc<dyn Departures>;
        tokio::spawn(shipping.clone().drive(departures, stop.clone()));
        let service = region_core_shipping::router(shipping.clone());
        let stopped = stop.clone();
        tokio::spawn(
            async move { axum::serve(listener, service).with_graceful_shutdown(stopped.cancelled_owned()).await },
        );
        let shop = Self { shards, shard, shipping, told, origin, stop, _log: log };
        shop.order().await;
        shop
    }

    async fn order(&self) {
        let sql = "INSERT INTO users (user_id) VALUES (7);
            INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor, total_minor,
                                catalog_version, shipping_address, expires_at)
            SELECT '{order}', 7, 'tok_success', 'GBP', 1250, 0, 1250, 1, '{}', shard_now() + interval '15 minutes'";
        let sql = sqlx::AssertSqlSafe(sql.replace("{order}", &order().to_string()));
        sqlx::raw_sql(sql).execute(&mut *self.shard.read().await.unwrap()).await.unwrap();
    }

    async fn ask(&self, number: u8, service: &str, country: &str) {
        self.ask_in(&mut self.shard.read().await.unwrap(), number, service, country).await;
    }

    async fn ask_in(&self, conn: &mut PgConnection, number: u8, service: &str, country: &str) {
        let sku: Sku = "MUG".parse().unwrap();
        let units = |units| BTreeMap::from([(sku.clone(), Quantity::new(units).unwrap())]);
        let key = format!("key-{number}").parse().unwrap();
        let label = NewLabel {
            shipment_id: parcel(number),
            order_id: order(),
            key: &key,
            request_hash: [number; 32],
            service,
            weight_grams: 450,
            destination: &address(country),
            units: &units(1),
            ordered: &units(9),
        };
        keep_label(conn, &label).await.unwrap();
    }

    async fn label(&self, number: u8) -> Label {
        let labels = self.shipping.labels(order()).await.unwrap();
        labels.items.into_iter().find(|label| label.shipment_id == parcel(number)).unwrap()
    }

    /// The label once it stands there.
    async fn until(&self, number: u8, state: LabelState) -> Label {
        self.when(number, |label| label.state == state).await
    }

    async fn when(&self, number: u8, good: impl Fn(&Label) -> bool) -> Label {
        let looked = tokio::time::timeout(LIMIT, async {
            let mut looks = tokio::time::interval(Duration::from_millis(20));
            loop {
                looks.tick().await;
                let label = self.label(number).await;
                if good(&label) {
                    return label;
                }
            }
        });
        match looked.await {
            Ok(label) => label,
            Err(_) => panic!("it stays {:?}", self.label(number).await),
        }
    }

    async fn told_of(&self, what: &'static str, number: u8) {
        let heard = tokio::time::timeout(LIMIT, async {
            let mut looks = tokio::time::interval(Duration::from_millis(20));
            while !self.told.0.lock().unwrap().contains(&(what, parcel(number))) {
                looks.tick().await;
            }
        });
        assert!(heard.await.is_ok(), "nobody was told that it has {what}");
    }

    async fn void(&self, number: u8) {
        let mut conn = self.shard.read().await.unwrap();
        set_label_state(&mut conn, parcel(number), LabelState::ToVoid).await.unwrap();
    }

    /// What `order` would write when it is told that a parcel has left.
    async fn sent(&self, number: u8) {
        let mut conn = self.shard.read().await.unwrap();
        set_label_state(&mut conn, parcel(number), LabelState::Sent).await.unwrap();
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = reqwest::Client::new().post(format!("{}{path}", self.origin)).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
    }

    /// The carrier's name for a label that it sells behind our back.
    async fn sell(&self, number: u8, service: &str) -> String {
        let post = async |path: String, body: Value| -> Value {
            let asked =
                reqwest::Client::new().post(format!("{}{path}", self.origin)).basic_auth("k", Some("")).json(&body);
            asked.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
        };
        let at = json!({ "name": "Ada", "street1": "1 Quay", "city": "Hull", "country": "GB" });
        let shipment =
            json!({ "reference": parcel(number), "to_address": at, "from_address": at, "parcel": { "weight": 9 } });
        let known = post("/v2/shipments".to_owned(), json!({ "shipment": shipment })).await;
        let rate = known["rates"].as_array().unwrap().iter().find(|rate| rate["service"] == service).unwrap();
        let reference = known["id"].as_str().unwrap().to_owned();
        post(format!("/v2/shipments/{reference}/buy"), json!({ "rate": { "id": rate["id"] } })).await;
        reference
    }

    async fn go_on(&self, number: u8) -> Value {
        self.post("/control/go-on", json!({ "parcel": parcel(number) })).await["status"].clone()
    }

    /// What the carrier sold, and whether it took it back, by our reference.
    async fn sold(&self) -> Vec<(String, bool)> {
        let log: Value = reqwest::get(format!("{}/log", self.origin)).await.unwrap().json().await.unwrap();
        let labels = log["labels"].as_array().unwrap();
        let sold =
            |label: &Value| (label["reference"].as_str().unwrap().to_owned(), label["refunded"].as_bool().unwrap());
        labels.iter().map(sold).collect()
    }

    async fn labelled(&self) -> i64 {
        let row = sqlx::query("SELECT coalesce(sum(labelled), 0)::bigint FROM sent_units");
        row.fetch_one(&mut *self.shard.read().await.unwrap()).await.unwrap().get(0)
    }
}

#[tokio::test]
async fn a_label_is_bought_printed_and_its_parcel_followed_until_it_has_arrived() {
    let shop = Shop::open(true).await;
    shop.ask(1, "tracked", "GB").await;
    assert_eq!(shop.labelled().await, 1);
    let label = shop.until(1, LabelState::Bought).await;
    assert_eq!(
        (label.carrier.as_deref(), label.cost.unwrap().minor(), label.problem),
        (Some("SandboxPost"), 445, None)
    );
    let pdf = shop.shipping.pdf(order(), parcel(1)).await.unwrap().unwrap();
    assert!(pdf.starts_with(b"%PDF-"));
    let code = label.tracking_code.unwrap();
    assert!(pdf.windows(code.len()).any(|part| part == code.as_bytes()), "the label is another's");
    assert_eq!(shop.go_on(1).await, "in_transit");
    shop.told_of("left", 1).await;
    shop.sent(1).await;
    shop.go_on(1).await;
    shop.go_on(1).await;
    shop.told_of("arrived", 1).await;
    assert_eq!(shop.when(1, |label| label.way.as_deref() == Some("delivered")).await.state, LabelState::Sent);
    assert_eq!(shop.sold().await, [(parcel(1).to_string(), false)]);
}

#[tokio::test]
async fn whatever_the_carrier_loses_each_label_is_bought_once() {
    let shop = Shop::open(false).await;
    for (number, faults) in (1..).zip([
        json!({ "seed": 1, "drop_answer": 0.4 }),
        json!({ "seed": 2, "fail_before": 0.5 }),
        json!({ "seed": 3, "fail_after": 0.5 }),
        json!({ "seed": 4, "drop_answer": 0.2, "fail_before": 0.2, "fail_after": 0.2, "delay_ms": 30 }),
    ]) {
        shop.post("/control", faults).await;
        shop.ask(number, "Standard", "GB").await;
        shop.until(number, LabelState::Bought).await;
    }
    let sold = shop.sold().await;
    assert_eq!(sold, (1..=4).map(|number| (parcel(number).to_string(), false)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_refusal_is_shown_and_lets_the_units_go() {
    let shop = Shop::open(false).await;
    shop.ask(1, "Overnight", "GB").await;
    let refused = shop.until(1, LabelState::Refused).await;
    let problem = refused.problem.unwrap();
    assert!(problem.contains("Overnight") && problem.contains("Standard, Tracked, Express"), "{problem}");
    shop.ask(2, "Standard", "AQ").await;
    assert!(shop.until(2, LabelState::Refused).await.problem.unwrap().contains("address"));
    assert_eq!((shop.labelled().await, shop.sold().await), (0, Vec::new()));
}

#[tokio::test]
async fn a_label_goes_back_unless_its_parcel_was_scanned() {
    let shop = Shop::open(false).await;
    for number in [1, 2] {
        shop.ask(number, "Standard", "GB").await;
        shop.until(number, LabelState::Bought).await;
    }
    shop.void(1).await;
    shop.until(1, LabelState::Voided).await;
    assert_eq!(shop.labelled().await, 1, "the other one's");
    shop.go_on(2).await;
    shop.void(2).await;
    let kept = shop.when(2, |label| label.problem.is_some()).await;
    assert!(kept.problem.unwrap().contains("in_transit"));
    shop.told_of("left", 2).await;
    assert_eq!(shop.sold().await, [(parcel(1).to_string(), true), (parcel(2).to_string(), false)]);
}

#[tokio::test]
async fn a_parcel_that_leaves_under_a_label_that_was_given_back_is_noticed_and_nobody_is_told_that_it_left() {
    let shop = Shop::open(true).await;
    shop.ask(1, "Standard", "GB").await;
    shop.until(1, LabelState::Bought).await;
    shop.void(1).await;
    shop.until(1, LabelState::Voided).await;
    for _ in 0..3 {
        shop.go_on(1).await;
    }
    let strayed = shop.when(1, |label| label.strayed_at.is_some()).await;
    assert_eq!((strayed.state, shop.labelled().await), (LabelState::Voided, 0));
    let open = sqlx::query("SELECT count(*) FROM labels WHERE is_open OR is_watched");
    let open: i64 = open.fetch_one(&mut *shop.shard.read().await.unwrap()).await.unwrap().get(0);
    assert_eq!((open, shop.told.0.lock().unwrap().len()), (0, 0));
}

#[tokio::test]
async fn a_label_that_the_carrier_keeps_stays_bought_with_its_words_until_it_is_written_off_and_is_watched_then() {
    let shop = Shop::open(true).await;
    shop.ask(1, "Letter", "GB").await;
    shop.until(1, LabelState::Bought).await;
    shop.void(1).await;
    let kept = shop.when(1, |label| label.state == LabelState::Bought && label.problem.is_some()).await;
    assert!(kept.problem.unwrap().contains("Refund not possible"));
    let mut conn = shop.shard.read().await.unwrap();
    write_off_label(&mut conn, parcel(1), &"w".parse().unwrap(), "lost at the counter").await.unwrap();
    drop(conn);
    shop.go_on(1).await;
    let strayed = shop.when(1, |label| label.strayed_at.is_some()).await;
    assert_eq!(strayed.state, LabelState::WrittenOff);
    assert!(strayed.problem.unwrap().contains("Refund not possible"), "the carrier's words stay");
}

#[tokio::test]
async fn a_label_that_nobody_could_print_and_the_carrier_keeps_is_asked_for_until_it_is_written_off() {
    let shop = Shop::open(false).await;
    let sold = shop.sell(1, "Letter").await;
    let mut conn = shop.shard.read().await.unwrap();
    sqlx::raw_sql("BEGIN").execute(&mut *conn).await.unwrap();
    shop.ask_in(&mut conn, 1, "Letter", "GB").await;
    let asked = sqlx::query("UPDATE labels SET reference = $1, state = 'to_void'").bind(sold);
    asked.execute(&mut *conn).await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut *conn).await.unwrap();
    drop(conn);
    let kept = shop.when(1, |label| label.problem.is_some()).await;
    assert!(kept.problem.unwrap().contains("Refund not possible"));
    assert_eq!((kept.state, shop.labelled().await), (LabelState::ToVoid, 1), "it is paid for, and not forgotten");
    write_off_label(&mut shop.shard.read().await.unwrap(), parcel(1), &"w".parse().unwrap(), "a stamp").await.unwrap();
    assert_eq!(shop.label(1).await.state, LabelState::WrittenOff);
}

#[tokio::test]
async fn a_purchase_that_is_called_off_under_way_leaves_nothing_bought() {
    let shop = Shop::open(false).await;
    shop.post("/control", json!({ "seed": 7, "drop_answer": 0.3, "fail_after": 0.3 })).await;
    for number in 1..=4 {
        shop.ask(number, "Express", "GB").await;
        shop.void(number).await;
    }
    for number in 1..=4 {
        shop.until(number, LabelState::Voided).await;
    }
    assert!(shop.sold().await.iter().all(|(_, refunded)| *refunded), "paid for and kept");
    assert_eq!(shop.labelled().await, 0);
}

#[tokio::test]
async fn a_notice_proves_who_sent_it_is_heard_once_and_refused_until_its_parcel_is_known() {
    let shop = Shop::open(false).await;
    shop.ask(1, "Standard", "GB").await;
    shop.until(1, LabelState::Bought).await;
    let row = sqlx::query("SELECT reference FROM labels").fetch_one(&mut *shop.shard.read().await.unwrap()).await;
    let reference: String = row.unwrap().get(0);
    let event = |reference: &str| {
        json!({ "id": "evt_1", "description": "tracker.updated", "result": { "shipment_id": reference } }).to_string()
    };
    let forged = shop.shipping.take_notice(&HeaderMap::new(), event(&reference).as_bytes()).await.unwrap_err();
    assert!(matches!(forged, NoticeError::Forged(_)), "{forged}");
    let stranger = event("shp_of_somebody_else");
    let unknown = shop.shipping.take_notice(&signed(&stranger), stranger.as_bytes()).await.unwrap_err();
    assert!(matches!(unknown, NoticeError::UnknownLabel), "{unknown}");
    let known = event(&reference);
    for _ in 0..3 {
        shop.shipping.take_notice(&signed(&known), known.as_bytes()).await.unwrap();
    }
    let told = sqlx::query("SELECT told FROM labels").fetch_one(&mut *shop.shard.read().await.unwrap()).await.unwrap();
    assert_eq!(told.get::<i32, _>(0), 1);
    assert!(shop.shards.all().count() == 1);
}

/// A carrier that takes every call and answers none; tells how many there are.
async fn silent() -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (origin, (count, asked)) = (format!("http://{}", listener.local_addr().unwrap()), watch::channel(0));
    tokio::spawn(async move {
        let mut held: Vec<TcpStream> = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
            count.send_replace(held.len());
        }
    });
    (origin, asked)
}

#[tokio::test]
async fn no_connection_to_the_database_is_held_while_the_carrier_thinks() {
    let mut shop = Shop::open(false).await;
    // The one that would answer drives nothing any more.
    shop.stop.cancel();
    shop.stop = CancellationToken::new();
    let (url, mut asked) = silent().await;
    let secret = SecretString::from(SECRET.to_owned());
    let account = Account { url, api_key: secret.clone(), webhook_secrets: vec![secret], from: address("GB") };
    let carrier = EasyPost::within(&account, Deadlines { connect: LIMIT, total: LIMIT }).unwrap();
    let settings = Settings { poll: Duration::from_millis(20), ..Settings::default() };
    let shipping = Shipping::new(shop.shards.clone(), Some(Arc::new(carrier)), Peers::none()).bounded_by(settings);
    let told = Arc::clone(&shop.told) as Arc<dyn Departures>;
    tokio::spawn(shipping.drive(told, shop.stop.clone()));
    for number in 1..=3 {
        shop.ask(number, "Standard", "GB").await;
    }
    tokio::time::timeout(LIMIT, asked.wait_for(|asked| *asked >= 3)).await.unwrap().unwrap();
    let quiet = async {
        while shop.shard.connections() as usize != shop.shard.idle_connections() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT / 2, quiet).await.expect("a connection waits for the carrier");
    for number in 1..=3 {
        assert_eq!(shop.label(number).await.state, LabelState::ToBuy, "it still hangs");
    }
}

#[tokio::test]
async fn without_a_carrier_nothing_is_offered_bought_or_heard() {
    let shards = test_support::one_shard().await;
    let shipping: Shipping = Shipping::new(shards, None, Peers::none());
    assert!(!shipping.labels(order()).await.unwrap().offered);
    let unheard = shipping.take_notice(&HeaderMap::new(), b"{}").await.unwrap_err();
    assert_eq!(Problem::from(unheard).status, 404);
    shipping.drive(Arc::new(Told::default()), CancellationToken::new()).await;
}

#[tokio::test]
async fn the_carrier_s_address_stands_beside_that_of_payment_providers() {
    let shop = Shop::open(false).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let providers = axum::routing::post(async || StatusCode::IM_A_TEAPOT);
    let both = Router::new().route("/v1/webhooks/{provider}", providers);
    let both = both.merge(region_core_shipping::router(shop.shipping.clone()));
    let stop = shop.stop.clone();
    tokio::spawn(async move { axum::serve(listener, both).with_graceful_shutdown(stop.cancelled_owned()).await });
    for (name, status) in [("carrier", StatusCode::BAD_REQUEST), ("stripe", StatusCode::IM_A_TEAPOT)] {
        let asked = reqwest::Client::new().post(format!("{origin}/v1/webhooks/{name}")).body("{}");
        assert_eq!(asked.send().await.unwrap().status(), status, "{name}");
    }
}

/// As EasyPost signs.
fn signed(body: &str) -> HeaderMap {
    use hmac::{Hmac, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = format!("hmac-sha256-hex={}", hex::encode(mac.finalize().into_bytes()));
    HeaderMap::from_iter([(
        http::HeaderName::from_static("x-hmac-signature"),
        HeaderValue::from_str(&signature).unwrap(),
    )])
}
