//! What the clients were told, against what is written down. Pure: the audit looks at the rows' agreement among themselves,
//! this at the promises that were made to those outside.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shared::OrderId;

use super::books::{Books, Kept, Parcel};
use super::client::Outcome;
use super::hands::{Deed, What};
use super::history::Asked;
use crate::movements::{Movement, MovementKind};

/// Broken promises that are named; all are counted.
const NAMED: usize = 20;

/// Why an order of theirs may be refused.
const REASONS: [&str; 4] = ["sold-out", "stock-in-transit", "slow-down", super::client::TOO_LONG];

/// What was found, each kind counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// Orders that were asked for, and what their shoppers were told.
    pub(crate) asked: u64,
    pub(crate) ok: u64,
    pub(crate) fail: u64,
    pub(crate) unknown: u64,
    /// Unknown ones that turned out to be orders.
    pub(crate) unknown_placed: u64,
    /// Refusals for another reason than that units were wanting or the store was busy: the shoppers did nothing wrong.
    pub(crate) unreasonable: u64,
    /// Acknowledged orders that are not there, or are another's or at another price.
    pub(crate) lost: u64,
    /// Keys with more than one order.
    pub(crate) doubled: u64,
    /// Orders that were refused for certain, or that nobody asked for.
    pub(crate) phantom: u64,
    /// SKUs of which more are sold and reserved than were received.
    pub(crate) oversold: u64,
    /// Units too many or too few, over all SKUs.
    pub(crate) astray: u64,
    /// Money that moved without an order, too often, or for an order that was cancelled.
    pub(crate) charged_without_order: u64,
    /// Confirmed orders whose total did not move.
    pub(crate) confirmed_without_charge: u64,
    /// Payments of which more went back than was taken.
    pub(crate) over_refunded: u64,
    /// Keys with more than one parcel.
    pub(crate) parcels_doubled: u64,
    /// Parcels that were acknowledged and are not there, that were refused and are, or that left of an order that was called off;
    /// and orders of which it was said that they are called off, and are not.
    pub(crate) parcels_wrong: u64,
    /// Parcels for which more than one label is paid for.
    pub(crate) labels_paid_twice: u64,
    /// The first of all these, in words.
    pub(crate) first: Vec<String>,
}

impl Verdict {
    pub(super) fn of(asked: &[Asked], deeds: &[Deed], books: &Books) -> Self {
        let mut verdict = Self { asked: asked.len() as u64, ..Self::default() };
        verdict.compare_orders(asked, &books.kept);
        verdict.compare_units(books);
        verdict.compare_money(&books.kept, &books.movements, deeds);
        verdict.compare_parcels(deeds, books);
        verdict.compare_labels(&books.labels_paid);
        verdict
    }

    /// How many promises were broken.
    pub(crate) fn broken(&self) -> u64 {
        self.unreasonable
            + self.lost
            + self.doubled
            + self.phantom
            + self.oversold
            + self.astray
            + self.charged_without_order
            + self.confirmed_without_charge
            + self.over_refunded
            + self.parcels_doubled
            + self.parcels_wrong
            + self.labels_paid_twice
    }

    fn compare_orders(&mut self, asked: &[Asked], kept: &[Kept]) {
        let mut by_key: BTreeMap<(&str, i64), Vec<&Kept>> = BTreeMap::new();
        for order in kept {
            by_key.entry((&order.key, order.user_id)).or_default().push(order);
        }
        for asked in asked {
            let orders = by_key.remove(&(asked.key.as_str(), asked.user_id.as_i64())).unwrap_or_default();
            if orders.len() > 1 {
                self.doubled += 1;
                self.name(format!("{}: {} orders under one key", asked.key, orders.len()));
            }
            self.compare_order(asked, orders.first().copied());
        }
        for (key, user) in by_key.into_keys() {
            self.phantom += 1;
            self.name(format!("{key}: user {user} never asked for it"));
        }
    }

