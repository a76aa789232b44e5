//! Our side: `Orders::place` over real shards, driven in this process by clients that each await their answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use region_core_cart::{Carts, Offer, Prices};
use region_core_events::Wakes;
use region_core_inventory::Borrowing;
use region_core_inventory::transfer::desk::ChangedFn;
use region_core_order::rules::{DeliveryWish, PriceError, Priced, PricedOrder, price};
use region_core_order::{Caller, Orders, Parts, PriceList};
use region_core_store::redis::Redis;
use region_core_store::{PoolLimits, Shard, Shards};
use region_core_web::Peers;
use secrecy::SecretString;
use shared::api::order::{Address, OrderItem, PlaceOrder};
use shared::id::USER_EPOCH_MS;
use shared::{Currency, IdempotencyKey, Money, Problem, Quantity, RegionName, ShardId, Sku, Slot, SlotMap, UserId};
use shared_clock::{Clock, Entropy};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::books::{self, Founding, Rows};
use crate::cells::{Cell, Contender, Driven};
use crate::cpu::{self, Meter};
use crate::ground::Ground;
use crate::options::{SPREAD_SKUS, Span};
use crate::samples::{Answer, Epoch, micros};

/// So many that nobody places more than five orders a second, nor many orders where clients only count.
const USERS: u32 = 60_000;
const USERS_OF_A_COUNT: u32 = 2_000;
/// Odd and near half of the slots: neighbours live in different shards, and every slot has its turn.
const SLOT_STEP: u32 = 2_053;
/// What everything costs, in minor units.
const PRICE: i64 = 1_999;
/// A way to pay that always succeeds.
pub(crate) const PAYMENT_TOKEN: &str = "tok_success";

/// What does not change from cell to cell.
#[derive(Debug)]
pub(crate) struct Town {
    users: Vec<UserId>,
    skus: Vec<Sku>,
    region: RegionName,
}

/// The name of a SKU.
pub(crate) fn sku_name(number: u32) -> String {
    format!("BENCH-{number:04}")
}

