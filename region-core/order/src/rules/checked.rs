//! From a request's body to an order that can be decided about.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::api::MAX_LINES;
use shared::api::order::{Address, DeliveryOption, OrderItem, PlaceOrder, QuoteRequest};
use shared::{EmailAddress, Money, PhoneNumber, Quantity, Sku, UserId, country, text};

use super::DeliveryWish;

/// Longest payment token, in characters.
const MAX_TOKEN_LENGTH: usize = 200;

/// A field of a request that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidField {
    /// Its JSON path.
    pub field: String,
    /// The rule.
    pub reason: String,
}

pub(super) fn invalid(field: &str, reason: impl ToString) -> InvalidField {
    InvalidField { field: field.to_owned(), reason: reason.to_string() }
}

/// An order whose every field is within its rules; each SKU stands once. It is read back only from another core of the
/// region, which has checked it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedOrder {
    /// Units of each SKU, repeated ones summed.
    pub items: BTreeMap<Sku, Quantity>,
    /// Where to send it.
    pub shipping_address: Address,
    /// Names a way to pay at the provider.
    pub payment_token: String,
    /// What the shopper saw.
    pub expected_total: Money,
    /// The version of the cart that it takes, if it takes it.
    pub cart_version: Option<u64>,
    /// Where to write to.
    pub email: Option<EmailAddress>,
    /// How it is delivered. Left out where nothing was chosen, so that such a request means what it always has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_option: Option<String>,
    /// Where to text. Left out if there is none: requests of before then keep their hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<PhoneNumber>,
}

impl CheckedOrder {
    /// Checks every field of `body`, sent by `caller`.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub fn check(body: PlaceOrder, caller: UserId) -> Result<Self, InvalidField> {
        if body.user_id.is_some_and(|user| user != caller) {
            return Err(invalid("user_id", "not the caller"));
        }
        let items = checked_items(&body.items)?;
        check_address(&body.shipping_address)?;
        let token = &body.payment_token;
        if !(1..=MAX_TOKEN_LENGTH).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("payment_token", "1 to 200 visible ASCII characters"));
        }
        if text::holds_card_number(token) {
            return Err(invalid("payment_token", CARD_NUMBER));
        }
        check_option(body.delivery_option.as_deref())?;
        if body.phone.as_ref().is_some_and(|phone| text::holds_card_number(phone.as_str())) {
            return Err(invalid("phone", CARD_NUMBER));
        }
        if body.expected_total.minor() < 0 {
            return Err(invalid("expected_total.minor", "a total is never below zero"));
        }
        Ok(Self {
            items,
            shipping_address: body.shipping_address,
            payment_token: body.payment_token,
            expected_total: body.expected_total,
            cart_version: body.cart_version,
            email: body.email,
            delivery_option: body.delivery_option,
            phone: body.phone,
        })
    }

    /// Where it goes and how.
    #[must_use]
    pub fn wish(&self) -> DeliveryWish<'_> {
        DeliveryWish { country: Some(&self.shipping_address.country), option: self.delivery_option.as_deref() }
    }

    /// SHA-256 over every field in a fixed order: equal for requests that mean the same.
    #[must_use]
    pub fn request_hash(&self) -> [u8; 32] {
        // Maps with string keys, strings and numbers: serialising cannot fail.
        Sha256::digest(serde_json::to_vec(self).unwrap_or_default()).into()
    }
}

/// Where what is asked about would go, and how.
///
/// # Errors
/// The field that breaks a rule.
pub(crate) fn checked_wish(request: &QuoteRequest) -> Result<DeliveryWish<'_>, InvalidField> {
    let wish = DeliveryWish { country: request.country.as_deref(), option: request.delivery_option.as_deref() };
    match wish.country {
        Some(code) => check_country("country", code)?,
        None if wish.option.is_some() => return Err(invalid("country", "needed to know what delivery costs")),
        None => {}
    }
    check_option(wish.option)?;
    Ok(wish)
}

/// Sums repeated SKUs and checks the bounds of an order: 1 to 1,000 lines of 1 to 100,000 units.
///
/// # Errors
/// The item that breaks a rule.
pub fn checked_items(items: &[OrderItem]) -> Result<BTreeMap<Sku, Quantity>, InvalidField> {
    if !(1..=MAX_LINES).contains(&items.len()) {
        return Err(invalid("items", "1 to 1,000 items"));
    }
    let mut sums: BTreeMap<Sku, Quantity> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let sum = match sums.get(&item.sku) {
            Some(earlier) => earlier
                .checked_add(item.quantity)
                .map_err(|error| invalid(&format!("items[{index}].quantity"), error))?,
            None => item.quantity,
        };
        sums.insert(item.sku.clone(), sum);
    }
    Ok(sums)
}

const CARD_NUMBER: &str = "this looks like a card number; never send one";

fn check_address(address: &Address) -> Result<(), InvalidField> {
    let Address { name, line1, line2, city, region, postal_code, country: country_code } = address;
    check_text("shipping_address.name", Some(name), 1, 100)?;
    check_text("shipping_address.line1", Some(line1), 1, 200)?;
    check_text("shipping_address.line2", line2.as_deref(), 0, 200)?;
    check_text("shipping_address.city", Some(city), 1, 100)?;
    check_text("shipping_address.region", region.as_deref(), 0, 100)?;
    check_text("shipping_address.postal_code", postal_code.as_deref(), 0, 20)?;
    check_country("shipping_address.country", country_code)
}

