//! Every route of the API, and what becomes of a caller without a token, with another's id, and with another method.
//!
//! The list stands here once. It is compared with what the cores' own routers are made of, so that a new route fails
//! until somebody has said here who may call it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use http::Method;
use serde_json::{Value, json};
use shared::api::order::Order;
use tests::contract::Contract;
use tests::shopper::key;
use tests::{Client, Shopper, client, goods};

use crate::store::{pop, worker};

/// Who may call a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum For {
    /// Anybody; the status of an empty call.
    Anybody(u16),
    /// Whoever has a token: others get 401.
    Users,
    /// Whose order it is: strangers get 404, nobody 401.
    Owner,
    /// Who keeps the store: shoppers get 403, whosever it is and whatever they send, nobody 401.
    Keepers,
    /// The same, for operators alone: merchants are none.
    Operators,
}

/// All of `/v1`.
const ROUTES: &[(&str, &str, For)] = &[
    ("GET", "/v1/categories", For::Anybody(200)),
    ("GET", "/v1/products", For::Anybody(200)),
    ("GET", "/v1/products/{slug}", For::Anybody(404)),
    ("GET", "/v1/search", For::Anybody(200)),
    ("GET", "/v1/stock", For::Anybody(422)),
    // For points of presence: the edge does not pass it on.
    ("GET", "/v1/stock/changes", For::Anybody(404)),
    ("GET", "/v1/openapi.json", For::Anybody(200)),
    ("GET", "/v1/keys", For::Anybody(200)),
    ("GET", "/v1/slot-map", For::Anybody(200)),
    ("GET", "/v1/channels", For::Anybody(200)),
    ("POST", "/v1/guests", For::Anybody(201)),
    ("POST", "/v1/accounts", For::Anybody(422)),
    ("POST", "/v1/sessions", For::Anybody(422)),
    ("POST", "/v1/sessions/refresh", For::Anybody(422)),
    ("POST", "/v1/sessions/end", For::Anybody(422)),
    ("POST", "/v1/quotes", For::Anybody(422)),
    ("GET", "/v1/account", For::Users),
    ("GET", "/v1/account/mail-preferences", For::Users),
    ("POST", "/v1/account/mail-preferences", For::Users),
    // For whoever has a link that a mail brought.
    ("GET", "/v1/mail-preferences/{token}", For::Anybody(404)),
    ("POST", "/v1/mail-preferences/{token}", For::Anybody(422)),
    ("POST", "/v1/stock/entries", For::Keepers),
    ("GET", "/v1/stock/entries", For::Keepers),
    ("GET", "/v1/cart", For::Users),
    ("POST", "/v1/cart/operations", For::Users),
    ("POST", "/v1/orders", For::Users),
    ("GET", "/v1/orders", For::Users),
    ("GET", "/v1/orders/{order_id}", For::Owner),
    ("GET", "/v1/orders/{order_id}/timeline", For::Owner),
    ("GET", "/v1/desk/orders", For::Keepers),
    ("GET", "/v1/desk/dead-letters", For::Keepers),
    ("POST", "/v1/orders/{order_id}/dead-letters/replay", For::Keepers),
    ("POST", "/v1/orders/{order_id}/dead-letters/{event_id}/skip", For::Keepers),
    ("POST", "/v1/orders/{order_id}/cancel", For::Owner),
    ("POST", "/v1/orders/{order_id}/release", For::Keepers),
    ("POST", "/v1/orders/{order_id}/payment/confirm", For::Owner),
    ("GET", "/v1/orders/{order_id}/origins", For::Keepers),
    ("POST", "/v1/orders/{order_id}/shipments", For::Keepers),
    ("GET", "/v1/orders/{order_id}/labels", For::Keepers),
    ("GET", "/v1/orders/{order_id}/shipments/{shipment_id}/label", For::Keepers),
    ("POST", "/v1/orders/{order_id}/shipments/{shipment_id}/left", For::Keepers),
    ("POST", "/v1/orders/{order_id}/shipments/{shipment_id}/void", For::Keepers),
    ("POST", "/v1/orders/{order_id}/shipments/{shipment_id}/write-off", For::Keepers),
    ("POST", "/v1/orders/{order_id}/shipments/{shipment_id}/delivered", For::Keepers),
    ("POST", "/v1/orders/{order_id}/push-subscriptions", For::Owner),
    ("DELETE", "/v1/orders/{order_id}/push-subscriptions", For::Owner),
    ("GET", "/v1/orders/{order_id}/notifications", For::Keepers),
    ("POST", "/v1/orders/{order_id}/notifications/{notification_id}/resend", For::Keepers),
    ("POST", "/v1/orders/{order_id}/refunds", For::Keepers),
    ("GET", "/v1/orders/{order_id}/refunds", For::Keepers),
    ("POST", "/v1/orders/{order_id}/returns", For::Keepers),
    ("POST", "/v1/orders/{order_id}/returns/{return_id}/inspection", For::Keepers),
    ("POST", "/v1/webhook-endpoints", For::Operators),
    ("GET", "/v1/webhook-endpoints", For::Operators),
    ("GET", "/v1/webhook-endpoints/{endpoint_id}", For::Operators),
    ("PATCH", "/v1/webhook-endpoints/{endpoint_id}", For::Operators),
    ("DELETE", "/v1/webhook-endpoints/{endpoint_id}", For::Operators),
    ("POST", "/v1/webhook-endpoints/{endpoint_id}/rotate-secret", For::Operators),
    ("POST", "/v1/webhook-endpoints/{endpoint_id}/test", For::Operators),
    ("GET", "/v1/webhook-endpoints/{endpoint_id}/deliveries", For::Operators),
    ("POST", "/v1/webhook-endpoints/{endpoint_id}/deliveries/{event_id}/replay", For::Operators),
    ("POST", "/v1/webhook-endpoints/{endpoint_id}/replay", For::Operators),
    // Signed by the carrier.
    ("POST", "/v1/webhooks/carrier", For::Anybody(400)),
    // Signed by the payment provider; the sandbox sends none.
    ("POST", "/v1/webhooks/{provider}", For::Anybody(404)),
];

