//! What a merchant's own system is told, at an address on this machine, signed so that nobody else can have said it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use shared::api::webhook::{
    Delivery, DeliveryPage, DeliveryState, Endpoint, EndpointPage, EndpointWithSecret, Replayed,
};
use shared::{EventId, OrderId};
use tests::client::Answer;
use tests::shopper::key;
use tests::{Shopper, client, goods, until};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::regions::guest_of_us;
use crate::store::{pop, sites};

const API: &str = "/v1/webhook-endpoints";
/// How long a webhook may take that was refused once: the bus is looked at once a second, and the second attempt comes after
/// five.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// A request as the receiver read it.
#[derive(Clone, Debug)]
struct Seen {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    taken: bool,
}

impl Seen {
    fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether the secret signs it, by the words of Standard Webhooks and no code of the store's.
    fn is_signed(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.", self.id(), self.headers["webhook-timestamp"]).as_bytes());
        mac.update(&self.body);
        let own = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.headers["webhook-signature"].split(' ').any(|one| one == own)
    }
}

/// A merchant's system that is down whenever it is told of something for the first time.
struct Receiver {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::default());
        let own = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&own)));
            }
        });
        Self { url, seen }
    }

    /// What it took of that order.
    fn taken(&self, order: OrderId) -> Vec<Seen> {
        let of_order = |seen: &&Seen| seen.taken && seen.json()["data"]["order_id"] == order.to_string();
        self.seen.lock().unwrap().iter().filter(of_order).cloned().collect()
    }
}

async fn serve(stream: TcpStream, all: Arc<Mutex<Vec<Seen>>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut headers) = (String::new(), BTreeMap::new());
    stream.read_line(&mut line).await.ok()?;
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    let mut seen = Seen { headers, body, taken: false };
    let answer = {
        let mut all = all.lock().unwrap();
        seen.taken = all.iter().any(|earlier| earlier.id() == seen.id());
        let taken = seen.taken;
        all.push(seen);
        if taken { "HTTP/1.1 204 Thanks\r\n\r\n" } else { "HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n" }
    };
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

async fn call(operator: &Shopper, method: Method, path: &str, body: &Value) -> Answer {
    let request = operator.client.request(method, path).bearer_auth(&operator.tokens.access_token);
    client::send(request.json(body)).await
}

/// An endpoint that every core knows.
async fn endpoint(operator: &Shopper, url: &str, types: &[&str]) -> EndpointWithSecret {
    let before = sites().counted("webhook_endpoints").await;
    let (key, new) = (key(), json!({ "url": url, "event_types": types }));
    let made: EndpointWithSecret = operator.post_once(API, &key, &new).await.expect(201).json();
    let again: EndpointWithSecret = operator.post_once(API, &key, &new).await.expect(201).json();
    assert_eq!(again, made, "a repeat makes no other");
    let cores = f64::from(u32::try_from(sites().cores.len()).unwrap());
    let known = async || (sites().counted("webhook_endpoints").await >= before + cores).then_some(());
    until("every core knows the endpoint", ARRIVES_WITHIN, known).await;
    made
}

async fn deliveries(operator: &Shopper, endpoint: &Endpoint, query: &str) -> Vec<Delivery> {
    let path = format!("{API}/{}/deliveries{query}", endpoint.endpoint_id);
    let page: DeliveryPage = operator.get(&path).await.expect(200).json();
    assert_eq!(page.missing, []);
    page.items
}

/// One after the other: what every core knows is counted.
#[tokio::test]
async fn merchants_systems_are_told_of_orders() {
    let operator = Shopper::operator(sites()).await;
    what_was_down_is_told_of_orders_of_every_region_once_and_again_if_asked(&operator).await;
    an_operator_tries_pauses_and_rotates_an_endpoint_and_bad_input_is_named(&operator).await;
}