    fn compare_order(&mut self, asked: &Asked, kept: Option<&Kept>) {
        let there = kept.filter(|kept| kept.status.is_some());
        match &asked.outcome {
            Outcome::Ok { order_id, total } => {
                self.ok += 1;
                let same = |kept: &&Kept| kept.order_id == *order_id && kept.total_minor == total.minor();
                if there.filter(same).is_none() || *total != asked.total {
                    self.lost += 1;
                    self.name(format!(
                        "{}: acknowledged as {order_id} at {}, but kept is {kept:?}",
                        asked.key,
                        total.minor()
                    ));
                }
            }
            Outcome::Fail(reason) => {
                self.fail += 1;
                if !REASONS.contains(&reason.as_str()) {
                    self.unreasonable += 1;
                    self.name(format!("{}: refused because of {reason}", asked.key));
                }
                if let Some(kept) = kept {
                    self.phantom += 1;
                    self.name(format!("{}: refused ({reason}), yet there is {kept:?}", asked.key));
                }
            }
            Outcome::Unknown(_) => {
                self.unknown += 1;
                self.unknown_placed += u64::from(there.is_some());
            }
        }
    }

    fn compare_units(&mut self, books: &Books) {
        for (sku, stock) in &books.stock {
            let (taken, held) = (stock.sold + stock.reserved, stock.free + stock.reserved + stock.sold);
            if taken > stock.ledger {
                self.oversold += 1;
                self.name(format!("{sku}: {taken} sold or reserved of {}", stock.ledger));
            }
            if held != stock.ledger {
                self.astray += held.abs_diff(stock.ledger);
                self.name(format!("{sku}: {} received, {held} there: {stock:?}", stock.ledger));
            }
        }
    }

    fn compare_parcels(&mut self, deeds: &[Deed], books: &Books) {
        let mut by_key: BTreeMap<(OrderId, &str), Vec<&Parcel>> = BTreeMap::new();
        for parcel in &books.parcels {
            by_key.entry((parcel.order_id, &parcel.key)).or_default().push(parcel);
        }
        for parcels in by_key.values().filter(|parcels| parcels.len() > 1) {
            self.parcels_doubled += 1;
            self.name(format!("more than one parcel under one key: {parcels:?}"));
        }
        let status: BTreeMap<OrderId, Option<&str>> =
            books.kept.iter().map(|kept| (kept.order_id, kept.status.as_deref())).collect();
        let called_off = |order: &OrderId| status.get(order).copied().flatten() == Some("CANCELLED");
        for parcel in books.parcels.iter().filter(|parcel| parcel.left && called_off(&parcel.order_id)) {
            self.parcels_wrong += 1;
            self.name(format!("it left, and its order was called off: {parcel:?}"));
        }
        for deed in deeds {
            let good = match (&deed.what, deed.done) {
                (_, None) | (What::Refund { .. }, _) | (What::CalledOff, Some(false)) => true,
                (What::CalledOff, Some(true)) => called_off(&deed.order_id),
                (What::Parcel { key, shipment_id }, Some(done)) => {
                    let there = by_key.get(&(deed.order_id, key.as_str())).and_then(|parcels| parcels.first());
                    if done { there.map(|parcel| &parcel.shipment_id) == shipment_id.as_ref() } else { there.is_none() }
                }
            };
            if !good {
                self.parcels_wrong += 1;
                self.name(format!("this was said, and it is otherwise: {deed:?}"));
            }
        }
    }

    fn compare_labels(&mut self, paid: &[String]) {
        let mut labels: BTreeMap<&str, u64> = BTreeMap::new();
        for parcel in paid {
            *labels.entry(parcel).or_default() += 1;
        }
        for (parcel, count) in labels.into_iter().filter(|(_, count)| *count > 1) {
            self.labels_paid_twice += 1;
            self.name(format!("parcel {parcel}: {count} labels are paid for"));
        }
    }

