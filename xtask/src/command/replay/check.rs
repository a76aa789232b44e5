//! Whether the books agree with the file: every accepted order once, every unit and every penny. No I/O.
//!
//! What an order should hold comes from the file alone, and what it should cost from the catalog's price history at the
//! version that the order names; both are then looked for in what the shards and the payment provider keep.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use shared::{Currency, Money};

use super::books::{Count, Kept, PriceHistory, Stock, Units};
use super::drive::Placed;
use super::plan::Planned;
use super::rules::Outcome;
use crate::movements::{Movement, MovementKind};

/// What is compared.
#[derive(Debug)]
pub(super) struct Books<'a> {
    pub(super) currency: Currency,
    pub(super) prices: &'a PriceHistory,
    pub(super) before: &'a Count,
    pub(super) after: &'a Count,
    /// Every order of the run that any shard keeps.
    pub(super) kept: &'a [Kept],
    /// Units on their lines, of those that were paid.
    pub(super) lines: &'a Units,
    pub(super) movements: &'a [Movement],
}

/// What came out.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    /// Orders that are CONFIRMED.
    pub(super) confirmed: u64,
    /// Orders that nobody acknowledged and that are there all the same.
    pub(super) found: u64,
    /// Units of the file's accepted lines.
    pub(super) units: i64,
    /// Their price and what their delivery cost, in minor units.
    pub(super) total_minor: i64,
    /// What the provider took for them, in minor units.
    pub(super) captured_minor: i64,
    /// Units that others bought meanwhile.
    pub(super) units_of_others: i64,
    /// Whatever does not agree, in words.
    pub(super) faults: Vec<String>,
}