async fn what_was_down_is_told_of_orders_of_every_region_once_and_again_if_asked(operator: &Shopper) {
    let receiver = Receiver::start().await;
    let EndpointWithSecret { endpoint, secret } =
        endpoint(operator, &receiver.url, &["order.confirmed", "order.cancelled", "payment.refunded"]).await;
    let path = format!("{API}/{}", endpoint.endpoint_id);
    let shown: Endpoint = operator.get(&path).await.expect(200).json();
    assert_eq!(shown, endpoint);
    let listed: EndpointPage = operator.get(API).await.expect(200).json();
    assert!(listed.items.contains(&endpoint));

    let mut orders = Vec::new();
    for shopper in [Shopper::guest(pop()).await, guest_of_us(pop()).await] {
        orders.push((shopper.buys(&[(&goods::plenty(), 1)], "tok_success").await, shopper));
    }
    for (order, shopper) in &orders {
        let told = async || receiver.taken(order.order_id).pop();
        let told = until("a confirmed order is told", ARRIVES_WITHIN, told).await;
        assert!(told.is_signed(&secret) && !told.is_signed("whsec_c2VjcmV0"), "{told:?}");
        let body = told.json();
        assert_eq!((&body["id"], &body["type"]), (&told.id().into(), &"order.confirmed".into()));
        let data = json!({ "order_id": order.order_id, "status": "CONFIRMED", "total": order.total });
        assert_eq!((&body["data"], &body["specversion"]), (&data, &"1.0".into()));
        shopper.post(&format!("/v1/orders/{}/cancel", order.order_id), &json!({})).await.expect(200);
    }
    for (order, _) in &orders {
        let all = async || Some(receiver.taken(order.order_id)).filter(|taken| taken.len() >= 3);
        let taken = until("cancelling and refunding is told", ARRIVES_WITHIN, all).await;
        let types: BTreeSet<_> = taken.iter().map(|seen| seen.json()["type"].as_str().unwrap().to_owned()).collect();
        assert_eq!(types.into_iter().collect::<Vec<_>>(), ["order.cancelled", "order.confirmed", "payment.refunded"]);
        assert_eq!(taken.len(), 3, "once each");
    }
    let done = async || {
        let log = deliveries(operator, &endpoint, "?state=delivered").await;
        let ours = |own: &&Delivery| orders.iter().any(|(order, _)| own.order_id == Some(order.order_id));
        Some(log.iter().filter(ours).cloned().collect::<Vec<_>>()).filter(|ours| ours.len() == 6)
    };
    let log = until("both regions' deliveries are in the log", ARRIVES_WITHIN, done).await;
    assert!(log.iter().all(|own| own.attempts == 2 && own.last_status == Some(204)), "{log:?}");

    let (order, event) = (log[5].order_id.unwrap(), log[5].event_id);
    let first: Vec<_> = receiver.taken(order).into_iter().filter(|seen| seen.id() == event.to_string()).collect();
    let again = format!("{path}/deliveries/{event}/replay");
    let replayed: Replayed = operator.post(&again, &json!({})).await.expect(200).json();
    assert_eq!(replayed.replayed, 1);
    let twice = async || {
        let of_event = receiver.taken(order).into_iter().filter(|seen| seen.id() == event.to_string());
        Some(of_event.collect::<Vec<_>>()).filter(|taken| taken.len() == 2)
    };
    let taken = until("the same is told again", ARRIVES_WITHIN, twice).await;
    assert!(taken[1].is_signed(&secret) && taken[1].body == first[0].body);
    call(operator, Method::DELETE, &path, &json!({})).await.expect(204);
    operator.get(&path).await.expect(404);
}

async fn an_operator_tries_pauses_and_rotates_an_endpoint_and_bad_input_is_named(operator: &Shopper) {
    let receiver = Receiver::start().await;
    let new = json!({ "url": receiver.url, "event_types": ["shipment.sent"] });
    let made: EndpointWithSecret = operator.post_once(API, &key(), &new).await.expect(201).json();
    let path = format!("{API}/{}", made.endpoint.endpoint_id);
    let rotated: EndpointWithSecret =
        operator.post_once(&format!("{path}/rotate-secret"), &key(), &json!({})).await.expect(200).json();
    assert!(rotated.secret != made.secret && rotated.endpoint.previous_secret_until.is_some());
    let tested: Value = operator.post(&format!("{path}/test"), &json!({})).await.expect(202).json();
    let event: EventId = tested["event_id"].as_str().unwrap().parse().unwrap();
    let came = async || {
        let seen = receiver.seen.lock().unwrap();
        seen.iter().find(|seen| seen.taken && seen.id() == event.to_string()).cloned()
    };
    let seen = until("the test arrives", ARRIVES_WITHIN, came).await;
    assert_eq!(seen.json()["type"], "webhook.test");
    let paused = call(operator, Method::PATCH, &path, &json!({ "state": "paused" })).await.expect(200);
    assert_eq!(paused.json::<Value>()["state"], "paused");

    for (body, field) in [
        (json!({ "url": "http://erp.example/", "event_types": ["order.confirmed"] }), "url"),
        (json!({ "url": "https://169.254.169.254/", "event_types": ["order.confirmed"] }), "url"),
        (json!({ "url": "https://[::ffff:10.0.0.1]/", "event_types": ["order.confirmed"] }), "url"),
        (json!({ "url": "https://erp.example/", "event_types": [] }), "event_types"),
        (json!({ "url": "https://erp.example/", "event_types": ["order.lost"] }), "event_types[0]"),
        (json!({ "url": "https://erp.example/", "event_types": ["order.confirmed"], "secret": "x" }), "secret"),
    ] {
        let refused = operator.post_once(API, &key(), &body).await.expect(422);
        assert_eq!(refused.problem().members["field"], field, "{body}");
    }
    operator.post(API, &json!({ "url": receiver.url, "event_types": ["order.confirmed"] })).await.expect(400);
    let backwards = json!({ "from": "2030-01-02T00:00:00Z", "to": "2030-01-01T00:00:00Z" });
    operator.post(&format!("{path}/replay"), &backwards).await.expect(422);
    operator.post(&format!("{path}/deliveries/{}/replay", made.endpoint.endpoint_id), &json!({})).await.expect(404);
    let waiting = deliveries(operator, &made.endpoint, "?state=to_send").await;
    assert!(waiting.iter().all(|own| own.state == DeliveryState::ToSend));
    operator.get(&format!("{path}/deliveries?limit=0")).await.expect(422);
    call(operator, Method::DELETE, &path, &json!({})).await.expect(204);
}
