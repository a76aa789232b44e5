//! Two regions of one shard each, with real databases and real routers between them. Only the wire is short: requests go
//! from router to router without QUIC, and a test may lose an answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use region_core_account::{Accounts, Hasher, Limits, Parts, Signer, internal_router, router};
use region_core_cart::{Carts, Offer, Prices};
use region_core_store::redis::Redis;
use region_core_store::{Shard, Shards, test_support};
use region_core_web::{AddressSource, ClientAddress, Front, PeerTransport, Peers, Verifier};
use ring::signature::Ed25519KeyPair;
use shared::api::account::{Password, SignIn, SignUp, Tokens};
use shared::api::cart::{Cart, CartChange, CartOperation};
use shared::id::{SLOTS, USER_EPOCH_MS};
use shared::token::{Claims, KeySet};
use shared::{
    Currency, EmailAddress, Money, OperationId, Problem, ProblemKind, Quantity, RegionName, ShardId, Sku, SlotMap,
    UserId,
};
use shared_clock::{Clock, Entropy};
use sqlx::PgPool;
use tower::ServiceExt;

pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) struct Region {
    pub(crate) accounts: Accounts,
    pub(crate) carts: Carts,
    pub(crate) pool: PgPool,
    /// What a PoP reaches.
    pub(crate) public: Router,
}

pub(crate) struct World {
    pub(crate) eu: Region,
    pub(crate) us: Region,
    pub(crate) verifier: Verifier,
    pub(crate) wire: Wire,
    dice: Entropy,
}

/// Calls between the regions.
#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<WireState>);

#[derive(Default)]
struct WireState {
    routers: OnceLock<HashMap<RegionName, Router>>,
    /// Calls that are still answered before one answer is lost; below zero all are.
    answers: AtomicI64,
}

impl Wire {
    /// Loses the answer of the call after the next `calls`: the work is done, and nobody hears of it.
    pub(crate) fn lose_after(&self, calls: i64) {
        self.0.answers.store(calls + 1, Ordering::SeqCst);
    }

    /// Whether the answer was lost since, or the call never came.
    pub(crate) fn has_lost(&self) -> bool {
        self.0.answers.swap(0, Ordering::SeqCst) <= 0
    }
}

impl PeerTransport for Wire {
    fn send<'a>(
        &'a self,
        region: &'a RegionName,
        request: Request<Bytes>,
        _: Duration,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Problem>> {
        let router = self.0.routers.get().unwrap()[region].clone();
        Box::pin(async move {
            let (parts, body) = router.oneshot(request.map(Body::from)).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            if self.0.answers.fetch_sub(1, Ordering::SeqCst) == 1 {
                return Err(Problem::new(ProblemKind::Timeout));
            }
            Ok(Response::from_parts(parts, body))
        })
    }
}

/// Everything costs £2.50.
struct Shop;

impl Prices for Shop {
    fn currency(&self) -> Currency {
        Currency::GBP
    }

    fn find_offer(&self, _: &Sku) -> Option<Offer> {
        let unit_price = Money::new(250, Currency::GBP).unwrap();
        Some(Offer { title: "A mug".into(), slug: "a-mug".into(), variant: "".into(), unit_price })
    }
}

