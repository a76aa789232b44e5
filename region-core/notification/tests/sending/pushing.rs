//! Browsers that are told: sealed for them alone, through push services that fail, and for as long as they are there.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey};
use ring::rand::SystemRandom;
use ring::{aead, hmac};
use serde_json::{Value, json};
use shared::api::order::{PushKeys, PushSubscription};
use shared::{OrderId, ProblemKind};

use crate::receiver::{Answer, Receiver, Seen};
use crate::server::{Secured, Server};
use crate::shop::Shop;

const TAKEN: Answer = Answer::Says(201, "");
const AUTH: [u8; 16] = [7; 16];

async fn opened(answers: &'static [Answer]) -> (Receiver, Shop) {
    let server = Server::start(Secured::Never).await;
    (Receiver::start(answers).await, Shop::pushing(&format!("smtp://{}", server.address)).await)
}

/// A browser with keys of its own, which reads one message.
struct Browser {
    private: EphemeralPrivateKey,
    public: Vec<u8>,
}

impl Browser {
    fn new() -> Self {
        let private = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).unwrap();
        let public = private.compute_public_key().unwrap().as_ref().to_vec();
        Self { private, public }
    }

    fn subscription(&self, endpoint: String) -> PushSubscription {
        let (p256dh, auth) = (URL_SAFE_NO_PAD.encode(&self.public), URL_SAFE_NO_PAD.encode(AUTH));
        PushSubscription { endpoint, keys: PushKeys { p256dh, auth } }
    }

    /// Opens a message as RFC 8291 section 4 says, written down a second time.
    fn open(self, body: &[u8]) -> Value {
        let (salt, rest) = body.split_at(16);
        assert_eq!((&rest[..4], rest[4]), (&4096_u32.to_be_bytes()[..], 65));
        let (theirs, sealed) = rest[5..].split_at(65);
        let peer = UnparsedPublicKey::new(&ECDH_P256, theirs);
        let secret = agreement::agree_ephemeral(self.private, &peer, <[u8]>::to_vec).unwrap();
        let key = hmac(&hmac(&AUTH, &secret), &[&b"WebPush: info\0"[..], &self.public, theirs, &[1]].concat());
        let derived = |info: &[u8]| hmac(&hmac(salt, &key), &[info, &[1]].concat());
        let content_key = derived(b"Content-Encoding: aes128gcm\0");
        let nonce: [u8; 12] = derived(b"Content-Encoding: nonce\0")[..12].try_into().unwrap();
        let content_key = aead::UnboundKey::new(&aead::AES_128_GCM, &content_key[..16]).unwrap();
        let mut sealed = sealed.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let opened = aead::LessSafeKey::new(content_key).open_in_place(nonce, aead::Aad::empty(), &mut sealed).unwrap();
        serde_json::from_slice(opened.strip_suffix(&[2]).unwrap()).unwrap()
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

/// An order whose shopper has asked that many browsers.
async fn told_in(shop: &Shop, receiver: &Receiver, browsers: u8) -> OrderId {
    let order = shop.order(None);
    for number in 0..browsers {
        let subscription = Browser::new().subscription(receiver.url(&format!("/p/{number}")));
        shop.notifications().subscribe(Shop::shopper(1), order, &subscription).await.unwrap();
    }
    order
}

/// State and attempts of what was pushed, in order.
async fn pushed(shop: &Shop) -> Vec<(String, i32)> {
    let states = shop.states().await.into_iter();
    states.filter(|(to, ..)| to == "browsers").map(|(_, state, attempts, _)| (state, attempts)).collect()
}

fn paths(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.path.as_str()).collect()
}

#[tokio::test]
async fn a_browser_alone_reads_which_order_moved_on_and_nothing_that_anybody_typed() {
    let (receiver, shop) = opened(&[TAKEN]).await;
    let (order, browser) = (shop.order(None), Browser::new());
    shop.notifications().subscribe(Shop::shopper(1), order, &browser.subscription(receiver.url("/p/1"))).await.unwrap();
    let event = shop.confirmed(order).await;
    shop.confirmed(shop.order(None)).await;
    shop.hear().await;
    shop.hear().await;
    shop.send().await;
    assert_eq!(pushed(&shop).await, [("sent".to_owned(), 1)]);
    let seen = receiver.seen();
    assert_eq!(paths(&seen), ["/p/1"]);
    let header = |name: &str| seen[0].headers[name].as_str();
    assert_eq!((header("ttl"), header("urgency"), header("content-encoding")), ("86400", "normal", "aes128gcm"));
    assert_eq!(header("topic"), event.as_uuid().simple().to_string());
    let key = shop.notifications().channels().push_key.unwrap();
    assert!(header("authorization").starts_with("vapid t=") && header("authorization").ends_with(&key));
    let shown = json!({
        "title": "Meridian",
        "body": format!("Your order {} is confirmed", order.short()),
        "path": format!("/orders/{order}"),
        "tag": event,
    });
    assert_eq!(browser.open(&seen[0].body), shown);
}

