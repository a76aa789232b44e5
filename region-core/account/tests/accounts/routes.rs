//! The routes as a PoP sees them.

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{PASSWORD, Region, World};

async fn send(region: &Region, method: &str, path: &str, bearer: Option<&str>, body: &Value) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(token) = bearer {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.header("meridian-client-address", "203.0.113.7").body(Body::from(body.to_string())).unwrap();
    let response: Response<Body> = region.public.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() })
}

#[tokio::test]
async fn a_guest_signs_up_signs_out_and_signs_in() {
    let world = World::new().await;
    let eu = &world.eu;
    let (status, guest) = send(eu, "POST", "/v1/guests", None, &json!({})).await;
    assert_eq!((status, guest["expires_in"].clone()), (201, json!(600)));
    let token = guest["access_token"].as_str();
    let email = world.email(true);
    let entry = json!({"email": email, "password": PASSWORD, "name": "Ada"});
    let (status, tokens) = send(eu, "POST", "/v1/accounts", token, &entry).await;
    assert_eq!((status, &tokens["user_id"]), (201, &guest["user_id"]));
    let (status, account) = send(eu, "GET", "/v1/account", tokens["access_token"].as_str(), &json!({})).await;
    let expected = json!({"user_id": guest["user_id"], "email": email, "name": "Ada", "roles": ["customer"]});
    assert_eq!((status, account), (200, expected));
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    assert_eq!(send(eu, "POST", "/v1/sessions/end", None, &refresh).await, (204, Value::Null));
    let (status, problem) = send(eu, "POST", "/v1/sessions/refresh", None, &refresh).await;
    assert_eq!((status, problem["type"].clone()), (401, json!("/problems/not-signed-in")));
    let entry = json!({"email": email, "password": PASSWORD});
    assert_eq!(send(eu, "POST", "/v1/sessions", None, &entry).await.0, 201);
}

#[tokio::test]
async fn bad_input_is_refused_by_field() {
    let world = World::new().await;
    let cases = [
        (json!({"email": "ada", "password": PASSWORD}), "email"),
        (json!({"email": "ada@shop.example", "password": "short"}), "password"),
        (json!({"email": "ada@shop.example", "password": PASSWORD, "name": "4242 4242 4242 4242"}), "name"),
        (json!({"email": "ada@shop.example", "password": PASSWORD, "nickname": "x"}), "nickname"),
        (json!({"password": PASSWORD}), "email"),
    ];
    for (body, field) in cases {
        let (status, problem) = send(&world.eu, "POST", "/v1/accounts", None, &body).await;
        assert_eq!((status, problem["field"].clone()), (422, json!(field)), "{body}");
    }
}

#[tokio::test]
async fn an_account_is_shown_to_its_owner_alone() {
    let world = World::new().await;
    assert_eq!(send(&world.eu, "GET", "/v1/account", None, &json!({})).await.0, 401);
    let elsewhere = world.us.guest().await;
    let (status, problem) = send(&world.eu, "GET", "/v1/account", Some(&elsewhere.access_token), &json!({})).await;
    assert_eq!((status, problem["type"].clone()), (421, json!("/problems/wrong-shard")));
}

#[tokio::test]
async fn an_address_block_makes_so_many_guests_and_no_more() {
    let world = World::new().await;
    let mut refused = (0, Value::Null);
    for _ in 0..61 {
        refused = send(&world.eu, "POST", "/v1/guests", None, &json!({})).await;
    }
    assert_eq!((refused.0, refused.1["type"].clone()), (429, json!("/problems/slow-down")));
}

#[tokio::test]
async fn the_steps_are_not_among_the_public_routes() {
    let world = World::new().await;
    let body = json!({"email": "ada@shop.example"});
    assert_eq!(send(&world.eu, "POST", "/internal/account/logins/find", None, &body).await.0, 404);
}