fn request(client: &Client, method: &str, path: &str) -> reqwest::RequestBuilder {
    let method: Method = method.parse().unwrap();
    let request = client.request(method.clone(), path).header("idempotency-key", key());
    if method == Method::POST { request.json(&json!({})) } else { request }
}

#[tokio::test]
async fn every_route_treats_a_caller_without_a_token_as_the_table_says() {
    let (owner, stranger) = (Shopper::guest(pop()).await, Shopper::guest(pop()).await);
    let order: Order = owner.buys(&[(&goods::plenty(), 1)], "tok_success").await;
    for origin in [pop(), worker()] {
        let client = Client::new(origin);
        for (method, route, whose) in ROUTES {
            let id = order.order_id.to_string();
            let path =
                route.replace("{order_id}", &id).replace("{shipment_id}", &id).replace("{slug}", "no-such-product");
            let path = path
                .replace("{provider}", "stripe")
                .replace("{return_id}", &id)
                .replace("{notification_id}", &id)
                .replace("{endpoint_id}", &id)
                .replace("{event_id}", &id)
                .replace("{token}", "nonsense");
            let nobody = client::send(request(&client, method, &path)).await;
            let expected = if let For::Anybody(status) = whose { *status } else { 401 };
            assert_eq!(nobody.status, expected, "{method} {path}: {}", nobody.text());
            let (as_owner, as_stranger) = match whose {
                For::Owner => (None, Some(404)),
                For::Keepers | For::Operators => (Some(403), Some(403)),
                For::Anybody(_) | For::Users => (None, None),
            };
            for (shopper, refused) in [(&owner, as_owner), (&stranger, as_stranger)] {
                let asked = request(&client, method, &path).bearer_auth(&shopper.tokens.access_token);
                if let Some(status) = refused {
                    client::send(asked).await.expect(status);
                }
            }
            let other = client::send(client.request(Method::PUT, &path)).await;
            assert_eq!(other.status, 405, "PUT {path}: {}", other.text());
        }
    }
}

