//! Somebody who shops through the JSON API.

use std::time::Duration;

use http::Method;
use serde::Serialize;
use shared::api::account::{RefreshToken, Tokens};
use shared::api::cart::{Cart, CartChange, CartOperation};
use shared::api::order::{Address, Order, OrderItem, OrderStatus, PlaceOrder, Quote, QuoteRequest};
use shared::{EmailAddress, OperationId, OrderId, Quantity, Sku, SlotMap};
use shared_clock::{Clock, Entropy};

use crate::client::{self, Answer, Client};
use crate::store::Sites;
use crate::wait::until;

/// What every shopper's password is.
pub const PASSWORD: &str = "correct horse battery staple";
/// How long an order may take until it is decided: longer than the latest answer of the payment provider.
const DECIDED_WITHIN: Duration = Duration::from_secs(45);

/// A user with his tokens.
#[derive(Clone, Debug)]
pub struct Shopper {
    /// From where.
    pub client: Client,
    /// As whom.
    pub tokens: Tokens,
}

impl Shopper {
    /// A guest.
    ///
    /// # Panics
    /// If the store makes none.
    pub async fn guest(origin: &str) -> Self {
        let client = Client::new(origin);
        let answer = post(&client, "/v1/guests", None, &serde_json::json!({})).await.expect(201);
        Self { tokens: answer.json(), client }
    }

    /// A guest whose slot lies in that shard.
    ///
    /// # Panics
    /// If none turns up: a region gives its guests uniformly random slots.
    pub async fn guest_in(origin: &str, shard: u16) -> Self {
        let map: SlotMap = Client::new(origin).get("/v1/slot-map").await.expect(200).json();
        for _ in 0..60 {
            let guest = Self::guest(origin).await;
            if map.shard_of(guest.tokens.user_id.slot()).number() == i16::try_from(shard).unwrap() {
                return guest;
            }
        }
        panic!("no guest in shard {shard}");
    }

    /// Credentials for the guest's own id.
    ///
    /// # Panics
    /// If they are refused.
    pub async fn sign_up(&mut self, email: &EmailAddress) {
        let body = serde_json::json!({ "email": email, "password": PASSWORD, "name": "Ada" });
        self.tokens = self.post("/v1/accounts", &body).await.expect(201).json();
    }