    fn compare_money(&mut self, kept: &[Kept], movements: &[Movement], deeds: &[Deed]) {
        let given_back = GivenBack::of(deeds);
        let mut by_payment: BTreeMap<&str, Vec<&Movement>> = BTreeMap::new();
        for movement in movements {
            by_payment.entry(&movement.merchant_reference).or_default().push(movement);
        }
        for order in kept.iter().filter(|order| order.status.is_some()) {
            let moved = order.payment_id.as_deref().and_then(|payment| by_payment.remove(payment)).unwrap_or_default();
            self.compare_payment(order, &moved, given_back.get(&order.order_id).copied().unwrap_or_default());
        }
        let known: BTreeSet<&str> = kept.iter().filter_map(|order| order.payment_id.as_deref()).collect();
        for payment in by_payment.into_keys().filter(|payment| !known.contains(payment)) {
            self.charged_without_order += 1;
            self.name(format!("payment {payment} moved money for no order"));
        }
    }

    fn compare_payment(&mut self, order: &Kept, moved: &[&Movement], given_back: GivenBack) {
        let sum = |kind: MovementKind| -> i64 {
            moved.iter().filter(|movement| movement.kind == kind).map(|movement| movement.amount.minor()).sum()
        };
        let (captured, refunded) = (sum(MovementKind::Capture), sum(MovementKind::Refund));
        let captures = moved.iter().filter(|movement| movement.kind == MovementKind::Capture).count();
        let (least, most) = match order.status.as_deref() {
            Some("CONFIRMED" | "SHIPPED" | "DELIVERED") => {
                let most = order.total_minor - given_back.sure;
                (most - given_back.perhaps, most)
            }
            _ => (0, 0),
        };
        let net = captured - refunded;
        if refunded > captured {
            self.over_refunded += 1;
            self.name(format!("{order:?}: {captured} captured, {refunded} refunded"));
        }
        if net > most || captures > 1 {
            self.charged_without_order += 1;
            self.name(format!("{order:?}: {captures} captures of {captured}, {refunded} refunded"));
        } else if net < least {
            self.confirmed_without_charge += 1;
            self.name(format!("{order:?}: {captured} captured, {refunded} refunded"));
        }
    }

    fn name(&mut self, what: String) {
        if self.first.len() < NAMED {
            self.first.push(what);
        }
    }
}

/// What of an order's money was to go back: what the store has said yes to, and what nobody knows of.
#[derive(Clone, Copy, Debug, Default)]
struct GivenBack {
    sure: i64,
    perhaps: i64,
}

