//! Every service of a region, built from values, and the work that goes on between requests.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::{Router, middleware};
use backon::{ConstantBuilder, Retryable};
use futures::FutureExt;
use futures::future::BoxFuture;
use region_core_account::{Accounts, Hasher, Limits, Signer};
use region_core_cart::{Carts, Prices};
use region_core_catalog::Catalog;
use region_core_control::{list_keys, load_slot_map, publish_key};
use region_core_events::{Consumer, Runner, Settings, Wakes};
use region_core_inventory::levels::{self, StockLevels};
use region_core_inventory::transfer::desk::ChangedFn;
use region_core_inventory::{Borrowing, Ledger, balance};
use region_core_notification::{Notifications, Preferences, channels_router, push_router};
use region_core_order::{Orders, OriginNews, PaymentNews, PriceList};
use region_core_outbound::target::Guard;
use region_core_payment::risk::Judge;
use region_core_payment::{Account, AnyProvider, FindOrder, PayPal, PayPalApp, Payments, Sandbox, Stripe};
use region_core_search::Search;
use region_core_shipping::{Departures, EasyPost, Shipping};
use region_core_store::redis::Redis;
use region_core_store::{PoolLimits, Shard, Shards};
use region_core_web::{AddressSource, Front, Peers, Verifier};
use region_core_webhook::{Endpoints, Webhooks};
use secrecy::{ExposeSecret, SecretString};
use shared::token::PublicKey;
use shared::{OrderId, Problem, ShipmentId, Sku, SlotMap};
use shared_clock::{Clock, Entropy};
use shared_link::Tls;
use shared_link::peer::{only_cores, only_cores_of};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Bus, BusKind, Config, Payment, ProviderKind, Risk, ShardAddress};
use crate::mail::{Post, link_keys};
use crate::peers::LinkedPeers;
use crate::prices::CatalogPrices;
use crate::{api, config, directory, refresh, webhooks};

/// How often the region's copy of the catalog is asked for a newer version.
const CATALOG_PERIOD: Duration = Duration::from_millis(250);
/// How often what unfinished business left behind is swept up.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// Passwords hashed at once: each takes 19 MiB and a core for its time.
const PASSWORDS_AT_ONCE: usize = 2;
/// How often a database that is not there yet is asked again while starting.
const START_PAUSE: Duration = Duration::from_millis(200);
/// The connections of whoever serves shoppers: half of them stand ready.
const SERVING: PoolLimits = PoolLimits { min_connections: 8, max_connections: 16, acquire_timeout: ANSWERS_WITHIN };
/// How long a database may take to hand out a connection, before whoever serves says that it is not there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A region that can serve.
pub(crate) struct Region {
    shards: Shards,
    catalog: Catalog,
    search: Search,
    carts: Carts,
    accounts: Accounts,
    orders: Orders,
    payments: Payments<AnyProvider>,
    shipping: Shipping,
    /// None without a mail server.
    notifications: Option<Notifications>,
    preferences: Preferences,
    webhooks: Webhooks,
    levels: StockLevels,
    borrowing: Borrowing,
    ledger: Ledger,
    verifier: Verifier,
    own_key: PublicKey,
    api: api::Written,
    wakes: Wakes,
    control: PgPool,
    entropy: Entropy,
    bus: Bus,
    /// This process to the others of its region.
    name: String,
}

