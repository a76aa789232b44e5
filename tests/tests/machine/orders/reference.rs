//! What must come of each step, in plain memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

/// How long units are held, in minutes.
pub(crate) const HOLD_MINUTES: u32 = 15;
/// Minutes that pass at a time: never exactly as many as a hold has.
const STEP_MINUTES: u32 = 8;

/// Every SKU and its price in pence.
pub(crate) const GOODS: [(&str, i64); 2] = [("HEART", 100), ("MUG", 250)];
/// Fewer keys for each shopper than new orders a second.
const KEYS: u8 = 4;
pub(crate) const SHOPPERS: u8 = 4;
/// Most units of a line, and first supply of each SKU.
const MOST_UNITS: u8 = 3;
const SUPPLY: i64 = 6;

/// Units of each of [`GOODS`]; at least one is not 0.
pub(crate) type Basket = [u8; GOODS.len()];

/// A request to place an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) shopper: u8,
    pub(crate) key: u8,
    pub(crate) basket: Basket,
}

/// What payment says about an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Authorized,
    Captured,
    Failed,
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Transition {
    /// The same request, so many times at once.
    Place(Place, u8),
    /// A batch of news about orders by their number, perhaps too early, too late or again.
    Hear(Vec<(usize, News)>),
    /// The sweeper looks once.
    Sweep,
    /// The shard's clock goes on, and the core is started anew.
    PassTime,
    /// A receipt of one SKU arrives; its number may have come before.
    Receive(u8, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Claimed,
    Confirmed,
    Cancelled,
}

/// An order that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) placed: Place,
    pub(crate) status: Status,
    /// Statuses it has had: the version of its row, and of its last event.
    pub(crate) version: i64,
    expires_at: u32,
}

/// How a request must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The order of this number, placed now.
    Placed(usize),
    /// The order of this number, placed before.
    Replayed(usize),
    KeyReused,
    SoldOut,
}

/// Units of one SKU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stock {
    pub(crate) free: i64,
    pub(crate) reserved: i64,
    pub(crate) sold: i64,
}

/// The reference model.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) stock: [Stock; GOODS.len()],
    pub(crate) orders: Vec<Order>,
    /// Units of each receipt that was booked.
    pub(crate) receipts: BTreeMap<u8, (usize, i64)>,
    pub(crate) now: u32,
    /// What the last request must have been answered.
    pub(crate) answer: Option<Answer>,
}

/// Units of the receipt of that number.
pub(crate) fn units_of(receipt: u8) -> i64 {
    i64::from(receipt) + 1
}

impl Model {
    fn new() -> Self {
        let stock = [Stock { free: SUPPLY, reserved: 0, sold: 0 }; GOODS.len()];
        Self { stock, orders: Vec::new(), receipts: BTreeMap::new(), now: 0, answer: None }
    }

    fn decide(&self, place: Place) -> Answer {
        let same_key = |order: &Order| (order.placed.shopper, order.placed.key) == (place.shopper, place.key);
        match self.orders.iter().position(same_key) {
            Some(number) if self.orders[number].placed == place => Answer::Replayed(number),
            Some(_) => Answer::KeyReused,
            None if self.stock.iter().zip(place.basket).any(|(stock, units)| stock.free < i64::from(units)) => {
                Answer::SoldOut
            }
            None => Answer::Placed(self.orders.len()),
        }
    }

    fn place(&mut self, place: Place) {
        let answer = self.decide(place);
        if answer == Answer::Placed(self.orders.len()) {
            self.shift(place.basket, |stock, units| {
                (stock.free, stock.reserved) = (stock.free - units, stock.reserved + units)
            });
            let expires_at = self.now + HOLD_MINUTES;
            self.orders.push(Order { placed: place, status: Status::Pending, version: 1, expires_at });
        }
        self.answer = Some(answer);
    }

    fn shift(&mut self, basket: Basket, change: impl Fn(&mut Stock, i64)) {
        self.stock.iter_mut().zip(basket).for_each(|(stock, units)| change(stock, i64::from(units)));
    }

    fn hear(&mut self, number: usize, news: News) {
        match (news, self.orders[number].status) {
            (News::Authorized, Status::Pending) if self.is_out_of_time(number) => self.cancel(number),
            (News::Authorized, Status::Pending) => {
                self.becomes(number, Status::Claimed);
                self.shift(self.orders[number].placed.basket, |stock, units| {
                    (stock.reserved, stock.sold) = (stock.reserved - units, stock.sold + units);
                });
            }
            (News::Captured, Status::Claimed) => self.becomes(number, Status::Confirmed),
            (News::Failed, Status::Pending | Status::Claimed) => self.cancel(number),
            // Too early, too late, or again.
            (News::Authorized | News::Captured | News::Failed, _) => {}
        }
    }