/// Where everything is sent.
pub(crate) fn address() -> Address {
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

/// An order of one unit.
pub(crate) fn order_of(sku: &Sku, costs: Money, address: &Address) -> anyhow::Result<PlaceOrder> {
    Ok(PlaceOrder {
        items: vec![OrderItem { sku: sku.clone(), quantity: Quantity::new(1)? }],
        shipping_address: address.clone(),
        payment_token: PAYMENT_TOKEN.to_owned(),
        expected_total: costs,
        cart_version: None,
        email: None,
        delivery_option: None,
        phone: None,
        user_id: None,
    })
}

impl Town {
    pub(crate) fn new(span: Span) -> anyhow::Result<Self> {
        let users = match span {
            Span::Time(_) => USERS,
            Span::Orders(_) => USERS_OF_A_COUNT,
        };
        let user = |number: u32| {
            let slot = Slot::from_low_bits(u16::try_from(number * SLOT_STEP % 4_096)?);
            Ok(UserId::mint(USER_EPOCH_MS + 1 + u64::from(number), slot, 0)?)
        };
        let users = (0..users).map(user).collect::<anyhow::Result<_>>()?;
        let skus = (0..SPREAD_SKUS).map(|number| Ok(sku_name(number).parse()?)).collect::<anyhow::Result<_>>()?;
        Ok(Self { users, skus, region: "eu".parse()? })
    }

    fn map(&self, shards: usize) -> anyhow::Result<SlotMap> {
        let ids = (1..=i16::try_from(shards)?).map(|number| Ok((ShardId::try_from(number)?, self.region.clone())));
        Ok(SlotMap::even(1, ids.collect::<anyhow::Result<_>>()?)?)
    }

    /// Makes the template of a store of so many shards on each of their servers.
    pub(crate) async fn prepare(&self, ground: &Ground, shards: usize) -> anyhow::Result<()> {
        let map = self.map(shards)?;
        for (server, number) in ground.servers(shards).iter().zip(1_i16..) {
            let shard = ShardId::try_from(number)?;
            let founding = Founding {
                shard,
                region: &self.region,
                slots: Slot::all().filter(|slot| map.shard_of(*slot) == shard).collect(),
                users: self.users.iter().copied().filter(|user| map.shard_of(user.slot()) == shard).collect(),
                skus: self.skus.iter().map(|sku| sku.as_str().to_owned()).collect(),
            };
            books::shard(server, &template(shards), &founding).await?;
        }
        Ok(())
    }
}

/// The database that measurements over so many shards start from.
pub(crate) fn template(shards: usize) -> String {
    format!("admission_{shards}")
}

/// The region's prices: all SKUs at one, answered from memory as the catalog's snapshot is.
struct List(HashMap<Sku, Priced>);

impl PriceList for List {
    fn price(&self, items: &BTreeMap<Sku, Quantity>, _: DeliveryWish<'_>) -> Result<PricedOrder, PriceError> {
        price(items, Currency::GBP, 1, |sku| self.0.get(sku).cloned())
    }
}

impl Prices for List {
    fn currency(&self) -> Currency {
        Currency::GBP
    }

    fn find_offer(&self, sku: &Sku) -> Option<Offer> {
        let Priced { title, unit_price } = self.0.get(sku)?.clone();
        Some(Offer { title, slug: sku.as_str().into(), variant: "".into(), unit_price })
    }
}

/// A store without its doors, and clients in front of it.
pub(crate) struct Meridian {
    cell: Cell,
    databases: Vec<String>,
    clients: Arc<Clients>,
}

struct Clients {
    orders: Orders,
    users: Vec<UserId>,
    /// What this cell sells.
    skus: Vec<Sku>,
    costs: Money,
    address: Address,
    epoch: Epoch,
    /// One for each client.
    meters: Vec<Meter>,
    /// How often clients were let loose.
    rounds: AtomicU32,
}

impl Meridian {
    pub(crate) fn new(town: &Town, cell: Cell, databases: Vec<String>, epoch: Epoch) -> anyhow::Result<Self> {
        let shards = databases.iter().zip(1_i16..).map(|(url, number)| {
            Ok(Shard::new(ShardId::try_from(number)?, &SecretString::from(url.as_str()), PoolLimits::default())?)
        });
        let shards = shards.collect::<anyhow::Result<Vec<_>>>()?;
        let shards = Shards::new(town.region.clone(), shards, town.map(cell.shards)?);
        let skus = town.skus[..usize::try_from(cell.goods.skus())?.min(town.skus.len())].to_vec();
        let costs = Money::new(PRICE, Currency::GBP)?;
        let clients = Clients {
            orders: orders(shards, &town.skus, costs),
            users: town.users.clone(),
            skus,
            costs,
            address: address(),
            epoch,
            meters: (0..cell.clients).map(|_| Meter::default()).collect(),
            rounds: AtomicU32::new(0),
        };
        Ok(Self { cell, databases, clients: Arc::new(clients) })
    }
}

fn orders(shards: Shards, skus: &[Sku], costs: Money) -> Orders {
    let priced = |sku: &Sku| (sku.clone(), Priced { title: "A thing to measure with".into(), unit_price: costs });
    let prices = Arc::new(List(skus.iter().map(priced).collect()));
    let carts = Carts::new(shards.clone(), Redis::absent(), Arc::clone(&prices) as Arc<dyn Prices>);
    let wakes = Wakes::new(shards.all().map(Shard::id));
    let (clock, entropy, hold) = (Clock::system(), Entropy::system(), time::Duration::minutes(15));
    let told: ChangedFn = Arc::new(|_, _| {});
    let peers = Peers::none();
    let borrowing = Borrowing::new(shards.clone(), peers.clone(), Arc::clone(&told));
    Orders::new(Parts {
        shards,
        carts,
        prices,
        borrowing,
        peers,
        told,
        wakes,
        clock,
        entropy,
        hold,
        review: None,
        labels: false,
    })
}

impl Contender for Meridian {
    async fn drive(&self, span: Span) -> anyhow::Result<Driven> {
        let round = self.clients.rounds.fetch_add(1, Ordering::Relaxed);
        let mut tasks = JoinSet::new();
        for number in 0..usize::try_from(self.cell.clients)? {
            tasks.spawn(Arc::clone(&self.clients).shop(number, round, span));
        }
        let mut driven = Driven::default();
        while let Some(tally) = tasks.join_next().await {
            driven = driven.and(tally.context("a client panicked")??);
        }
        Ok(driven)
    }

    /// This process without its clients and without what reading costs.
    fn cpu(&self, reader: &Meter) -> Duration {
        let clients: Duration = self.clients.meters.iter().map(Meter::used).sum();
        cpu::of_this_process().saturating_sub(clients + reader.used())
    }

    async fn faults(&self, accepted: u64) -> anyhow::Result<Vec<String>> {
        let (mut rows, mut faults) = (Rows::default(), Vec::new());
        for database in &self.databases {
            rows = rows + books::rows_of_shard(database).await?;
            let astray = books::units_astray(database).await?;
            faults.extend(astray.first().map(|sku| format!("{} SKUs' units do not add up, {sku} first", astray.len())));
        }
        let all = i64::try_from(accepted)?;
        if rows != (Rows { orders: all, lines: all, events: all, units: all, reservations: all, keys: all }) {
            faults.push(format!("{accepted} orders were accepted and left {rows:?}"));
        }
        Ok(faults)
    }
}

impl Clients {
    /// One client: an order after the other.
    async fn shop(self: Arc<Self>, number: usize, round: u32, span: Span) -> anyhow::Result<Driven> {
        let (meter, begun, mut driven) = (&self.meters[number], Instant::now(), Driven::default());
        let dice = Entropy::seeded(u64::from(round) << 32 | u64::try_from(number)?);
        for count in 0_u32.. {
            let over = match span {
                Span::Time(time) => begun.elapsed() >= time,
                Span::Orders(orders) => count >= orders,
            };
            if over {
                break;
            }
            let (caller, key, body) = meter.run(|| self.request(number, round, count, &dice))?;
            let sent = Instant::now();
            let placed = self.orders.place(caller, &key, body, None).await;
            meter.run(|| match placed {
                Ok(placed) => {
                    let answered = Instant::now();
                    driven.accept(Answer { at_us: self.epoch.unix_us(answered), took_us: micros(answered - sent) });
                    if placed.replayed {
                        driven.faults.push(format!("{} was placed before", key.as_str()));
                    }
                }
                Err(error) => driven.refuse(&Problem::from(error)),
            });
        }
        Ok(driven)
    }

    /// The client's next order, each by another user.
    fn request(
        &self,
        number: usize,
        round: u32,
        count: u32,
        dice: &Entropy,
    ) -> anyhow::Result<(Caller, IdempotencyKey, PlaceOrder)> {
        let turn = number + usize::try_from(count)? * self.meters.len();
        let user_id = self.users[turn % self.users.len()];
        let sku = &self.skus[usize::try_from(dice.below(u32::try_from(self.skus.len())?))?];
        let key = format!("{round}-{number}-{count}").parse()?;
        Ok((Caller { user_id, epoch: 0 }, key, order_of(sku, self.costs, &self.address)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_towns_users_are_all_different_and_live_in_every_shard_alike() {
        let town = Town::new(Span::Orders(1)).unwrap();
        let map = town.map(2).unwrap();
        let first = ShardId::try_from(1).unwrap();
        let different: std::collections::BTreeSet<_> = town.users.iter().collect();
        assert_eq!(different.len(), town.users.len());
        let of_first = town.users.iter().filter(|user| map.shard_of(user.slot()) == first).count();
        assert!(of_first.abs_diff(town.users.len() / 2) < 100, "{of_first} of {}", town.users.len());
        assert_ne!(map.shard_of(town.users[0].slot()), map.shard_of(town.users[1].slot()));
    }
}