impl Region {
    /// Waits for the catalog database and reads from it what a core cannot start without, then builds the services.
    /// Shards and Redis may still be away: they are reached at first use.
    pub(crate) async fn build(config: &Config, tls: &Arc<Tls>) -> anyhow::Result<Self> {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let control = catalog_pool(&config.catalog.url, ANSWERS_WITHIN).context("catalog.url")?;
        let map = patiently("the slot map", async || slot_map(&control).await).await?;
        let signer = signer(config)?;
        let own_key = signer.public_key();
        let verifier = patiently("the signing keys", async || publish(config, &control, &signer, &clock).await).await?;
        let catalog = patiently("the catalog", async || Ok(Catalog::load(control.clone()).await?)).await?;
        let primary = catalog_pool(&config.catalog.primary_url, ANSWERS_WITHIN).context("catalog.primary_url")?;
        let endpoints =
            patiently("the webhook endpoints", async || Ok(Endpoints::load(control.clone(), primary.clone()).await?))
                .await?;
        let shards = shards(config, config.own_shards(), map, SERVING)?;
        let post = Post::read(config, &shards, &clock)?;
        let redis = Redis::connect(config.redis.url.expose_secret()).context("redis.url")?;
        let prices = Arc::new(CatalogPrices { catalog: catalog.clone(), currency: config.order.currency });
        let carts = Carts::new(shards.clone(), redis.clone(), Arc::clone(&prices) as Arc<dyn Prices>);
        let wakes = Wakes::new(shards.all().map(Shard::id));
        let peers = Peers::new(LinkedPeers::connect(config, tls).context("peers")?);
        let levels = StockLevels::new(levels::Parts {
            shards: shards.clone(),
            redis: redis.clone(),
            peers: peers.clone(),
            others: config.peers.keys().cloned().collect(),
            entropy: entropy.clone(),
        });
        let told: ChangedFn = Arc::new({
            let levels = levels.clone();
            move |shard, skus: &[Sku]| levels.changed(shard, skus)
        });
        let borrowing = Borrowing::new(shards.clone(), peers.clone(), Arc::clone(&told));
        let ledger = Ledger::new(shards.clone(), peers.clone(), borrowing.on_return());
        let accounts = Accounts::new(region_core_account::Parts {
            shards: shards.clone(),
            peers: peers.clone(),
            carts: carts.clone(),
            signer,
            hasher: Hasher::new(PASSWORDS_AT_ONCE, entropy.clone()),
            limits: Limits::new(clock.clone(), config.limits.exempt.clone()),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let payments = payments(config, &shards, &redis, &wakes, &clock, &entropy)?.linked_by(peers.clone());
        let preferences = Preferences::new(shards.clone(), peers.clone(), link_keys(config)?);
        let carrier = carrier(config)?;
        let labels = carrier.is_some();
        let shipping = Shipping::new(shards.clone(), carrier, peers.clone());
        let orders = Orders::new(region_core_order::Parts {
            shards: shards.clone(),
            carts: carts.clone(),
            prices: prices as Arc<dyn PriceList>,
            borrowing: borrowing.clone(),
            peers: peers.clone(),
            told,
            wakes: wakes.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            hold: time::Duration::seconds(i64::from(config.order.reservation_seconds)),
            review: config.risk.as_ref().map(Risk::judging),
            labels,
        });
        let notifications = post.map(|post| post.notifications(&shards, &orders, &preferences, &clock, &entropy));
        let webhooks = Webhooks::new(region_core_webhook::Parts {
            shards: shards.clone(),
            peers,
            endpoints,
            book: webhooks::book(),
            guard: Guard { loopback: config.webhooks.allow_loopback },
            disabled: webhooks::disabled(notifications.clone(), clock.clone()),
            clock,
            entropy: entropy.clone(),
        })
        .context("webhooks")?;
        let search = Search::start(catalog.snapshot()).await.context("the search index")?;
        Ok(Self {
            shards,
            catalog,
            search,
            carts,
            accounts,
            orders,
            payments,
            shipping,
            notifications,
            preferences,
            webhooks,
            levels,
            borrowing,
            ledger,
            verifier,
            own_key,
            api: api::Written::new().context("the API's document")?,
            wakes,
            control,
            entropy,
            bus: config.bus.clone(),
            name: config.name.clone(),
        })
    }

    /// What stands before every route, for a listener that learns addresses in that way.
    pub(crate) fn front(&self, addresses: AddressSource) -> Front {
        Front { verifier: self.verifier.clone(), entropy: self.entropy.clone(), addresses }
    }

    /// `/v1`: for points of presence, for cores, and for a developer's plain listener.
    pub(crate) fn public(&self) -> Router {
        Router::new()
            .merge(api::router(self.api.clone()))
            .merge(directory::router(self.shards.clone(), self.verifier.clone()))
            .merge(region_core_catalog::router(self.catalog.clone()))
            .merge(region_core_search::router(self.search.clone()))
            .merge(region_core_inventory::router(self.levels.clone()))
            .merge(self.ledger.router())
            .merge(region_core_account::router(self.accounts.clone()))
            .merge(region_core_cart::router(self.carts.clone()))
            .merge(region_core_order::router(self.orders.clone(), self.payments.methods()))
            .merge(region_core_payment::router(self.payments.clone(), find_order(&self.orders)))
            .merge(self.notifications.clone().map(region_core_notification::router).unwrap_or_default())
            .merge(region_core_notification::preferences_router(self.preferences.clone()))
            .merge(self.notifications.clone().map(push_router).unwrap_or_default())
            .merge(channels_router(self.notifications.as_ref().map(Notifications::channels).unwrap_or_default()))
            .merge(region_core_shipping::router(self.shipping.clone()))
            .merge(region_core_webhook::router(self.webhooks.clone()))
    }

    /// Everything that goes over the link: `/v1`, and `/internal` for cores alone.
    pub(crate) fn linked(&self) -> Router {
        let internal = region_core_account::internal_router(self.accounts.clone())
            .merge(levels::internal_router(self.levels.clone()))
            .merge(self.borrowing.internal_router())
            .merge(region_core_order::regions_router(self.orders.clone()))
            .merge(self.ledger.internal_router())
            .merge(region_core_notification::internal_router(self.preferences.clone()))
            .merge(region_core_payment::internal_router(self.payments.clone()))
            .merge(region_core_shipping::internal_router(self.shipping.clone()))
            .merge(region_core_webhook::internal_router(self.webhooks.clone()));
        let own = middleware::from_fn_with_state(self.shards.region().clone(), only_cores_of);
        let routes = self
            .public()
            .merge(internal.layer(middleware::from_fn(only_cores)))
            .merge(region_core_order::internal_router(self.orders.clone()).layer(own));
        self.front(AddressSource::Gateway).wrap(routes)
    }

    /// Starts what goes on between requests; ends with `shutdown`.
    pub(crate) fn start(&self, tasks: &TaskTracker, shutdown: &CancellationToken) {
        let stop = || shutdown.clone();
        let catalog = self.catalog.clone();
        tasks.spawn({
            let stop = stop();
            async move { catalog.follow(CATALOG_PERIOD, stop).await }
        });
        let (search, catalog) = (self.search.clone(), self.catalog.clone());
        tasks.spawn({
            let stop = stop();
            async move { search.follow(&catalog, stop).await }
        });
        tasks.spawn(refresh::keep_fresh(
            self.control.clone(),
            self.shards.clone(),
            self.verifier.clone(),
            self.own_key.clone(),
            stop(),
        ));
        let mut consumers: Vec<Arc<dyn Consumer>> =
            vec![Arc::new(PaymentNews::new(self.orders.clone())), Arc::new(self.payments.news())];
        consumers.push(Arc::new(self.webhooks.news()));
        consumers.push(Arc::new(OriginNews::new(self.shards.clone())));
        tasks.spawn(self.webhooks.clone().follow(stop()));
        tasks.spawn(self.webhooks.clone().drive(stop()));
        // Who would send nothing must not hear: what is to be sent would pile up.
        if let Some(notifications) = self.notifications.clone() {
            consumers.push(Arc::new(notifications.news()));
            tasks.spawn(notifications.drive(stop()));
        }
        for shard in self.shards.all() {
            let (turn, name, stop) = (shard.turn().clone(), self.name.clone(), stop());
            tasks.spawn(async move { stop.run_until_cancelled(turn.stand(&name)).await });
        }
        self.start_bus(consumers, tasks, stop());
        tasks.spawn(self.payments.clone().drive(stop()));
        tasks.spawn(self.shipping.clone().drive(Arc::new(Left(self.orders.clone())), stop()));
        tasks.spawn(region_core_order::sweep(self.orders.clone(), stop()));
        tasks.spawn(self.levels.clone().follow(stop()));
        tasks.spawn(balance::run(self.borrowing.clone(), stop()));
        tasks.spawn(tidy(self.accounts.clone(), self.carts.clone(), stop()));
    }

    /// Gives events to consumers, over whatever bus there is.
    fn start_bus(&self, consumers: Vec<Arc<dyn Consumer>>, tasks: &TaskTracker, stop: CancellationToken) {
        let (shards, wakes) = (self.shards.clone(), self.wakes.clone());
        match self.bus.kind {
            #[cfg(feature = "kafka")]
            BusKind::Kafka => {
                let options = region_core_kafka::Options::new(self.bus.brokers.clone(), self.entropy.bytes());
                tasks.spawn(region_core_kafka::Bus::new(shards, wakes, consumers, options).run(stop));
            }
            BusKind::Postgres => {
                tasks.spawn(Runner::new(shards, wakes, consumers, Settings::default()).run(stop));
            }
        }
    }
}

/// How payment learns whose order it is asked about.
fn find_order(orders: &Orders) -> FindOrder {
    let orders = orders.clone();
    Arc::new(move |caller, order| {
        let orders = orders.clone();
        async move { orders.find(caller, order).await.map_err(Problem::from) }.boxed()
    })
}

/// The carrier, if one is configured. Its own words name the key that is wrong.
fn carrier(config: &Config) -> anyhow::Result<Option<Arc<EasyPost>>> {
    let Some(shipping) = &config.shipping else {
        tracing::info!("without [shipping] no labels are bought: parcels are sent by hand");
        return Ok(None);
    };
    let account = region_core_shipping::Account {
        url: shipping.url.clone(),
        api_key: shipping.api_key.clone(),
        webhook_secrets: shipping.webhook_secrets.clone(),
        from: shipping.from.clone(),
    };
    Ok(Some(Arc::new(EasyPost::new(&account)?)))
}

/// The order service, as it hears from shipping what a carrier saw.
struct Left(Orders);

impl Departures for Left {
    fn left(&self, order: OrderId, shipment: ShipmentId) -> BoxFuture<'_, Result<(), Problem>> {
        async move { self.0.leave(order, shipment, None).await.map(drop).map_err(Problem::from) }.boxed()
    }

    fn arrived(&self, order: OrderId, shipment: ShipmentId) -> BoxFuture<'_, Result<(), Problem>> {
        async move { self.0.deliver(order, shipment, None).await.map(drop).map_err(Problem::from) }.boxed()
    }
}