#[tokio::test]
async fn what_belongs_to_cores_and_operators_is_not_offered_to_shoppers() {
    let paths = [
        "/internal/account/logins/find",
        "/internal",
        "/internal/v1/cart",
        "/ops/health",
        "/ops/ready",
        "/ops/metrics",
        "/metrics",
        "/v1/internal",
        "/v1/../internal",
        "/v1/%2e%2e/ops/metrics",
    ];
    for origin in [pop(), worker()] {
        let client = Client::new(origin);
        for path in paths {
            for method in ["GET", "POST"] {
                let answer = client::send(request(&client, method, path)).await;
                assert!(matches!(answer.status, 400 | 403..=405), "{method} {path}: {}", answer.status);
            }
        }
    }
}

/// The routes that the services' own `routes.rs` are made of, as `METHOD path`.
fn made_of(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            made_of(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // What follows stands for tests.
            read_routes(text.split("#[cfg(test)]").next().unwrap(), found);
        }
    }
}

fn read_routes(text: &str, found: &mut BTreeSet<String>) {
    for (at, _) in text.match_indices(".route(\"/v1") {
        let rest = &text[at + ".route(\"".len()..];
        let (path, handlers) = rest.split_once('"').unwrap();
        // Up to the next route: `post(place).get(list))`.
        let handlers = handlers.split(".route(").next().unwrap().split(".with_state").next().unwrap();
        for method in ["get", "post", "put", "patch", "delete"] {
            if handlers.contains(&format!("{method}(")) {
                found.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
}

#[test]
fn the_apis_document_names_every_route_and_who_may_call_it() {
    let contract = Contract::of_the_cores();
    let said: BTreeMap<String, &Value> = contract.operations().collect();
    // What is there for points of presence alone is not for programs.
    let offered = ROUTES.iter().filter(|(_, route, _)| *route != "/v1/stock/changes");
    for (method, route, whose) in offered.clone() {
        let name = format!("{method} {route}");
        let operation = said.get(&name).unwrap_or_else(|| panic!("{name} is not in the document"));
        let security = operation.get("security").cloned().unwrap_or(json!([]));
        let (anybody, merchants, operators) =
            (json!({ "bearer": [] }), json!({ "bearer": ["merchant"] }), json!({ "bearer": ["operator"] }));
        let expected = match whose {
            // Whoever signs up or in brings what he had as a guest.
            For::Anybody(_) if ["POST /v1/accounts", "POST /v1/sessions"].contains(&&*name) => json!([{}, anybody]),
            For::Anybody(_) => json!([]),
            For::Users | For::Owner => json!([anybody]),
            For::Keepers => json!([merchants, operators]),
            For::Operators => json!([operators]),
        };
        assert_eq!(security, expected, "{name}");
    }
    assert_eq!(said.len(), offered.count(), "{:?}", said.keys());
}

#[tokio::test]
async fn whoever_writes_a_program_finds_the_apis_document_at_both_doors() {
    for origin in [pop(), worker()] {
        let client = Client::new(origin);
        let found = client.get("/v1/openapi.json").await.expect(200);
        let document: Value = found.json();
        assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", found.text());
        assert_eq!(document["paths"].as_object().unwrap().len(), paths().len());
        let tag = found.header("etag").unwrap();
        let again = client.request(Method::GET, "/v1/openapi.json").header("if-none-match", tag);
        client::send(again).await.expect(304);
    }
}

fn paths() -> BTreeSet<String> {
    Contract::of_the_cores().operations().map(|(name, _)| name.split_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
fn no_route_of_the_cores_is_missing_in_the_table() {
    let mut found = BTreeSet::new();
    let core = tests::place::repository().join("region-core");
    for service in std::fs::read_dir(core).unwrap().flatten() {
        // The payment provider and the carrier are somebody else's API.
        if !service.file_name().to_string_lossy().ends_with("-sandbox") && service.path().join("src").is_dir() {
            made_of(&service.path().join("src"), &mut found);
        }
    }
    let table: BTreeSet<_> = ROUTES.iter().map(|(method, route, _)| format!("{method} {route}")).collect();
    assert_eq!(found, table, "left: the code; right: this table");
}
