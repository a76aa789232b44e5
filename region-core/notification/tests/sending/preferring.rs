//! What is not told to whoever does not want it, and how he says so.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use region_core_notification::{LinkKeys, Preferences, PreferencesError, internal_router};
use region_core_store::{Shard, Shards, test_support};
use region_core_web::{PeerTransport, Peers};
use secrecy::SecretString;
use shared::api::account::MailPreferences;
use shared::{EmailAddress, Problem, RegionName, ShardId, SlotMap};
use tower::ServiceExt;

use crate::server::{Secured, Server};
use crate::shop::Shop;

const NONE: MailPreferences = MailPreferences { parcels: false };

async fn opened() -> (Server, Shop) {
    let server = Server::start(Secured::Never).await;
    let shop = Shop::open(&format!("smtp://{}", server.address), None).await;
    (server, shop)
}

/// Where a mail's reader says that he wants no more of them.
fn token(unsubscribe: &str) -> String {
    let link = unsubscribe.strip_prefix("<https://shop.example/unsubscribe/").unwrap();
    link.strip_suffix('>').unwrap().to_owned()
}

#[tokio::test]
async fn news_of_parcels_can_be_stopped_with_one_click_and_news_of_money_cannot() {
    let (server, shop) = opened().await;
    let order = shop.order(Some("ada@example.org"));
    shop.confirmed(order).await;
    shop.shipped(order).await;
    shop.hear().await;
    shop.send().await;
    let taken = server.taken();
    let clicks: Vec<_> = taken.iter().map(|mail| mail.header("List-Unsubscribe-Post")).collect();
    let one_click = Some("List-Unsubscribe=One-Click".to_owned());
    assert_eq!(clicks, [None, one_click.clone(), one_click]);
    assert_eq!(taken[0].header("List-Unsubscribe"), None);
    let token = token(&taken[1].header("List-Unsubscribe").unwrap());
    let other = shop.preferences().token(&"bob@example.org".parse().unwrap()).unwrap();
    assert!(token != other && taken[2].header("List-Unsubscribe") == taken[1].header("List-Unsubscribe"));

    for _ in 0..2 {
        assert_eq!(shop.preferences().by_link(&token, Some(NONE)).await.unwrap(), NONE);
    }
    shop.shipped(order).await;
    shop.refunded(order).await;
    shop.hear().await;
    shop.send().await;
    let states: Vec<_> = shop.states().await.into_iter().map(|(_, state, ..)| state).collect();
    assert_eq!(states, ["sent", "sent", "sent", "unwanted", "unwanted", "sent"]);
    assert_eq!(server.taken().len(), 4);

    assert!(shop.preferences().by_link(&other, None).await.unwrap().parcels, "another's are his own");
    shop.preferences().by_link(&token, Some(MailPreferences { parcels: true })).await.unwrap();
    shop.shipped(order).await;
    shop.hear().await;
    shop.send().await;
    assert_eq!(server.taken().len(), 6);
    let forged = shop.preferences().by_link(&other.replace(&other[50..], &token[50..]), Some(NONE)).await;
    assert!(matches!(forged, Err(PreferencesError::Link)), "{forged:?}");
}

#[tokio::test]
async fn who_orders_decides_about_his_own_orders_and_not_about_an_address() {
    let (server, shop) = opened().await;
    let ada = shop.order(Some("ada@example.org"));
    let impostor = shop.order_by(2, Some("ada@example.org"));
    assert_eq!(shop.preferences().keep_of_user(Shop::shopper(2), NONE).await.unwrap(), NONE);
    assert_eq!(shop.preferences().of_user(Shop::shopper(2)).await.unwrap(), NONE);
    for order in [impostor, ada] {
        shop.shipped(order).await;
    }
    shop.hear().await;
    shop.send().await;
    let states: Vec<_> = shop.states().await.into_iter().map(|(_, state, ..)| state).collect();
    assert_eq!(states, ["unwanted", "unwanted", "sent", "sent"]);
    let token = token(&server.taken()[0].header("List-Unsubscribe").unwrap());
    shop.preferences().by_link(&token, Some(NONE)).await.unwrap();
    shop.preferences().keep_of_user(Shop::shopper(1), MailPreferences { parcels: true }).await.unwrap();
    shop.shipped(ada).await;
    shop.hear().await;
    shop.send().await;
    assert_eq!(server.taken().len(), 2, "an account does not bring back what the mail's reader has stopped");
}