/// Sweeps up, once a minute. Failures are logged where they happen and tried again in the next round.
async fn tidy(accounts: Accounts, carts: Carts, shutdown: CancellationToken) {
    while tokio::time::timeout(SWEEP_PERIOD, shutdown.cancelled()).await.is_err() {
        let _ = accounts.sweep().await;
        let _ = carts.prune().await;
    }
}

/// Tries until it works: a database that starts at the same time is no error. The caller gives up on shutdown.
async fn patiently<T>(what: &'static str, work: impl AsyncFn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    (async || work().await)
        .retry(ConstantBuilder::default().with_delay(START_PAUSE).without_max_times())
        .notify(|error, _| tracing::info!(error = format!("{error:#}"), "waiting for {what}"))
        .await
}

/// A pool of connections to a catalog, whose callers wait that long for one.
pub(crate) fn catalog_pool(url: &SecretString, patience: Duration) -> anyhow::Result<PgPool> {
    let pool = PgPoolOptions::new().max_connections(4).acquire_timeout(patience);
    Ok(pool.connect_lazy(url.expose_secret())?)
}

pub(crate) async fn slot_map(control: &PgPool) -> anyhow::Result<SlotMap> {
    load_slot_map(control).await?.context("no slot map is published: run `region-core migrate`")
}