impl GivenBack {
    fn of(deeds: &[Deed]) -> BTreeMap<OrderId, Self> {
        let mut all = BTreeMap::<OrderId, Self>::new();
        for deed in deeds {
            let What::Refund { minor } = deed.what else { continue };
            let order = all.entry(deed.order_id).or_default();
            match deed.done {
                Some(true) => order.sure += minor,
                None => order.perhaps += minor,
                Some(false) => {}
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use shared::{Currency, Money, UserId};

    use super::super::books::Stock;
    use super::*;

    const ORDER: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn gbp(minor: i64) -> Money {
        Money::new(minor, Currency::GBP).unwrap()
    }

    fn user() -> UserId {
        "1152921504606846976".parse().unwrap()
    }

    fn order() -> OrderId {
        ORDER.parse().unwrap()
    }

    fn asked(outcome: Outcome) -> Asked {
        Asked { key: "k".to_owned(), user_id: user(), total: gbp(500), outcome }
    }

    fn ok() -> Asked {
        asked(Outcome::Ok { order_id: order(), total: gbp(500) })
    }

    fn kept(status: &str) -> Kept {
        Kept {
            shard: 1,
            key: "k".to_owned(),
            user_id: user().as_i64(),
            order_id: order(),
            status: Some(status.to_owned()),
            total_minor: 500,
            payment_id: Some("p".to_owned()),
        }
    }

    fn moved(sequence: u64, kind: MovementKind, payment: &str) -> Movement {
        let reference = format!("pay_{payment}");
        Movement { sequence, kind, reference, merchant_reference: payment.to_owned(), amount: gbp(500) }
    }

    fn verdict(asked: &[Asked], kept: Vec<Kept>, movements: Vec<Movement>) -> Verdict {
        Verdict::of(asked, &[], &Books { kept, movements, ..Books::default() })
    }

    #[test]
    fn what_was_promised_and_kept_breaks_nothing() {
        let paid = verdict(&[ok()], vec![kept("CONFIRMED")], vec![moved(1, MovementKind::Capture, "p")]);
        assert_eq!((paid.ok, paid.broken()), (1, 0), "{paid:?}");
        let back = [moved(1, MovementKind::Capture, "p"), moved(2, MovementKind::Refund, "p")];
        assert_eq!(verdict(&[ok()], vec![kept("CANCELLED")], back.to_vec()).broken(), 0);
        assert_eq!(verdict(&[asked(Outcome::Fail("sold-out".to_owned()))], vec![], vec![]).broken(), 0);
    }

    #[test]
    fn an_unknown_outcome_may_be_either_and_is_never_a_failure() {
        let unknown = asked(Outcome::Unknown("timeout".to_owned()));
        let placed = verdict(std::slice::from_ref(&unknown), vec![kept("CANCELLED")], vec![]);
        assert_eq!((placed.unknown, placed.unknown_placed, placed.fail, placed.broken()), (1, 1, 0, 0));
        assert_eq!(verdict(&[unknown], vec![], vec![]).broken(), 0);
    }

    #[test]
    fn an_acknowledged_order_that_is_gone_or_changed_is_lost() {
        assert_eq!(verdict(&[ok()], vec![], vec![]).lost, 1);
        let dearer = Kept { total_minor: 600, ..kept("CANCELLED") };
        assert_eq!(verdict(&[ok()], vec![dearer], vec![]).lost, 1);
        let without_order = Kept { status: None, ..kept("CANCELLED") };
        assert_eq!(verdict(&[ok()], vec![without_order], vec![]).lost, 1);
    }

    #[test]
    fn a_shopper_who_did_nothing_wrong_is_refused_for_want_of_units_alone() {
        assert_eq!(verdict(&[asked(Outcome::Fail("cart-changed".to_owned()))], vec![], vec![]).unreasonable, 1);
    }

    #[test]
    fn two_orders_under_a_key_one_that_was_refused_and_one_that_nobody_wanted_are_found() {
        let twice = verdict(&[ok()], vec![kept("CANCELLED"), kept("CANCELLED")], vec![]);
        assert_eq!(twice.doubled, 1);
        let refused = asked(Outcome::Fail("sold-out".to_owned()));
        assert_eq!(verdict(&[refused], vec![kept("CANCELLED")], vec![]).phantom, 1);
        assert_eq!(verdict(&[], vec![kept("CANCELLED")], vec![]).phantom, 1);
    }

    #[test]
    fn money_that_moved_wrongly_is_found() {
        let capture = |sequence, payment| moved(sequence, MovementKind::Capture, payment);
        let twice = verdict(&[ok()], vec![kept("CONFIRMED")], vec![capture(1, "p"), capture(2, "p")]);
        assert_eq!(twice.charged_without_order, 1);
        let elsewhere = verdict(&[ok()], vec![kept("CONFIRMED")], vec![capture(1, "p"), capture(2, "q")]);
        assert_eq!(elsewhere.charged_without_order, 1);
        assert_eq!(verdict(&[ok()], vec![kept("CANCELLED")], vec![capture(1, "p")]).charged_without_order, 1);
        assert_eq!(verdict(&[ok()], vec![kept("CONFIRMED")], vec![]).confirmed_without_charge, 1);
    }

    fn after(status: &str, refunds: &[(i64, Option<bool>)], went_back: &[i64]) -> Verdict {
        let deed = |(minor, done): &(i64, Option<bool>)| Deed {
            order_id: order(),
            what: What::Refund { minor: *minor },
            done: *done,
        };
        let deeds: Vec<_> = refunds.iter().map(deed).collect();
        let back = |minor: &i64| Movement { amount: gbp(*minor), ..moved(2, MovementKind::Refund, "p") };
        let movements = [moved(1, MovementKind::Capture, "p")].into_iter().chain(went_back.iter().map(back)).collect();
        Verdict::of(&[ok()], &deeds, &Books { kept: vec![kept(status)], movements, ..Books::default() })
    }

    #[test]
    fn what_was_promised_to_go_back_went_back_and_no_more_than_was_taken() {
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(after("DELIVERED", &[(300, yes), (300, no)], &[300]).broken(), 0);
        assert_eq!(after("DELIVERED", &[(300, yes)], &[]).charged_without_order, 1, "promised and kept");
        assert_eq!(after("DELIVERED", &[(300, no)], &[300]).confirmed_without_charge, 1, "refused and done");
        for went in [&[][..], &[300]] {
            assert_eq!(after("DELIVERED", &[(300, None)], went).broken(), 0, "nobody knows");
        }
        let twice = after("DELIVERED", &[(300, yes), (300, yes)], &[300, 300]);
        assert_eq!((twice.over_refunded, twice.broken()), (1, 1));
    }

    #[test]
    fn parcels_are_there_once_as_was_said_and_none_of_an_order_that_was_called_off() {
        let parcel = |shipment: &str, left| Parcel {
            order_id: order(),
            key: "k-hand".to_owned(),
            shipment_id: shipment.to_owned(),
            left,
        };
        let said = |done, shipment: Option<&str>| Deed {
            order_id: order(),
            what: What::Parcel { key: "k-hand".to_owned(), shipment_id: shipment.map(str::to_owned) },
            done,
        };
        let of = |status: &str, deeds: &[Deed], parcels: Vec<Parcel>| {
            let movements = vec![moved(1, MovementKind::Capture, "p")];
            let verdict = Verdict::of(
                &[ok()],
                deeds,
                &Books { kept: vec![kept(status)], movements, parcels, ..Books::default() },
            );
            (verdict.parcels_doubled, verdict.parcels_wrong)
        };
        assert_eq!(of("SHIPPED", &[said(Some(true), Some("1"))], vec![parcel("1", true)]), (0, 0));
        assert_eq!(of("SHIPPED", &[said(Some(true), Some("1"))], vec![]), (0, 1));
        assert_eq!(of("SHIPPED", &[said(Some(true), Some("1"))], vec![parcel("2", true)]), (0, 1));
        assert_eq!(of("SHIPPED", &[said(Some(false), None)], vec![parcel("1", true)]), (0, 1));
        assert_eq!(of("SHIPPED", &[said(None, None)], vec![parcel("1", true), parcel("2", false)]), (1, 0));
        assert_eq!(of("CANCELLED", &[], vec![parcel("1", true)]), (0, 1));
        assert_eq!(of("CANCELLED", &[], vec![parcel("1", false)]), (0, 0), "a label is paper");
        let called_off = Deed { order_id: order(), what: What::CalledOff, done: Some(true) };
        assert_eq!(of("SHIPPED", &[called_off], vec![]), (0, 1));
    }

    #[test]
    fn a_parcel_whose_label_is_paid_for_twice_is_found() {
        let of = |paid: &[&str]| {
            let labels_paid = paid.iter().map(|parcel| (*parcel).to_owned()).collect();
            Verdict::of(&[], &[], &Books { labels_paid, ..Books::default() }).labels_paid_twice
        };
        assert_eq!((of(&["1", "2"]), of(&["1", "2", "1"])), (0, 1));
    }

    #[test]
    fn units_that_come_from_nowhere_or_go_there_are_counted() {
        let stock = |free, sold| [("MUG".to_owned(), Stock { ledger: 10, free, reserved: 0, sold })].into();
        let of = |stock| Verdict::of(&[], &[], &Books { stock, ..Books::default() });
        assert_eq!(of(stock(4, 6)).broken(), 0);
        assert_eq!((of(stock(1, 6)).astray, of(stock(1, 6)).oversold), (3, 0));
        assert_eq!((of(stock(0, 12)).astray, of(stock(0, 12)).oversold), (2, 1));
    }
}
