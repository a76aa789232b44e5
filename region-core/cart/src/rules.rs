//! What an operation does to a cart, and what a cart looks like. No I/O and no clock.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::api::MAX_LINES;
use shared::api::cart::{Cart, CartChange, CartLine};
use shared::{CartId, Money, Quantity, Sku, UserId};

use crate::Prices;

/// A SKU and how many of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Item {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// One line as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// What and how many.
    pub item: Item,
    /// Rises in the order of first adding.
    pub position: i64,
}

/// A cart as it is stored: no titles, no prices.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredCart {
    /// The cart.
    pub cart_id: CartId,
    /// Rises with every change.
    pub version: u64,
    /// By position.
    pub lines: Vec<Line>,
}

/// A guest's cart while a sign-in carries it away: it takes no operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrozenCart {
    /// The version it was frozen at.
    pub version: u64,
    /// What is in it, in order of first adding.
    pub items: Vec<Item>,
}

/// What is to be written for an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Edit {
    /// This line, new or changed.
    Put(Line),
    /// No line of this SKU.
    Drop(Sku),
}

/// Why an operation cannot be done, whatever the version.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// One line takes 1 to 100,000 units.
    #[error("{sku}: one line takes at most 100,000 units")]
    TooMany {
        /// What was added.
        sku: Sku,
    },
    /// A cart takes 1,000 lines.
    #[error("a cart takes at most {MAX_LINES} lines")]
    Full,
}

/// The id of a user's cart, stored or not yet: one follows from the other, so reading an empty cart writes nothing.
#[must_use]
pub fn cart_id_of(user: UserId) -> CartId {
    let digest = Sha256::new().chain_update(b"cart").chain_update(user.to_string()).finalize();
    let mut random = [0; 8];
    random.copy_from_slice(&digest[..8]);
    CartId::mint(user.minted_at_ms(), user.slot(), random)
}

impl StoredCart {
    /// The cart of a user who never put anything into it.
    pub(crate) fn empty(user: UserId) -> Self {
        Self { cart_id: cart_id_of(user), version: 0, lines: Vec::new() }
    }

    /// What a change asks to be written.
    pub(crate) fn decide(&self, change: &CartChange) -> Result<Edit, Refusal> {
        match change {
            CartChange::Add { sku, quantity } => self.put(sku, |held| match held {
                Some(held) => held.checked_add(*quantity).map_err(|_| Refusal::TooMany { sku: sku.clone() }),
                None => Ok(*quantity),
            }),
            CartChange::Set { sku, quantity } => self.put(sku, |_| Ok(*quantity)),
            CartChange::Remove { sku } => Ok(Edit::Drop(sku.clone())),
        }
    }

    fn put(
        &self,
        sku: &Sku,
        quantity: impl FnOnce(Option<Quantity>) -> Result<Quantity, Refusal>,
    ) -> Result<Edit, Refusal> {
        let held = self.lines.iter().find(|line| line.item.sku == *sku);
        if held.is_none() && self.lines.len() >= MAX_LINES {
            return Err(Refusal::Full);
        }
        let quantity = quantity(held.map(|line| line.item.quantity))?;
        let next = self.lines.iter().map(|line| line.position).max().unwrap_or(0) + 1;
        let position = held.map_or(next, |line| line.position);
        Ok(Edit::Put(Line { item: Item { sku: sku.clone(), quantity }, position }))
    }

    /// The cart after an edit, at the next version.
    pub(crate) fn after(mut self, edit: Edit) -> Self {
        self.edit(edit);
        self.version += 1;
        self
    }

    fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Put(line) => match self.lines.iter_mut().find(|held| held.item.sku == line.item.sku) {
                Some(held) => *held = line,
                None => self.lines.push(line),
            },
            Edit::Drop(sku) => self.lines.retain(|held| held.item.sku != sku),
        }
    }

    /// The cart with a guest's items added, at the next version. A sign-in must not fail for a full cart: a line stops at
    /// 100,000 units, and lines beyond 1,000 stay behind.
    pub(crate) fn merged(mut self, items: &[Item]) -> Self {
        for Item { sku, quantity } in items {
            let most = || Quantity::new(i64::from(shared::sku::MAX_QUANTITY)).unwrap_or(*quantity);
            let sum = |held: Option<Quantity>| {
                Ok(held.map_or(*quantity, |held| held.checked_add(*quantity).unwrap_or_else(|_| most())))
            };
            if let Ok(edit) = self.put(sku, sum) {
                self.edit(edit);
            }
        }
        self.version += 1;
        self
    }

    /// What is in it, in order of first adding.
    pub(crate) fn items(&self) -> Vec<Item> {
        self.lines.iter().map(|line| line.item.clone()).collect()
    }

    /// Whether exactly these items are in it, in any order. Repeated SKUs do not add up: the cart has each once.
    pub(crate) fn holds_exactly(&self, items: &[Item]) -> bool {
        let (mut held, mut asked) = (self.items(), items.to_vec());
        held.sort_unstable();
        asked.sort_unstable();
        held == asked
    }

    /// The cart as shown, at today's prices. A line that is no longer sold, or whose total no money could pay, has no
    /// total and counts for nothing.
    pub(crate) fn view(self, prices: &dyn Prices) -> Cart {
        let mut total = Money::zero(prices.currency());
        let mut units = 0;
        let lines = self.lines.into_iter().map(|line| {
            let shown = view_line(line.item, prices);
            units += u64::from(shown.quantity.units());
            let sum = shown.line_total.and_then(|line_total| total.checked_add(line_total).ok());
            total = sum.unwrap_or(total);
            CartLine { line_total: sum.and(shown.line_total), ..shown }
        });
        let lines = lines.collect();
        Cart { cart_id: self.cart_id, version: self.version, lines, units, total }
    }
}