    /// Signs in; a guest's cart and orders come along.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn sign_in(&mut self, email: &EmailAddress) {
        let body = serde_json::json!({ "email": email, "password": PASSWORD });
        self.tokens = self.post("/v1/sessions", &body).await.expect(201).json();
    }

    /// The store's operator, signed in.
    ///
    /// # Panics
    /// If there is none, or he is refused.
    pub async fn operator(sites: &Sites) -> Self {
        let client = Client::new(&sites.addresses.shop);
        let operator = sites.operator.as_ref().expect("a store with an operator");
        let password = std::fs::read_to_string(&operator.password_file).unwrap();
        let body = serde_json::json!({ "email": operator.email, "password": password.trim() });
        let tokens = post(&client, "/v1/sessions", None, &body).await.expect(201).json();
        Self { client, tokens }
    }

    /// Trades a refresh token.
    pub async fn refresh(&self, token: &RefreshToken) -> Answer {
        post(&self.client, "/v1/sessions/refresh", None, &serde_json::json!({ "refresh_token": token })).await
    }

    /// `GET` with the token.
    pub async fn get(&self, path: &str) -> Answer {
        client::send(self.client.request(Method::GET, path).bearer_auth(&self.tokens.access_token)).await
    }

    /// `POST` of JSON with the token.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Answer {
        post(&self.client, path, Some(&self.tokens.access_token), body).await
    }

    /// Puts units into the cart.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn add(&self, sku: &Sku, units: i64) -> Cart {
        let change = CartChange::Add { sku: sku.clone(), quantity: Quantity::new(units).unwrap() };
        let operation = CartOperation { operation_id: operation_id(), change, expected_version: None };
        self.post("/v1/cart/operations", &operation).await.expect(200).json()
    }

    /// The cart, at this version or later.
    ///
    /// # Panics
    /// If it cannot be had.
    pub async fn cart(&self, min_version: u64) -> Cart {
        self.get(&format!("/v1/cart?min_version={min_version}")).await.expect(200).json()
    }

    /// An order of these units at today's total.
    ///
    /// # Panics
    /// If there is no quote for it.
    pub async fn order_of(&self, items: &[(&Sku, i64)], payment_token: &str) -> PlaceOrder {
        let item =
            |(sku, units): &(&Sku, i64)| OrderItem { sku: (*sku).clone(), quantity: Quantity::new(*units).unwrap() };
        let items: Vec<_> = items.iter().map(item).collect();
        let request = QuoteRequest { items: items.clone(), country: None, delivery_option: None };
        let quote: Quote = self.post("/v1/quotes", &request).await.expect(200).json();
        PlaceOrder {
            items,
            shipping_address: address(),
            payment_token: payment_token.to_owned(),
            expected_total: quote.total,
            cart_version: None,
            email: None,
            delivery_option: None,
            phone: None,
            user_id: None,
        }
    }

    /// Asks for an order under a key.
    pub async fn place(&self, key: &str, order: &impl Serialize) -> Answer {
        client::send(self.placing(key, order)).await
    }

    /// The request of [`Self::place`], for those who expect no answer.
    pub fn placing(&self, key: &str, order: &impl Serialize) -> reqwest::RequestBuilder {
        let request = self.client.request(Method::POST, "/v1/orders").bearer_auth(&self.tokens.access_token);
        request.header(shared::idempotency::IDEMPOTENCY_KEY, key).json(order)
    }

    /// `POST` of JSON with the token, under a key.
    pub async fn post_once(&self, path: &str, key: &str, body: &impl Serialize) -> Answer {
        let request = self.client.request(Method::POST, path).bearer_auth(&self.tokens.access_token);
        client::send(request.header(shared::idempotency::IDEMPOTENCY_KEY, key).json(body)).await
    }

    /// An order as it is now.
    ///
    /// # Panics
    /// If it is not the caller's.
    pub async fn order(&self, id: OrderId) -> Order {
        self.get(&format!("/v1/orders/{id}")).await.expect(200).json()
    }

    /// An order once it has been decided.
    ///
    /// # Panics
    /// If it stays PENDING.
    pub async fn decided(&self, id: OrderId) -> Order {
        let decided = async || Some(self.order(id).await).filter(|order| order.status != OrderStatus::Pending);
        until(&format!("order {id} is decided"), DECIDED_WITHIN, decided).await
    }

    /// Buys and waits until that is decided.
    ///
    /// # Panics
    /// If the order is refused or stays PENDING.
    pub async fn buys(&self, items: &[(&Sku, i64)], payment_token: &str) -> Order {
        let order = self.order_of(items, payment_token).await;
        let placed: Order = self.place(&key(), &order).await.expect(201).json();
        self.decided(placed.order_id).await
    }
}

/// `POST` of JSON.
pub async fn post(client: &Client, path: &str, token: Option<&str>, body: &impl Serialize) -> Answer {
    let request = client.request(Method::POST, path).json(body);
    client::send(match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    })
    .await
}

/// Where everything is sent.
#[must_use]
pub fn address() -> Address {
    Address {
        name: "Ada Lovelace".to_owned(),
        line1: "12 St James's Square".to_owned(),
        line2: None,
        city: "London".to_owned(),
        region: None,
        postal_code: Some("SW1Y 4JH".to_owned()),
        country: "GB".to_owned(),
    }
}

/// An operation that was never asked for before.
#[must_use]
pub fn operation_id() -> OperationId {
    OperationId::mint(Clock::system().unix_ms(), Entropy::system().bytes())
}

/// An idempotency key that was never used before.
#[must_use]
pub fn key() -> String {
    let random = u64::from_le_bytes(Entropy::system().bytes());
    format!("test-{random:016x}")
}

/// An address that has no account yet.
///
/// # Panics
/// Never.
#[must_use]
pub fn email() -> EmailAddress {
    format!("{}@example.org", key()).parse().unwrap()
}