    fn cancel(&mut self, number: usize) {
        let claimed = self.orders[number].status == Status::Claimed;
        self.becomes(number, Status::Cancelled);
        self.shift(self.orders[number].placed.basket, |stock, units| {
            let from = if claimed { &mut stock.sold } else { &mut stock.reserved };
            *from -= units;
            stock.free += units;
        });
    }

    fn becomes(&mut self, number: usize, status: Status) {
        let order = &mut self.orders[number];
        (order.status, order.version) = (status, order.version + 1);
    }

    fn is_out_of_time(&self, number: usize) -> bool {
        self.orders[number].expires_at <= self.now
    }

    fn sweep(&mut self) {
        for number in 0..self.orders.len() {
            if self.orders[number].status == Status::Pending && self.is_out_of_time(number) {
                self.cancel(number);
            }
        }
    }

    fn receive(&mut self, receipt: u8, sku: usize) {
        if let Entry::Vacant(new) = self.receipts.entry(receipt) {
            new.insert((sku, units_of(receipt)));
            self.stock[sku].free += units_of(receipt);
        }
    }

    /// Units that ever came in.
    pub(crate) fn supplied(&self, sku: usize) -> i64 {
        let received = self.receipts.values().filter(|(of, _)| *of == sku);
        SUPPLY + received.map(|(_, units)| units).sum::<i64>()
    }
}

fn any_place() -> impl Strategy<Value = Place> {
    let basket = [0..=MOST_UNITS, 0..=MOST_UNITS].prop_filter("something", |basket| *basket != [0, 0]);
    (0..SHOPPERS, 0..KEYS, basket).prop_map(|(shopper, key, basket)| Place { shopper, key, basket })
}

/// A request that was accepted comes again, perhaps changed.
fn repeat(orders: &[Order]) -> impl Strategy<Value = Place> + use<> {
    let placed: Vec<Place> = orders.iter().map(|order| order.placed).collect();
    (prop::sample::select(placed), any_place(), prop::bool::weighted(0.2)).prop_map(|(placed, other, changed)| Place {
        basket: if changed { other.basket } else { placed.basket },
        ..placed
    })
}

fn any_news(orders: usize) -> impl Strategy<Value = Vec<(usize, News)>> {
    let news = prop_oneof![3 => Just(News::Authorized), 2 => Just(News::Captured), 1 => Just(News::Failed)];
    prop::collection::vec((0..orders, news), 1..6)
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::new()).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Transition> {
        let copies = prop_oneof![4 => Just(1), 1 => 2..6_u8];
        let place = (any_place(), copies).prop_map(|(place, copies)| Transition::Place(place, copies));
        let receive = (0..3_u8, 0..GOODS.len()).prop_map(|(receipt, sku)| Transition::Receive(receipt, sku));
        let rare = prop_oneof![1 => Just(Transition::PassTime), 1 => Just(Transition::Sweep), 1 => receive];
        if state.orders.is_empty() {
            return prop_oneof![4 => place, 1 => rare].boxed();
        }
        let again = repeat(&state.orders).prop_map(|place| Transition::Place(place, 1));
        let hear = any_news(state.orders.len()).prop_map(Transition::Hear);
        prop_oneof![6 => place, 2 => again, 6 => hear, 4 => rare].boxed()
    }

    fn preconditions(state: &Self, transition: &Transition) -> bool {
        match transition {
            Transition::Hear(news) => news.iter().all(|(number, _)| *number < state.orders.len()),
            Transition::Place(..) | Transition::Sweep | Transition::PassTime | Transition::Receive(..) => true,
        }
    }

    fn apply(mut state: Self, transition: &Transition) -> Self {
        state.answer = None;
        match transition {
            Transition::Place(place, _) => state.place(*place),
            Transition::Hear(news) => news.iter().for_each(|(number, news)| state.hear(*number, *news)),
            Transition::Sweep => state.sweep(),
            Transition::PassTime => state.now += STEP_MINUTES,
            Transition::Receive(receipt, sku) => state.receive(*receipt, *sku),
        }
        state
    }
}