/// The way to the one other region.
struct Wire(Router);

impl PeerTransport for Wire {
    fn send<'a>(
        &'a self,
        _: &'a RegionName,
        request: Request<Bytes>,
        _: Duration,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Problem>> {
        let router = self.0.clone();
        async move {
            let answer = router.oneshot(request.map(Body::from)).await.unwrap();
            let (head, body) = answer.into_parts();
            Ok(Response::from_parts(head, to_bytes(body, 4096).await.unwrap()))
        }
        .boxed()
    }
}

/// One of two regions, which has every second half of the slots.
async fn region(name: &str) -> Shards {
    let number = |number| ShardId::try_from(number).unwrap();
    let (eu, us): (RegionName, RegionName) = ("eu".parse().unwrap(), "us".parse().unwrap());
    let map = SlotMap::even(1, [(number(1), eu), (number(2), us)].into()).unwrap();
    let own = number(if name == "eu" { 1 } else { 2 });
    let database = test_support::shard_database().await;
    Shards::new(name.parse().unwrap(), [Shard::from_pool(own, database.pool)], map)
}

fn keys() -> LinkKeys {
    LinkKeys::new(vec![SecretString::from("k".repeat(32))]).unwrap()
}

/// An address whose preferences live in that region.
fn address_in(region: &str, shards: &Shards) -> EmailAddress {
    let numbered = |number: u32| format!("ada{number}@example.org").parse::<EmailAddress>().unwrap();
    let map = shards.map();
    (0..100).map(numbered).find(|address| map.region_of(address.slot()).as_str() == region).unwrap()
}

#[tokio::test]
async fn preferences_live_in_one_region_and_hold_in_all() {
    let (eu, us) = (region("eu").await, region("us").await);
    let far = Preferences::new(us, Peers::none(), keys());
    let server = Server::start(Secured::Never).await;
    let way = Peers::new(Wire(internal_router(far.clone())));
    let shop = Shop::over(eu.clone(), way, &format!("smtp://{}", server.address), None).await;
    let address = address_in("us", &eu);
    let order = shop.order(Some(address.as_str()));
    let token = shop.preferences().token(&address).unwrap();
    assert_eq!(shop.preferences().by_link(&token, Some(NONE)).await.unwrap(), NONE);
    assert_eq!(far.of(&address).await.unwrap(), NONE, "kept where it lives");
    shop.shipped(order).await;
    shop.hear().await;
    shop.send().await;
    assert!(shop.states().await.iter().all(|(_, state, ..)| state == "unwanted"));
    assert_eq!(server.taken(), []);
}

#[tokio::test]
async fn while_nobody_knows_whether_a_mail_is_wanted_it_is_not_sent() {
    let eu = region("eu").await;
    let server = Server::start(Secured::Never).await;
    let shop = Shop::over(eu.clone(), Peers::none(), &format!("smtp://{}", server.address), None).await;
    let order = shop.order(Some(address_in("us", &eu).as_str()));
    shop.confirmed(order).await;
    shop.shipped(order).await;
    shop.hear().await;
    shop.send().await;
    let states = shop.states().await;
    let seen: Vec<_> = states.iter().map(|(_, state, attempts, _)| (state.as_str(), *attempts)).collect();
    assert_eq!(seen, [("sent", 1), ("failed", 4), ("failed", 4)]);
    assert_eq!(server.taken().len(), 1, "what is always told needs no asking");
}