fn shard_id(number: i16) -> ShardId {
    ShardId::try_from(number).unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        let [eu, us]: [RegionName; 2] = [("eu"), ("us")].map(|name| name.parse().unwrap());
        let map = SlotMap::even(1, [(shard_id(1), eu.clone()), (shard_id(2), us.clone())].into()).unwrap();
        let (wire, clock) = (Wire::default(), Clock::system());
        let signers = [signer(&eu), signer(&us)];
        let keys = KeySet { keys: signers.iter().map(Signer::public_key).collect() };
        let verifier = Verifier::new(keys, clock);
        let [eu_signer, us_signer] = signers;
        let eu = Region::new(eu, 1, &map, eu_signer, &wire, &verifier).await;
        let us = Region::new(us, 2, &map, us_signer, &wire, &verifier).await;
        let internal = |region: &Region| front(&verifier).wrap(internal_router(region.accounts.clone()));
        let routers = HashMap::from([("eu".parse().unwrap(), internal(&eu)), ("us".parse().unwrap(), internal(&us))]);
        assert!(wire.0.routers.set(routers).is_ok());
        Self { eu, us, verifier, wire, dice: Entropy::system() }
    }

    /// An address whose login lives in that half of the slots.
    pub(crate) fn email(&self, in_us: bool) -> EmailAddress {
        let here = |email: &EmailAddress| (email.slot().number() >= SLOTS / 2) == in_us;
        let any = || format!("ada{}@shop.example", u64::from_le_bytes(self.dice.bytes())).parse().unwrap();
        std::iter::repeat_with(any).find(here).unwrap()
    }

    pub(crate) fn claims(&self, tokens: &Tokens) -> Claims {
        self.verifier.verify(&tokens.access_token).unwrap()
    }

    pub(crate) async fn add(&self, region: &Region, user: UserId, sku: &str, units: i64) -> Result<Cart, Problem> {
        let change = CartChange::Add { sku: sku.parse().unwrap(), quantity: Quantity::new(units).unwrap() };
        let operation_id = OperationId::mint(USER_EPOCH_MS, self.dice.bytes());
        let operation = CartOperation { operation_id, change, expected_version: None };
        Ok(region.carts.apply(user, &operation).await?)
    }
}

fn signer(region: &RegionName) -> Signer {
    let key = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    Signer::from_pkcs8(region, key.as_ref()).unwrap()
}

fn front(verifier: &Verifier) -> Front {
    Front { verifier: verifier.clone(), entropy: Entropy::system(), addresses: AddressSource::Gateway }
}

impl Region {
    async fn new(
        name: RegionName,
        number: i16,
        map: &SlotMap,
        signer: Signer,
        wire: &Wire,
        verifier: &Verifier,
    ) -> Self {
        let pool = test_support::shard_database().await.pool;
        let owned: Vec<i16> = map.slots_of(shard_id(number)).map(i16::from).collect();
        sqlx::query!("DELETE FROM slots WHERE slot <> ALL ($1)", &owned).execute(&pool).await.unwrap();
        let shards = Shards::new(name, [Shard::from_pool(shard_id(number), pool.clone())], map.clone());
        let carts = Carts::new(shards.clone(), Redis::absent(), Arc::new(Shop));
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let accounts = Accounts::new(Parts {
            shards,
            peers: Peers::new(wire.clone()),
            carts: carts.clone(),
            signer,
            hasher: Hasher::new(2, entropy.clone()),
            limits: Limits::new(clock.clone(), vec![]),
            clock,
            entropy,
        });
        let public = front(verifier).wrap(router(accounts.clone()));
        Self { accounts, carts, pool, public }
    }

    pub(crate) async fn guest(&self) -> Tokens {
        self.accounts.guest(ClientAddress::UNKNOWN).await.unwrap()
    }

    pub(crate) async fn sign_up(&self, email: &EmailAddress, guest: Option<UserId>) -> Result<Tokens, Problem> {
        let request = SignUp { email: email.clone(), password: Password(PASSWORD.into()), name: Some("Ada".into()) };
        Ok(self.accounts.sign_up(request, guest, ClientAddress::UNKNOWN).await?)
    }

    pub(crate) async fn sign_in(&self, email: &EmailAddress, guest: Option<UserId>) -> Result<Tokens, Problem> {
        self.sign_in_with(email, PASSWORD, guest).await
    }

    pub(crate) async fn sign_in_with(
        &self,
        email: &EmailAddress,
        password: &str,
        guest: Option<UserId>,
    ) -> Result<Tokens, Problem> {
        let request = SignIn { email: email.clone(), password: Password(password.into()) };
        Ok(self.accounts.sign_in(request, guest, ClientAddress::UNKNOWN).await?)
    }

    pub(crate) async fn refresh(&self, tokens: &Tokens) -> Result<Tokens, Problem> {
        Ok(self.accounts.refresh(tokens.refresh_token.clone()).await?)
    }
}
