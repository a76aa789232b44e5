//! Many shoppers and few units: what there is gets sold, once, and everybody is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, stream};
use shared::api::order::{Order, OrderStatus};
use shared::{ProblemKind, Sku};
use tests::books::Written;
use tests::goods::FEW_UNITS;
use tests::shopper::key;
use tests::{Books, Client, Options, Shopper, Store, goods};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Everybody wants one unit.
const SHOPPERS: usize = 200;
/// Two regions, so that half of the units lie where no shopper does.
const SPREAD: Options = Options { regions: &[("eu", &[1, 2]), ("us", &[3, 4])], cores: 2, ..Options::SMALL };
/// Times that a shopper asks again while units are on their way.
const PATIENCE: usize = 30;

/// What one shopper was told in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Yours,
    SoldOut,
    InTransit,
}

/// Asks for one unit; again, under the same key, while it is said to be on its way. Tells how long the slowest answer took, too.
async fn asks_for(shopper: &Shopper, sku: &Sku, slowest: &Slowest) -> Told {
    let (key, order) = (key(), shopper.order_of(&[(sku, 1)], "tok_success").await);
    for _ in 0..PATIENCE {
        let asked = Instant::now();
        let answer = shopper.place(&key, &order).await;
        slowest.note(asked.elapsed());
        if answer.status == 201 {
            assert_ne!(answer.json::<Order>().status, OrderStatus::Cancelled);
            return Told::Yours;
        }
        let problem = answer.expect(409).problem();
        if problem.is(ProblemKind::SoldOut) {
            return Told::SoldOut;
        }
        assert!(problem.is(ProblemKind::StockInTransit), "{problem:?}");
        tokio::time::sleep(Duration::from_secs(1)).await; // the answer's own Retry-After
    }
    Told::InTransit
}

/// The slowest answer, for whoever reads what a test prints: what it takes depends on the machine.
#[derive(Default)]
struct Slowest(AtomicU64);

impl Slowest {
    fn note(&self, took: Duration) {
        self.0.fetch_max(u64::try_from(took.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

/// Two threads that do nothing and rest never, as a neighbour on the machine does; until dropped.
struct BusyLoops(Arc<AtomicBool>);

impl BusyLoops {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..2 {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || while !stop.load(Ordering::Relaxed) {});
        }
        Self(stop)
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All shoppers, so many at a time, ask for a SKU that nobody else knows; `each` hears of every answer.
async fn rush(shoppers: &[Shopper], at_once: usize, each: impl Fn()) -> (Sku, Vec<Told>) {
    let (sku, slowest) = (goods::few(), Slowest::default());
    let asking = stream::iter(shoppers).map(async |shopper| {
        let told = asks_for(shopper, &sku, &slowest).await;
        each();
        told
    });
    let told = asking.buffer_unordered(at_once).collect().await;
    println!("{SHOPPERS} shoppers, {at_once} at a time: the slowest answer took {:?} ms", slowest.0);
    (sku, told)
}

/// Sold exactly once: units, orders, lines, reservations and events, and what the shoppers were told.
async fn was_sold_exactly(books: &Books, sku: &Sku, told: &[Told]) {
    let units = usize::try_from(FEW_UNITS).unwrap();
    let count = |what: Told| told.iter().filter(|told| **told == what).count();
    let counts = (count(Told::Yours), count(Told::SoldOut), count(Told::InTransit));
    assert_eq!(counts, (units, SHOPPERS - units, 0), "yours, sold out, still on its way");
    let all = Written { orders: FEW_UNITS, lines: FEW_UNITS, reservations: FEW_UNITS, events: FEW_UNITS };
    assert_eq!(books.written(sku).await, all);
    let units = books.units(sku).await;
    assert_eq!((units.free, units.reserved + units.sold), (0, FEW_UNITS), "{units:?}");
}

/// Reads pages and stock without a pause until told to stop; all of it is served.
async fn reads(origin: &str, stop: &AtomicBool) -> usize {
    let client = Client::new(origin);
    let mut served = 0;
    while !stop.load(Ordering::Relaxed) {
        for path in ["/", "/v1/products?limit=5", "/v1/categories", "/cart"] {
            client.get(path).await.expect(200);
            served += 1;
        }
    }
    served
}

async fn shoppers(origin: &str) -> Vec<Shopper> {
    // All live in the region nearest to the PoP: half of what they want lies in the other.
    stream::iter(0..SHOPPERS).map(async |_| Shopper::guest(origin).await).buffered(16).collect().await
}

#[tokio::test]
async fn twenty_units_are_sold_to_twenty_of_two_hundred_shoppers_however_many_come_at_once_and_whatever_runs_beside() {
    let store = Store::start("scarce", &SPREAD).await;
    let (origin, books) = (store.sites.addresses.shop.clone(), Books::of(&store.sites));
    let (shoppers, stop) = (shoppers(&origin).await, AtomicBool::new(false));
    let rushing = async {
        let mut rushes = Vec::new();
        for at_once in [SHOPPERS, 16, 4, 1] {
            rushes.push(rush(&shoppers, at_once, || ()).await);
        }
        let _beside = BusyLoops::start();
        rushes.push(rush(&shoppers, SHOPPERS, || ()).await);
        stop.store(true, Ordering::Relaxed);
        rushes
    };
    let (rushes, served) = tokio::join!(rushing, reads(&origin, &stop));
    for (sku, told) in &rushes {
        was_sold_exactly(&books, sku, told).await;
    }
    assert!(served > 0);
    // Both cores took orders, and one of them wrote those of a shard.
    assert!(store.sites.counted("orders_handed_over_total").await > 0.0);
    store.system.stop().await.unwrap();
}

#[tokio::test]
async fn the_preferred_core_killed_in_the_middle_of_a_rush_changes_nothing_about_it() {
    let mut store = Store::start("scarce-core-killed", &SPREAD).await;
    let (origin, books) = (store.sites.addresses.shop.clone(), Books::of(&store.sites));
    let (shoppers, stop) = (shoppers(&origin).await, AtomicBool::new(false));
    let (answered, amid) = (AtomicUsize::new(0), Notify::new());
    let preferred = books.preferred_core(1).await;
    let rushing = async {
        let rushed = rush(&shoppers, 16, || {
            if answered.fetch_add(1, Ordering::Relaxed) == SHOPPERS / 20 {
                amid.notify_one();
            }
        });
        let rushed = rushed.await;
        stop.store(true, Ordering::Relaxed);
        rushed
    };
    let killing = async {
        amid.notified().await;
        store.system.part_mut(&preferred).unwrap().kill().await.unwrap();
        books.prefers_another(1, &preferred).await;
    };
    let ((sku, told), served, ()) = tokio::join!(rushing, reads(&origin, &stop), killing);
    was_sold_exactly(&books, &sku, &told).await;
    assert!(served > 0);
    store.system.part_mut(&preferred).unwrap().restart().await.unwrap();
    for shopper in &shoppers {
        let user = shopper.tokens.user_id;
        join_all(books.orders_of(user).await.iter().map(|order| shopper.decided(order.order_id))).await;
        books.money_matches(user).await;
    }
    store.system.stop().await.unwrap();
}