pub(crate) fn signer(config: &Config) -> anyhow::Result<Signer> {
    let file = &config.token.signing_key;
    let key = std::fs::read(file).with_context(|| format!("token.signing_key: {} cannot be read", file.display()))?;
    Signer::from_pkcs8(&config.region, &key).with_context(|| format!("token.signing_key: {}", file.display()))
}

/// Publishes this region's key unless it stands already, and makes a verifier of all that are published. A region whose
/// own copy has its key starts without the primary.
async fn publish(config: &Config, control: &PgPool, signer: &Signer, clock: &Clock) -> anyhow::Result<Verifier> {
    let own = signer.public_key();
    let mut keys = list_keys(control).await?;
    if keys.find(&own.kid).is_none() {
        let primary = catalog_pool(&config.catalog.primary_url, ANSWERS_WITHIN).context("catalog.primary_url")?;
        let bytes = own.bytes().context("token.signing_key: no Ed25519 key")?;
        publish_key(&primary, &config.region, &own.kid, &bytes).await.context("catalog.primary_url")?;
        // The copy follows by replication; this process knows its own key at once.
        keys.keys.push(own);
    }
    Ok(Verifier::new(keys, clock.clone()))
}

pub(crate) fn shards<'a>(
    config: &Config,
    of: impl IntoIterator<Item = &'a ShardAddress>,
    map: SlotMap,
    limits: PoolLimits,
) -> anyhow::Result<Shards> {
    let shard = |shard: &ShardAddress| {
        Shard::new(shard.id, &shard.url, limits).with_context(|| format!("shard {}: url", shard.id))
    };
    let shards = of.into_iter().map(shard).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Shards::new(config.region.clone(), shards, map))
}

