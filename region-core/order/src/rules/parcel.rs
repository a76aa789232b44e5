//! From a request's body to a parcel, or to goods that come back, that can be decided about.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::api::order::{NewReturn, NewShipment, OrderItem};
use shared::{Quantity, Sku};

use super::checked::{InvalidField, check_text, checked_items, invalid};

/// Longest address at which a parcel can be followed, in characters.
const MAX_URL_LENGTH: usize = 500;
/// Longest reason for a cancellation or a return, in characters.
const MAX_REASON_LENGTH: usize = 200;

/// A parcel whose every field is within its rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CheckedShipment {
    /// Units of each SKU, repeated ones summed; whatever is left, if absent.
    pub(crate) items: Option<BTreeMap<Sku, Quantity>>,
    /// Who takes it.
    pub(crate) carrier: String,
    /// The carrier's name for it.
    pub(crate) tracking_code: Option<String>,
    /// Where its way can be followed.
    pub(crate) tracking_url: Option<String>,
}

impl CheckedShipment {
    /// Checks every field of `body`.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub(crate) fn check(body: NewShipment) -> Result<Self, InvalidField> {
        let NewShipment { items, carrier, tracking_code, tracking_url } = body;
        check_text("carrier", Some(&carrier), 1, 60)?;
        check_text("tracking_code", tracking_code.as_deref(), 1, 60)?;
        check_url("tracking_url", tracking_url.as_deref())?;
        Ok(Self {
            items: items.map(|items| checked_items(&items)).transpose()?,
            carrier: carrier.trim().to_owned(),
            tracking_code: tracking_code.map(|code| code.trim().to_owned()),
            tracking_url,
        })
    }

    /// SHA-256 over every field in a fixed order: equal for requests that mean the same.
    pub(crate) fn request_hash(&self) -> [u8; 32] {
        // Maps with string keys, strings and numbers: serialising cannot fail.
        Sha256::digest(serde_json::to_vec(self).unwrap_or_default()).into()
    }
}

/// Goods that come back, every field within its rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CheckedReturn {
    /// Units of each SKU, repeated ones summed.
    pub(crate) items: BTreeMap<Sku, Quantity>,
    /// Why.
    pub(crate) reason: String,
}

impl CheckedReturn {
    /// Checks every field of `body`.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub(crate) fn check(body: NewReturn) -> Result<Self, InvalidField> {
        let NewReturn { items, reason } = body;
        Ok(Self { items: checked_items(&items)?, reason: checked_reason(&reason)? })
    }

    /// SHA-256 over every field in a fixed order: equal for requests that mean the same.
    pub(crate) fn request_hash(&self) -> [u8; 32] {
        // Maps with string keys, strings and numbers: serialising cannot fail.
        Sha256::digest(serde_json::to_vec(self).unwrap_or_default()).into()
    }
}

/// Units that are for sale again, repeated SKUs summed; there may be none.
pub(crate) fn checked_restock(restock: &[OrderItem]) -> Result<BTreeMap<Sku, Quantity>, InvalidField> {
    if restock.is_empty() {
        return Ok(BTreeMap::new());
    }
    let named = |error: InvalidField| InvalidField { field: error.field.replacen("items", "restock", 1), ..error };
    checked_items(restock).map_err(named)
}

/// Shoppers are led there, so it is an address of the web and nothing that a browser would run.
fn check_url(field: &str, url: Option<&str>) -> Result<(), InvalidField> {
    let Some(url) = url else { return Ok(()) };
    let host = url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let plain = url.len() <= MAX_URL_LENGTH && url.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || !plain {
        return Err(invalid(field, "an https address of at most 500 characters"));
    }
    check_text(field, Some(url), 1, MAX_URL_LENGTH)
}

/// Why an order is cancelled, in words that its shopper reads.
pub(crate) fn checked_reason(reason: &str) -> Result<String, InvalidField> {
    check_text("reason", Some(reason), 1, MAX_REASON_LENGTH)?;
    Ok(reason.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel() -> NewShipment {
        NewShipment { items: None, carrier: "Royal Mail".into(), tracking_code: None, tracking_url: None }
    }

    fn item(units: i64) -> OrderItem {
        OrderItem { sku: "MUG".parse().unwrap(), quantity: Quantity::new(units).unwrap() }
    }

    #[test]
    fn a_parcel_s_fields_are_held_to_their_rules_by_name() {
        let field = |body| CheckedShipment::check(body).unwrap_err().field;
        assert_eq!(field(NewShipment { carrier: " ".into(), ..parcel() }), "carrier");
        assert_eq!(field(NewShipment { tracking_code: Some("x".repeat(61)), ..parcel() }), "tracking_code");
        assert_eq!(
            field(NewShipment { tracking_code: Some("4111 1111 1111 1111".into()), ..parcel() }),
            "tracking_code"
        );
        assert_eq!(field(NewShipment { items: Some(Vec::new()), ..parcel() }), "items");
        for bad in ["", "http://track.example/1", "https://", "https:///1", "javascript:alert(1)", "https://a b"] {
            assert_eq!(field(NewShipment { tracking_url: Some(bad.into()), ..parcel() }), "tracking_url", "{bad:?}");
        }
        let good = NewShipment { tracking_url: Some("https://track.example/RM1?lang=en".into()), ..parcel() };
        assert!(CheckedShipment::check(good).is_ok());
    }

    #[test]
    fn requests_that_mean_the_same_have_one_hash() {
        let hash = |body| CheckedShipment::check(body).unwrap().request_hash();
        let twice = NewShipment { items: Some(vec![item(1), item(2)]), carrier: " Royal Mail".into(), ..parcel() };
        let once = NewShipment { items: Some(vec![item(3)]), ..parcel() };
        assert_eq!(hash(twice), hash(once.clone()));
        assert_ne!(hash(once), hash(parcel()));
    }

    #[test]
    fn a_return_s_fields_are_held_to_their_rules_by_name() {
        let body = |items, reason: &str| NewReturn { items, reason: reason.to_owned() };
        let field = |body| CheckedReturn::check(body).unwrap_err().field;
        assert_eq!(field(body(Vec::new(), "too small")), "items");
        assert_eq!(field(body(vec![item(1)], " ")), "reason");
        let checked = |body| CheckedReturn::check(body).unwrap();
        let (twice, once) =
            (checked(body(vec![item(1), item(2)], " a crack")), checked(body(vec![item(3)], "a crack")));
        assert_eq!(twice.request_hash(), once.request_hash());
        assert_eq!(checked_restock(&[]), Ok(BTreeMap::new()));
        let many = vec![item(100_000), item(1)];
        assert_eq!(checked_restock(&many).unwrap_err().field, "restock[1].quantity");
    }

    #[test]
    fn a_reason_is_short_and_said() {
        assert_eq!(checked_reason(" out of print "), Ok("out of print".to_owned()));
        for bad in [String::new(), "  ".into(), "x".repeat(201), "a\nb".into(), "4111111111111111".into()] {
            assert_eq!(checked_reason(&bad).unwrap_err().field, "reason");
        }
    }
}