fn view_line(Item { sku, quantity }: Item, prices: &dyn Prices) -> CartLine {
    match prices.find_offer(&sku) {
        Some(offer) => CartLine {
            title: offer.title.as_ref().to_owned(),
            slug: Some(offer.slug.as_ref().to_owned()),
            variant: offer.variant.as_ref().to_owned(),
            unit_price: Some(offer.unit_price),
            line_total: offer.unit_price.checked_mul(quantity.units()).ok(),
            sku,
            quantity,
        },
        None => CartLine {
            title: sku.to_string(),
            slug: None,
            variant: String::new(),
            unit_price: None,
            line_total: None,
            sku,
            quantity,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use shared::id::USER_EPOCH_MS;
    use shared::{Currency, Slot};

    use super::*;
    use crate::Offer;

    struct Pennies(i64);

    impl Prices for Pennies {
        fn currency(&self) -> Currency {
            Currency::GBP
        }

        fn find_offer(&self, sku: &Sku) -> Option<Offer> {
            let unit_price = Money::new(self.0, Currency::GBP).unwrap();
            (sku.as_str() != "GONE").then(|| Offer {
                title: "A mug".into(),
                slug: "a-mug".into(),
                variant: "".into(),
                unit_price,
            })
        }
    }

    fn user() -> UserId {
        UserId::mint(USER_EPOCH_MS + 9, Slot::new(77).unwrap(), 5).unwrap()
    }

    fn sku(name: &str) -> Sku {
        name.parse().unwrap()
    }

    fn item(name: &str, units: i64) -> Item {
        Item { sku: sku(name), quantity: Quantity::new(units).unwrap() }
    }

    fn add(name: &str, units: i64) -> CartChange {
        let Item { sku, quantity } = item(name, units);
        CartChange::Add { sku, quantity }
    }

    fn cart(items: &[Item]) -> StoredCart {
        StoredCart::empty(user()).merged(items)
    }

    #[test]
    fn a_users_cart_has_one_id_that_says_where_it_lives() {
        assert_eq!(cart_id_of(user()), cart_id_of(user()));
        assert_eq!(cart_id_of(user()).slot(), user().slot());
        let neighbour = UserId::mint(USER_EPOCH_MS + 9, Slot::new(77).unwrap(), 6).unwrap();
        assert_ne!(cart_id_of(user()), cart_id_of(neighbour));
    }

    #[test]
    fn a_line_never_exceeds_its_bound() {
        let full = cart(&[item("MUG", 99_999)]);
        assert!(full.decide(&add("MUG", 1)).is_ok());
        assert_eq!(full.decide(&add("MUG", 2)), Err(Refusal::TooMany { sku: sku("MUG") }));
    }

    #[test]
    fn a_cart_takes_a_thousand_lines_and_still_changes_those_it_has() {
        let items: Vec<_> = (0..MAX_LINES).map(|number| item(&format!("S{number}"), 1)).collect();
        let full = cart(&items);
        assert_eq!(full.decide(&add("ONE-MORE", 1)), Err(Refusal::Full));
        assert!(full.decide(&add("S0", 1)).is_ok());
        assert_eq!(full.clone().merged(&[item("ONE-MORE", 1), item("S0", 1)]).items()[0], item("S0", 2));
    }

    #[test]
    fn a_merge_stops_at_the_bound_and_keeps_the_order_of_adding() {
        let merged = cart(&[item("B", 60_000), item("A", 1)]).merged(&[item("C", 2), item("B", 60_000)]);
        assert_eq!(merged.items(), [item("B", 100_000), item("A", 1), item("C", 2)]);
    }

    #[test]
    fn only_what_is_sold_counts_towards_the_total() {
        let shown = cart(&[item("MUG", 3), item("GONE", 2)]).view(&Pennies(250));
        assert_eq!((shown.units, shown.total.minor()), (5, 750));
        assert_eq!(shown.lines[1].title, "GONE");
        assert_eq!((shown.lines[1].unit_price, shown.lines[1].line_total), (None, None));
    }

    #[test]
    fn a_total_that_no_money_can_pay_is_left_out() {
        let dear = Pennies(shared::money::MAX_MINOR);
        let shown = cart(&[item("A", 1), item("B", 1), item("C", 2)]).view(&dear);
        assert_eq!(shown.total.minor(), shared::money::MAX_MINOR);
        let totals: Vec<_> = shown.lines.iter().map(|line| line.line_total.is_some()).collect();
        assert_eq!(totals, [true, false, false]);
    }

    #[test]
    fn an_order_must_name_what_the_cart_holds() {
        let held = cart(&[item("A", 1), item("B", 2)]);
        assert!(held.holds_exactly(&[item("B", 2), item("A", 1)]));
        for other in [&[item("A", 1)][..], &[item("A", 1), item("B", 1)], &[item("A", 1), item("B", 2), item("C", 1)]] {
            assert!(!held.holds_exactly(other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cart_is_what_its_operations_say(steps in prop::collection::vec((0..3_u8, 0..4_u8, 1..40_000_i64), 0..60)) {
            let mut cart = StoredCart::empty(user());
            let mut model: BTreeMap<Sku, i64> = BTreeMap::new();
            for (kind, name, units) in steps {
                let Item { sku, quantity } = item(&format!("S{name}"), units);
                let held = model.get(&sku).copied().unwrap_or(0);
                let change = match kind {
                    0 => CartChange::Add { sku: sku.clone(), quantity },
                    1 => CartChange::Set { sku: sku.clone(), quantity },
                    _ => CartChange::Remove { sku: sku.clone() },
                };
                match (cart.decide(&change), &change) {
                    (Ok(edit), CartChange::Add { .. }) => {
                        cart = cart.after(edit);
                        model.insert(sku, held + units);
                    }
                    (Ok(edit), CartChange::Set { .. }) => {
                        cart = cart.after(edit);
                        model.insert(sku, units);
                    }
                    (Ok(edit), CartChange::Remove { .. }) => {
                        cart = cart.after(edit);
                        model.remove(&sku);
                    }
                    (Err(_), _) => prop_assert!(held + units > 100_000, "refused without a reason"),
                }
            }
            let held: BTreeMap<_, _> =
                cart.items().into_iter().map(|item| (item.sku, i64::from(item.quantity.units()))).collect();
            prop_assert_eq!(held, model);
            let positions: Vec<_> = cart.lines.iter().map(|line| line.position).collect();
            prop_assert!(positions.is_sorted());
        }
    }
}