fn payments(
    config: &Config,
    shards: &Shards,
    redis: &Redis,
    wakes: &Wakes,
    clock: &Clock,
    entropy: &Entropy,
) -> anyhow::Result<Payments<AnyProvider>> {
    let provider = Arc::new(provider(&config.payment)?);
    let payments = Payments::new(shards.clone(), wakes.clone(), provider, clock.clone(), entropy.clone())
        .returning_to(shop(&config.store.public_url));
    let payments = match &config.payment.paypal {
        Some(paypal) => payments.beside(Arc::new(AnyProvider::PayPal(beside(paypal)?))),
        None => payments,
    };
    Ok(match &config.risk {
        Some(risk) => payments.judged_by(Judge::new(risk.rules(), redis.clone(), clock.clone())),
        None => payments,
    })
}

/// PayPal, beside the provider. Its own words name the key that is wrong.
fn beside(paypal: &config::PayPal) -> anyhow::Result<PayPal> {
    let app = PayPalApp {
        url: paypal.url.clone(),
        client_id: paypal.client_id.clone(),
        secret: paypal.secret.clone(),
        webhook_id: paypal.webhook_id.clone(),
    };
    Ok(PayPal::new(&app)?)
}

/// Where shoppers come back to from the provider's own page.
fn shop(public_url: &str) -> Option<String> {
    let origin = region_core_payment::shop_origin(public_url);
    if origin.is_none() {
        tracing::info!(
            store.public_url = public_url,
            "nobody pays on the payment provider's own page: it could lead back only to an https origin, or to this machine"
        );
    }
    origin
}

/// The provider's own words name the key that is wrong.
fn provider(payment: &Payment) -> anyhow::Result<AnyProvider> {
    match payment.provider {
        ProviderKind::Sandbox => {
            let url = payment.url.as_deref().context("payment.url: where is the sandbox?")?;
            Ok(AnyProvider::Sandbox(Sandbox::new(url)?))
        }
        ProviderKind::Stripe => {
            let stripe = payment.stripe.as_ref().context("payment.stripe: which account?")?;
            let account = Account {
                url: stripe.url.clone(),
                secret_key: stripe.secret_key.clone(),
                webhook_secrets: stripe.webhook_secrets.clone(),
            };
            Ok(AnyProvider::Stripe(Stripe::new(&account)?))
        }
    }
}