impl Verdict {
    pub(super) fn passed(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Compares everything.
pub(super) fn verdict(placed: &[Placed<'_>], books: &Books<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut kept: HashMap<&str, Vec<&Kept>> = HashMap::new();
    for order in books.kept {
        kept.entry(&order.key).or_default().push(order);
    }
    let mut expected = Units::new();
    for one in placed {
        let found = kept.remove(one.order.key.as_str()).unwrap_or_default();
        verdict.order(one, &found, books, &mut expected);
    }
    for key in kept.into_keys() {
        verdict.fault(format!("an order under the key {key} that was never asked for"));
    }
    verdict.units = expected.values().sum();
    verdict.units(&expected, books);
    verdict.conservation(&books.after.stock);
    verdict.money(books);
    verdict
}

impl Verdict {
    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn order(&mut self, one: &Placed<'_>, found: &[&Kept], books: &Books<'_>, expected: &mut Units) {
        let invoice = &one.order.invoice;
        if found.len() > 1 {
            self.fault(format!("invoice {invoice}: {} orders under one key", found.len()));
        }
        let Some(kept) = found.first() else {
            if let Outcome::Accepted { order_id, .. } = one.outcome {
                self.fault(format!("invoice {invoice}: order {order_id} was acknowledged and is in no shard"));
            }
            return;
        };
        match &one.outcome {
            Outcome::Accepted { order_id, total } => {
                if *order_id != kept.order_id {
                    self.fault(format!("invoice {invoice}: {order_id} was acknowledged, {} is kept", kept.order_id));
                }
                if total.minor() != kept.total_minor {
                    let stored = money(kept.total_minor, books.currency);
                    self.fault(format!("invoice {invoice}: {total} was acknowledged, {stored} is kept"));
                }
            }
            Outcome::Refused(reason) => self.fault(format!("invoice {invoice}: refused ({reason}), and is an order")),
            Outcome::Unknown(_) => self.found += 1,
        }
        if kept.status != "CONFIRMED" {
            self.fault(format!("invoice {invoice}: order {} is {}", kept.order_id, kept.status));
            return;
        }
        self.confirmed += 1;
        self.price(one.order, kept, books);
        for item in &one.order.items {
            *expected.entry(item.sku.to_string()).or_default() += i64::from(item.quantity.units());
        }
    }

    fn price(&mut self, order: &Planned, kept: &Kept, books: &Books<'_>) {
        let mut total = 0;
        for item in &order.items {
            match books.prices.at(item.sku.as_str(), kept.catalog_version) {
                Some(price) => total += price * i64::from(item.quantity.units()),
                None => self.fault(format!("invoice {}: {} had no price when it was sold", order.invoice, item.sku)),
            }
        }
        // The file knows nothing of delivery; the audit looks up what that costs.
        self.total_minor += total + kept.shipping_minor;
        let goods = kept.total_minor - kept.shipping_minor;
        if total != goods {
            let (file, stored) = (money(total, books.currency), money(goods, books.currency));
            self.fault(format!("invoice {}: {file} by the file at catalog prices, {stored} is kept", order.invoice));
        }
    }

    /// The file against the lines of the orders, and against what left the allotments.
    fn units(&mut self, expected: &Units, books: &Books<'_>) {
        for (sku, wanted, lines) in both(expected, books.lines) {
            if wanted != lines {
                self.fault(format!("{sku}: {wanted} units by the file, {lines} on the orders' lines"));
            }
        }
        let others = less(&books.after.others, &books.before.others);
        self.units_of_others = others.values().sum();
        let left = less(&less(&sold(books.after), &sold(books.before)), &others);
        for (sku, wanted, sold) in both(expected, &left) {
            if wanted != sold {
                self.fault(format!("{sku}: {wanted} units by the file, {sold} sold by the shards"));
            }
        }
    }

    fn conservation(&mut self, stock: &BTreeMap<String, Stock>) {
        for (sku, Stock { free, reserved, sold, ledger }) in stock {
            if *ledger != free + reserved + sold {
                let sum = format!("{free} free + {reserved} reserved + {sold} sold");
                self.fault(format!("{sku}: {ledger} units in the ledger, and {sum}"));
            }
        }
    }

    fn money(&mut self, books: &Books<'_>) {
        let payments: HashMap<String, &Kept> =
            books.kept.iter().filter_map(|kept| Some((kept.payment_id?.to_string(), kept))).collect();
        let mut captures: HashMap<&str, u32> = HashMap::new();
        let ours = books.movements.iter().filter_map(|moved| Some((moved, payments.get(&moved.merchant_reference)?)));
        for (moved, kept) in ours {
            let (order, amount) = (kept.order_id, moved.amount);
            match moved.kind {
                MovementKind::Capture => {
                    self.captured_minor += amount.minor();
                    *captures.entry(&kept.key).or_default() += 1;
                    if (amount.minor(), amount.currency()) != (kept.total_minor, books.currency) {
                        let total = money(kept.total_minor, books.currency);
                        self.fault(format!("order {order}: {amount} was captured for {total}"));
                    }
                }
                MovementKind::Refund => {
                    self.captured_minor -= amount.minor();
                    self.fault(format!("order {order}: {amount} was refunded"));
                }
            }
        }
        for kept in books.kept {
            let times = captures.get(kept.key.as_str()).copied().unwrap_or_default();
            if times != u32::from(kept.status == "CONFIRMED") {
                self.fault(format!("order {}, {}: captured {times} times", kept.order_id, kept.status));
            }
        }
        if self.captured_minor != self.total_minor {
            let (captured, total) = (self.captured_minor, self.total_minor);
            let shown = [captured, total].map(|minor| money(minor, books.currency));
            self.fault(format!("{} was captured, {} was sold", shown[0], shown[1]));
        }
    }
}

fn sold(count: &Count) -> Units {
    count.stock.iter().map(|(sku, stock)| (sku.clone(), stock.sold)).collect()
}

/// `after` less `before`, wherever that is not zero.
fn less(after: &Units, before: &Units) -> Units {
    both(after, before)
        .filter(|(_, after, before)| after != before)
        .map(|(sku, after, before)| (sku.to_owned(), after - before))
        .collect()
}

/// Every SKU of either, with its units in both.
fn both<'a>(left: &'a Units, right: &'a Units) -> impl Iterator<Item = (&'a str, i64, i64)> {
    let only_right =
        right.iter().filter(|(sku, _)| !left.contains_key(*sku)).map(|(sku, units)| (sku.as_str(), 0, *units));
    let in_left = left.iter().map(|(sku, units)| (sku.as_str(), *units, right.get(sku).copied().unwrap_or_default()));
    in_left.chain(only_right)
}

fn money(minor: i64, currency: Currency) -> String {
    Money::new(minor, currency).map_or_else(|_| format!("{minor} minor units"), |money| money.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::api::order::{Address, OrderItem};
    use shared::{OrderId, PaymentId, Quantity, Slot};

    use super::super::rules::Patience;
    use super::*;

    /// A run of one order of two mugs at £2.55, all in order; tests break one thing each.
    struct Run {
        order: Planned,
        outcome: Outcome,
        prices: PriceHistory,
        before: Count,
        after: Count,
        kept: Vec<Kept>,
        lines: Units,
        movements: Vec<Movement>,
    }

    fn gbp(minor: i64) -> Money {
        Money::new(minor, Currency::GBP).unwrap()
    }

    fn id(number: u8) -> (OrderId, PaymentId) {
        let (slot, random) = (Slot::from_low_bits(7), [number; 8]);
        (OrderId::mint(1_800_000_000_000, slot, random), PaymentId::mint(1_800_000_000_000, slot, random))
    }

    fn count(free: i64, sold: i64) -> Count {
        let stock = Stock { free, reserved: 0, sold, ledger: 100 };
        Count { stock: [("MUG".to_owned(), stock)].into(), others: [("MUG".to_owned(), 7)].into() }
    }

    impl Run {
        fn good() -> Self {
            let (order_id, payment_id) = id(1);
            let address = Address {
                name: "Guest 1".to_owned(),
                line1: "1 Replay Street".to_owned(),
                line2: None,
                city: "EIRE".to_owned(),
                region: None,
                postal_code: None,
                country: "IE".to_owned(),
            };
            let items = vec![OrderItem { sku: "MUG".parse().unwrap(), quantity: Quantity::new(2).unwrap() }];
            let key = "replay-1-536365";
            let order = Planned {
                invoice: "536365".to_owned(),
                key: key.parse().unwrap(),
                due: Duration::ZERO,
                items,
                address,
            };
            let kept = Kept {
                key: key.to_owned(),
                order_id,
                status: "CONFIRMED".to_owned(),
                total_minor: 510,
                shipping_minor: 0,
                catalog_version: 4,
                payment_id: Some(payment_id),
            };
            let captured = Movement {
                sequence: 1,
                kind: MovementKind::Capture,
                reference: "pay_1".to_owned(),
                merchant_reference: payment_id.to_string(),
                amount: gbp(510),
            };
            Self {
                order,
                outcome: Outcome::Accepted { order_id, total: gbp(510) },
                prices: PriceHistory([("MUG".to_owned(), [(3, Some(255)), (5, Some(999))].into())].into()),
                before: count(93, 7),
                after: count(91, 9),
                kept: vec![kept],
                lines: [("MUG".to_owned(), 2)].into(),
                movements: vec![captured],
            }
        }

        fn verdict(&self) -> Verdict {
            let Self { order, outcome, prices, before, after, kept, lines, movements } = self;
            let placed = [Placed { order, outcome: outcome.clone(), patience: Patience::default(), took: None }];
            let books = Books { currency: Currency::GBP, prices, before, after, kept, lines, movements };
            verdict(&placed, &books)
        }

        fn faults(&self) -> Vec<String> {
            self.verdict().faults
        }
    }

    #[test]
    fn books_that_agree_pass() {
        let wanted = Verdict { confirmed: 1, units: 2, total_minor: 510, captured_minor: 510, ..Verdict::default() };
        assert_eq!(Run::good().verdict(), wanted);
    }

    #[test]
    fn what_delivery_costs_is_no_penny_too_much() {
        let mut run = Run::good();
        (run.kept[0].total_minor, run.kept[0].shipping_minor) = (905, 395);
        run.movements[0].amount = gbp(905);
        run.outcome = Outcome::Accepted { order_id: id(1).0, total: gbp(905) };
        assert_eq!(run.faults(), [""; 0]);
    }

    #[test]
    fn a_penny_too_much_is_found() {
        let mut run = Run::good();
        run.kept[0].total_minor = 511;
        run.movements[0].amount = gbp(511);
        run.outcome = Outcome::Accepted { order_id: id(1).0, total: gbp(511) };
        let faults = run.faults();
        assert_eq!(
            faults,
            [
                "invoice 536365: £5.10 by the file at catalog prices, £5.11 is kept",
                "£5.11 was captured, £5.10 was sold"
            ]
        );
    }

    #[test]
    fn a_unit_lost_from_the_allotments_is_found_by_its_sku() {
        let mut run = Run::good();
        run.after = count(92, 8);
        assert_eq!(run.faults(), ["MUG: 2 units by the file, 1 sold by the shards"]);
        run.after = count(90, 9);
        assert_eq!(run.faults(), ["MUG: 100 units in the ledger, and 90 free + 0 reserved + 9 sold"]);
        let mut run = Run::good();
        run.lines = [("MUG".to_owned(), 2), ("CUP".to_owned(), 1)].into();
        assert_eq!(run.faults(), ["CUP: 0 units by the file, 1 on the orders' lines"]);
    }

    #[test]
    fn what_others_buy_meanwhile_is_not_held_against_the_run() {
        let mut run = Run::good();
        run.after = count(86, 14);
        run.after.others.insert("MUG".to_owned(), 12);
        let verdict = run.verdict();
        assert_eq!((verdict.passed(), verdict.units_of_others), (true, 5));
    }

    #[test]
    fn an_acknowledged_order_that_is_gone_doubled_or_another_is_found() {
        let mut gone = Run::good();
        let kept = gone.kept.pop().unwrap();
        assert!(gone.faults()[0].contains("was acknowledged and is in no shard"), "{:?}", gone.faults());
        gone.kept = vec![kept.clone(), Kept { order_id: id(2).0, payment_id: None, ..kept }];
        assert!(gone.faults()[0].contains("2 orders under one key"), "{:?}", gone.faults());
        let mut other = Run::good();
        other.outcome = Outcome::Accepted { order_id: id(3).0, total: gbp(510) };
        assert!(other.faults()[0].contains("was acknowledged"), "{:?}", other.faults());
    }

    #[test]
    fn an_unpaid_order_is_found() {
        let mut run = Run::good();
        run.kept[0].status = "PENDING".to_owned();
        run.movements.clear();
        (run.after, run.lines) = (run.before.clone(), Units::new());
        assert_eq!(run.faults(), [format!("invoice 536365: order {} is PENDING", id(1).0)]);
    }

    #[test]
    fn a_refusal_leaves_no_order_and_an_answer_never_heard_may() {
        let mut run = Run::good();
        run.outcome = Outcome::Unknown("timeout".to_owned());
        assert_eq!((run.verdict().passed(), run.verdict().found), (true, 1));
        run.outcome = Outcome::Refused("sold-out".to_owned());
        assert_eq!(run.faults(), ["invoice 536365: refused (sold-out), and is an order"]);
    }

    #[test]
    fn a_charge_too_many_is_found() {
        let mut run = Run::good();
        run.movements.push(Movement { sequence: 2, ..run.movements[0].clone() });
        let faults = run.faults();
        assert_eq!(faults[0], format!("order {}, CONFIRMED: captured 2 times", id(1).0));
        assert_eq!(faults[1], "£10.20 was captured, £5.10 was sold");
    }
}