#[tokio::test]
async fn a_browser_that_is_gone_is_forgotten() {
    // The last two say that it has subscribed to another key.
    let answers: [&'static [Answer]; 4] =
        [&[Answer::Says(404, "")], &[Answer::Says(410, "")], &[Answer::Says(401, "")], &[Answer::Says(403, "")]];
    for gone in answers {
        let (receiver, shop) = opened(gone).await;
        let order = told_in(&shop, &receiver, 2).await;
        shop.confirmed(order).await;
        shop.hear().await;
        shop.send().await;
        shop.cancelled(order).await;
        shop.hear().await;
        shop.send().await;
        assert_eq!(pushed(&shop).await, [("unwanted".to_owned(), 1)], "{gone:?}");
        assert_eq!(receiver.seen().len(), 2);
    }
}

#[tokio::test]
async fn what_a_push_service_does_not_take_for_now_is_sent_again_under_one_topic() {
    let answers = &[Answer::Says(429, ""), Answer::Says(503, ""), Answer::HangsUp, TAKEN];
    let (receiver, shop) = opened(answers).await;
    let order = told_in(&shop, &receiver, 1).await;
    shop.confirmed(order).await;
    shop.hear().await;
    shop.send().await;
    assert_eq!(pushed(&shop).await, [("sent".to_owned(), 4)]);
    let topics: Vec<_> = receiver.seen().iter().map(|seen| seen.headers["topic"].clone()).collect();
    assert!(topics.iter().all(|topic| *topic == topics[0]), "{topics:?}");

    let (receiver, shop) = opened(&[Answer::Says(413, "")]).await;
    shop.confirmed(told_in(&shop, &receiver, 1).await).await;
    shop.hear().await;
    shop.send().await;
    assert_eq!(pushed(&shop).await, [("failed".to_owned(), 1)]);
}

#[tokio::test]
async fn only_the_owner_says_who_is_told_and_not_on_the_shop_s_own_machines() {
    let (receiver, shop) = opened(&[TAKEN]).await;
    let order = told_in(&shop, &receiver, 5).await;
    let notifications = shop.notifications();
    let browser = Browser::new().subscription(receiver.url("/p/0"));
    notifications.subscribe(Shop::shopper(1), order, &browser).await.unwrap();
    let sixth = Browser::new().subscription(receiver.url("/p/6"));
    let refused = notifications.subscribe(Shop::shopper(1), order, &sixth).await.unwrap_err();
    assert!(refused.is(ProblemKind::OrderState), "{refused:?}");
    assert_eq!(notifications.subscribe(Shop::shopper(2), order, &browser).await.unwrap_err().status, 404);
    assert_eq!(notifications.unsubscribe(Shop::shopper(2), order).await.unwrap_err().status, 404);
    let with = |keys| PushSubscription { keys, ..browser.clone() };
    let other = URL_SAFE_NO_PAD.encode([4; 65]);
    for (bad, field) in [
        (PushSubscription::default(), "endpoint"),
        (PushSubscription { endpoint: "https://10.0.0.1/p".to_owned(), ..browser.clone() }, "endpoint"),
        (PushSubscription { endpoint: "http://push.example/p".to_owned(), ..browser.clone() }, "endpoint"),
        (PushSubscription { endpoint: "https://push.example/p".to_owned(), ..browser.clone() }, "endpoint"),
        (PushSubscription { endpoint: receiver.url("/4111 1111 1111 1111"), ..browser.clone() }, "endpoint"),
        (with(PushKeys { p256dh: other, ..browser.keys.clone() }), "keys.p256dh"),
        (with(PushKeys { auth: "AAAA".to_owned(), ..browser.keys.clone() }), "keys.auth"),
    ] {
        let refused = notifications.subscribe(Shop::shopper(1), order, &bad).await.unwrap_err();
        assert_eq!((refused.status, refused.members["field"].as_str()), (422, Some(field)), "{refused:?}");
    }
    for _ in 0..2 {
        notifications.unsubscribe(Shop::shopper(1), order).await.unwrap();
    }
    shop.confirmed(order).await;
    shop.hear().await;
    assert_eq!(pushed(&shop).await, []);
}

#[tokio::test]
async fn nothing_is_posted_to_a_push_service_that_the_shop_does_not_know_any_more() {
    let (receiver, shop) = opened(&[TAKEN]).await;
    let order = told_in(&shop, &receiver, 1).await;
    let moved = "UPDATE push_subscriptions SET endpoint = 'https://push.example/p'";
    sqlx::query(moved).execute(&mut *shop.shard().read().await.unwrap()).await.unwrap();
    shop.confirmed(order).await;
    shop.hear().await;
    shop.send().await;
    let states = shop.states().await;
    assert_eq!((states[0].1.as_str(), states[0].2), ("failed", 1));
    assert_eq!(states[0].3.as_deref(), Some("at no push service that this store knows"));
}

#[tokio::test]
async fn a_browser_that_has_a_message_is_not_told_again_while_another_is_away() {
    let (there, shop) = opened(&[TAKEN]).await;
    let away = Receiver::start(&[Answer::Says(503, "")]).await;
    let order = shop.order(None);
    for endpoint in [there.url("/p/1"), away.url("/p/2")] {
        let subscription = Browser::new().subscription(endpoint);
        shop.notifications().subscribe(Shop::shopper(1), order, &subscription).await.unwrap();
    }
    for _ in 0..2 {
        shop.confirmed(order).await;
        shop.hear().await;
        shop.send().await;
    }
    assert_eq!(pushed(&shop).await, [("sent".to_owned(), 3), ("sent".to_owned(), 3)], "the other one is given up");
    assert_eq!((there.seen().len(), away.seen().len()), (2, 6));
}

#[tokio::test]
async fn browsers_are_forgotten_after_half_a_year() {
    let (receiver, shop) = opened(&[TAKEN]).await;
    told_in(&shop, &receiver, 2).await;
    let aged = "UPDATE push_subscriptions SET created_at = shard_now() - interval '181 days' WHERE place = 1";
    sqlx::query(aged).execute(&mut *shop.shard().read().await.unwrap()).await.unwrap();
    let (shutdown, process) = shop.process();
    let one_is_left = async {
        let left = "SELECT count(*) FROM push_subscriptions";
        while sqlx::query_scalar::<_, i64>(left).fetch_one(&mut *shop.shard().read().await.unwrap()).await.unwrap() > 1
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), one_is_left).await.unwrap();
    shutdown.cancel();
    process.await.unwrap();
}
