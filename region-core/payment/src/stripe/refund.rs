//! What Stripe says about its Refunds.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Deserialize;
use shared::{Currency, Money, RefundId};

use super::REFUND_METADATA;
use super::amount::to_minor;
use super::answer::{check, unreadable};
use crate::provider::{ProviderError, ProviderRefund, RefundStanding};

/// A Refund, as far as it concerns us.
#[derive(Debug, Deserialize)]
struct Refund {
    amount: i64,
    currency: String,
    status: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    failure_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct List {
    data: Vec<Refund>,
    #[serde(default)]
    has_more: bool,
}

/// The Refund that an answer shows.
pub(super) fn read(status: StatusCode, answer: &[u8]) -> Result<ProviderRefund, ProviderError> {
    check(status, answer)?;
    shown(serde_json::from_slice(answer).map_err(|error| unreadable(&error.to_string()))?)
}

/// The Refund of that name of ours in a list. One that may be on another page is not said to be absent.
pub(super) fn find(
    status: StatusCode,
    answer: &[u8],
    refund: RefundId,
) -> Result<Option<ProviderRefund>, ProviderError> {
    check(status, answer)?;
    let List { data, has_more } = serde_json::from_slice(answer).map_err(|error| unreadable(&error.to_string()))?;
    let name = refund.to_string();
    match data.into_iter().find(|refund| refund.metadata.get(REFUND_METADATA) == Some(&name)) {
        Some(refund) => shown(refund).map(Some),
        None if has_more => Err(ProviderError::Unknown("there are more refunds than Stripe lists at once".to_owned())),
        None => Ok(None),
    }
}

/// See <https://docs.stripe.com/api/refunds/object#refund_object-status>.
fn shown(refund: Refund) -> Result<ProviderRefund, ProviderError> {
    let currency: Currency =
        refund.currency.to_ascii_uppercase().parse().map_err(|_| unreadable("an unknown currency"))?;
    let minor = to_minor(refund.amount, currency).ok_or_else(|| unreadable("an amount between two minor units"))?;
    let standing = match refund.status.as_deref() {
        Some("succeeded") => RefundStanding::Done,
        Some("pending" | "requires_action") => RefundStanding::Pending,
        Some(ended @ ("failed" | "canceled")) => {
            RefundStanding::Failed(refund.failure_reason.unwrap_or_else(|| ended.to_owned()))
        }
        other => return Err(ProviderError::Unknown(format!("the refund is {}", other.unwrap_or("without a status")))),
    };
    let amount = Money::new(minor, currency).map_err(|error| unreadable(&error.to_string()))?;
    Ok(ProviderRefund { amount, standing })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::id::Slot;

    use super::*;

    fn refund_id() -> RefundId {
        RefundId::mint(1_800_000_000_000, Slot::new(9).unwrap(), [1; 8])
    }

    /// As the API's reference shows one, without what nobody reads here.
    fn refund(status: &str, more: &Value) -> Value {
        let mut refund = json!({
            "id": "re_1Nispe2eZvKYlo2Cd31jOCgZ", "object": "refund", "amount": 1000, "currency": "gbp",
            "payment_intent": "pi_1", "metadata": { "refund_id": refund_id() }, "status": status,
        });
        refund.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        refund
    }

    fn standing(status: &str, more: &Value) -> Result<RefundStanding, ProviderError> {
        read(StatusCode::OK, refund(status, more).to_string().as_bytes()).map(|refund| refund.standing)
    }

    #[test]
    fn every_documented_status_has_its_meaning() {
        let none = json!({});
        assert_eq!(standing("succeeded", &none), Ok(RefundStanding::Done));
        assert_eq!(standing("pending", &none), Ok(RefundStanding::Pending));
        assert_eq!(standing("requires_action", &none), Ok(RefundStanding::Pending));
        let lost = json!({ "failure_reason": "lost_or_stolen_card" });
        assert_eq!(standing("failed", &lost), Ok(RefundStanding::Failed("lost_or_stolen_card".to_owned())));
        assert_eq!(standing("canceled", &none), Ok(RefundStanding::Failed("canceled".to_owned())));
        for unknown in [standing("a_word_of_tomorrow", &none), standing("pending", &json!({ "status": null }))] {
            assert!(matches!(unknown, Err(ProviderError::Unknown(_))), "{unknown:?}");
        }
    }

    #[test]
    fn a_refund_is_found_by_our_name_and_not_said_to_be_absent_before_all_were_seen() {
        let listed = |data: &Value, has_more: bool, id| {
            let list = json!({ "object": "list", "data": data, "has_more": has_more });
            find(StatusCode::OK, list.to_string().as_bytes(), id)
        };
        let (own, other) = (refund_id(), RefundId::mint(1, Slot::new(9).unwrap(), [2; 8]));
        let all = json!([refund("succeeded", &json!({ "metadata": {} })), refund("succeeded", &json!({}))]);
        let found = listed(&all, false, own).unwrap().unwrap();
        assert_eq!(
            found,
            ProviderRefund { amount: Money::new(1000, Currency::GBP).unwrap(), standing: RefundStanding::Done }
        );
        assert_eq!(listed(&all, false, other), Ok(None));
        assert!(matches!(listed(&all, true, other), Err(ProviderError::Unknown(_))));
    }
}
