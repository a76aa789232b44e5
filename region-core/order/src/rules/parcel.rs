//! From a request's body to a parcel, or to goods that come back, that can be decided about.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::api::order::{NewLabel, NewReturn, NewShipment, OrderItem};
use shared::{Quantity, RegionName, Sku};

use super::checked::{InvalidField, check_text, checked_items, invalid};

/// Longest address at which a parcel can be followed, in characters.
const MAX_URL_LENGTH: usize = 500;
/// Heaviest parcel that a label is bought for.
const MAX_WEIGHT_GRAMS: u32 = 70_000;
/// Longest reason for a cancellation or a return, in characters.
const MAX_REASON_LENGTH: usize = 200;

/// A parcel whose every field is within its rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CheckedShipment {
    /// Units of each SKU, repeated ones summed; whatever is left, if absent.
    pub(crate) items: Option<BTreeMap<Sku, Quantity>>,
    /// The region that it leaves from, if that is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<RegionName>,
    /// How it goes.
    #[serde(flatten)]
    pub(crate) by: By,
}

/// How a parcel goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum By {
    /// It has left.
    Hand {
        /// Who takes it.
        carrier: String,
        /// The carrier's name for it.
        tracking_code: Option<String>,
        /// Where its way can be followed.
        tracking_url: Option<String>,
    },
    /// A label is to be bought for it.
    Label(NewLabel),
}

impl CheckedShipment {
    /// Checks every field of `body`.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub(crate) fn check(body: NewShipment) -> Result<Self, InvalidField> {
        let NewShipment { items, carrier, tracking_code, tracking_url, label, from } = body;
        let by = match label {
            Some(label) => {
                let by_hand = !carrier.is_empty() || tracking_code.is_some() || tracking_url.is_some();
                if by_hand {
                    return Err(invalid("label", "who takes it, and under what name, comes with the label"));
                }
                By::Label(checked_label(label)?)
            }
            None => by_hand(&carrier, tracking_code, tracking_url)?,
        };
        Ok(Self { items: items.map(|items| checked_items(&items)).transpose()?, from, by })
    }

    /// SHA-256 over every field in a fixed order: equal for requests that mean the same.
    pub(crate) fn request_hash(&self) -> [u8; 32] {
        // Maps with string keys, strings and numbers: serialising cannot fail.
        Sha256::digest(serde_json::to_vec(self).unwrap_or_default()).into()
    }
}

fn by_hand(carrier: &str, tracking_code: Option<String>, tracking_url: Option<String>) -> Result<By, InvalidField> {
    check_text("carrier", Some(carrier), 1, 60)?;
    check_text("tracking_code", tracking_code.as_deref(), 1, 60)?;
    check_url("tracking_url", tracking_url.as_deref())?;
    let tracking_code = tracking_code.map(|code| code.trim().to_owned());
    Ok(By::Hand { carrier: carrier.trim().to_owned(), tracking_code, tracking_url })
}

fn checked_label(label: NewLabel) -> Result<NewLabel, InvalidField> {
    let NewLabel { service, weight_grams } = label;
    check_text("label.service", Some(&service), 1, 60)?;
    if !(1..=MAX_WEIGHT_GRAMS).contains(&weight_grams) {
        return Err(invalid("label.weight_grams", "1 to 70000"));
    }
    Ok(NewLabel { service: service.trim().to_owned(), weight_grams })
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
        let carrier = "Royal Mail".into();
        NewShipment { items: None, carrier, tracking_code: None, tracking_url: None, label: None, from: None }
    }

    fn labelled(service: &str, weight_grams: u32) -> NewShipment {
        let label = NewLabel { service: service.to_owned(), weight_grams };
        NewShipment { carrier: String::new(), label: Some(label), ..parcel() }
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
    fn a_parcel_goes_by_hand_or_under_a_label_and_never_both() {
        let field = |body| CheckedShipment::check(body).unwrap_err().field;
        assert_eq!(field(NewShipment { carrier: "Royal Mail".into(), ..labelled("Tracked", 500) }), "label");
        assert_eq!(field(labelled(" ", 500)), "label.service");
        assert_eq!(field(labelled("Tracked", 0)), "label.weight_grams");
        assert_eq!(field(labelled("Tracked", 70_001)), "label.weight_grams");
        let hash = |body| CheckedShipment::check(body).unwrap().request_hash();
        assert_eq!(hash(labelled(" Tracked", 500)), hash(labelled("Tracked", 500)));
        assert_ne!(hash(labelled("Tracked", 500)), hash(labelled("Tracked", 501)));
    }

    #[test]
    fn a_parcel_that_was_asked_for_before_there_were_labels_has_the_same_hash() {
        let then = br#"{"items":null,"carrier":"Royal Mail","tracking_code":null,"tracking_url":null}"#;
        let then: [u8; 32] = Sha256::digest(then).into();
        assert_eq!(CheckedShipment::check(parcel()).unwrap().request_hash(), then);
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