fn check_country(field: &str, code: &str) -> Result<(), InvalidField> {
    if country::is_country(code) { Ok(()) } else { Err(invalid(field, "an upper-case ISO 3166-1 alpha-2 code")) }
}

fn check_option(id: Option<&str>) -> Result<(), InvalidField> {
    if id.is_none_or(DeliveryOption::is_id) {
        Ok(())
    } else {
        Err(invalid("delivery_option", "1 to 40 of a to z, 0 to 9 and -"))
    }
}

pub(super) fn check_text(
    field: &str,
    value: Option<&str>,
    shortest: usize,
    longest: usize,
) -> Result<(), InvalidField> {
    let Some(value) = value else { return Ok(()) };
    let length = value.trim().chars().count();
    if !(shortest..=longest).contains(&length) {
        return Err(invalid(field, format!("{shortest} to {longest} characters")));
    }
    if value.chars().any(char::is_control) {
        return Err(invalid(field, "control characters are not allowed"));
    }
    if text::holds_card_number(value) { Err(invalid(field, CARD_NUMBER)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::Currency;
    use shared::id::{Slot, USER_EPOCH_MS};

    use super::*;

    fn caller() -> UserId {
        UserId::mint(USER_EPOCH_MS, Slot::new(1).unwrap(), 1).unwrap()
    }

    fn item(sku: &str, quantity: i64) -> OrderItem {
        OrderItem { sku: sku.parse().unwrap(), quantity: Quantity::new(quantity).unwrap() }
    }

    fn body() -> PlaceOrder {
        PlaceOrder {
            items: vec![item("MUG", 2), item("HEART", 1), item("mug", 3)],
            shipping_address: Address {
                name: "Ada Lovelace".into(),
                line1: "12 St James's Square".into(),
                line2: None,
                city: "London".into(),
                region: None,
                postal_code: Some("SW1Y 4JH".into()),
                country: "GB".into(),
            },
            payment_token: "tok_success".into(),
            expected_total: Money::new(1000, Currency::GBP).unwrap(),
            cart_version: None,
            email: None,
            delivery_option: None,
            phone: None,
            user_id: None,
        }
    }

    #[test]
    fn repeated_skus_are_one_line() {
        let order = CheckedOrder::check(body(), caller()).unwrap();
        let lines: Vec<_> = order.items.iter().map(|(sku, quantity)| (sku.as_str(), quantity.units())).collect();
        assert_eq!(lines, [("HEART", 1), ("MUG", 5)]);
    }

    #[test]
    fn every_bad_field_is_named() {
        type Spoil = fn(&mut PlaceOrder);
        let cases: [(&str, Spoil); 11] = [
            ("phone", |body| body.phone = Some("+378282246310005".parse().unwrap())),
            ("items", |body| body.items.clear()),
            ("items[1].quantity", |body| body.items = vec![item("A", 60_000), item("A", 60_000)]),
            ("user_id", |body| body.user_id = Some(UserId::from_i64(1).unwrap())),
            ("shipping_address.name", |body| body.shipping_address.name = "  ".into()),
            ("shipping_address.line1", |body| body.shipping_address.line1 = "4242 4242 4242 4242".into()),
            ("shipping_address.city", |body| body.shipping_address.city = "a\u{0}b".into()),
            ("shipping_address.country", |body| body.shipping_address.country = "UK".into()),
            ("payment_token", |body| body.payment_token = "4242424242424242".into()),
            ("delivery_option", |body| body.delivery_option = Some("By owl".into())),
            ("expected_total.minor", |body| body.expected_total = Money::new(-1, Currency::GBP).unwrap()),
        ];
        for (field, spoil) in cases {
            let mut bad = body();
            spoil(&mut bad);
            assert_eq!(CheckedOrder::check(bad, caller()).unwrap_err().field, field);
        }
    }

    #[test]
    fn another_way_of_delivery_is_another_request_and_none_is_the_request_that_it_was() {
        let hash = |option: Option<&str>| {
            let body = PlaceOrder { delivery_option: option.map(str::to_owned), ..body() };
            CheckedOrder::check(body, caller()).unwrap().request_hash()
        };
        assert_ne!(hash(Some("express")), hash(None));
        assert_ne!(hash(Some("express")), hash(Some("standard")));
        let spelled = serde_json::to_string(&CheckedOrder::check(body(), caller()).unwrap()).unwrap();
        assert!(!spelled.contains("delivery"), "orders of before would be other requests: {spelled}");
    }

    proptest! {
        #[test]
        fn the_order_of_items_does_not_change_the_request(mut items in prop::collection::vec(("[A-Z]{1,3}", 1_i64..50), 1..20), seed: u64) {
            let request = |items: &[(String, i64)]| PlaceOrder { items: items.iter().map(|(sku, n)| item(sku, *n)).collect(), ..body() };
            let hash = CheckedOrder::check(request(&items), caller()).unwrap().request_hash();
            let by = usize::try_from(seed % 19).unwrap() % items.len();
            items.rotate_left(by);
            prop_assert_eq!(CheckedOrder::check(request(&items), caller()).unwrap().request_hash(), hash);
            items.push(("ZZZZ".into(), 1));
            prop_assert_ne!(CheckedOrder::check(request(&items), caller()).unwrap().request_hash(), hash);
        }
    }
}
