//! What order, payment and shipping say to each other: the payloads of their events, so that neither depends on the other.
//!
//! Payloads only grow: a new field has a default, so that old events stay readable. Deliberately absent: behaviour.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::{Money, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, UserId};
use time::OffsetDateTime;

use crate::Topic;

/// What happened, as a type of the service that says it.
pub trait Payload: Serialize + DeserializeOwned {
    /// The topic it is said on.
    const TOPIC: Topic;
    /// Its name on the bus; never changes.
    const KIND: &'static str;

    /// The order it is about: events of one order are heard in the order in which they happened.
    fn order_id(&self) -> OrderId;
}

macro_rules! payload {
    ($topic:ident, $name:ident) => {
        impl Payload for $name {
            const TOPIC: Topic = Topic::$topic;
            const KIND: &'static str = stringify!($name);

            fn order_id(&self) -> OrderId {
                self.order_id
            }
        }
    };
}

/// Order: accepted, units held, to be paid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderCreated {
    /// The order.
    pub order_id: OrderId,
    /// Whose it is.
    pub user_id: UserId,
    /// What is to be charged.
    pub total: Money,
    /// Names a way to pay at the provider; never a card number.
    pub payment_token: String,
    /// Until when its units are held unless it is claimed.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// What it is judged by, where orders are judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<OrderFacts>,
}

/// What tells an honest order from others, without a name, a street or an address: those are only compared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderFacts {
    /// Whose it is.
    pub user_id: UserId,
    /// Where it goes, as a digest: equal for one door however it is written.
    pub address: String,
    /// The country that it goes to, ISO 3166-1 alpha-2.
    pub country: String,
    /// Who keeps the shopper's mailbox: what stands behind the `@`, in lower case.
    pub mail_domain: Option<String>,
}

/// How an order was judged when its amount was kept ready.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Assessment {
    /// The sum of what spoke against it; 0 if nothing did.
    pub score: u16,
    /// What spoke against it, each a word that never changes.
    pub reasons: Vec<String>,
    /// What follows.
    pub decision: Decision,
}

/// What follows from an assessment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The order goes on.
    Approve,
    /// A person looks at it first.
    Review,
    /// There will be no sale.
    Refuse,
}

/// Order: its units are taken for its authorized payment and can no longer expire; the money may move.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderClaimed {
    /// The order.
    pub order_id: OrderId,
}

/// Order: ended without a sale; whatever was paid goes back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderCancelled {
    /// The order.
    pub order_id: OrderId,
    /// Why, for a person.
    pub reason: String,
}

/// Order: paid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderConfirmed {
    /// The order.
    pub order_id: OrderId,
}

/// Order: its first parcel has left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderShipped {
    /// The order.
    pub order_id: OrderId,
}

/// Order: all of it has arrived.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderDelivered {
    /// The order.
    pub order_id: OrderId,
}

/// Shipping: a parcel has left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShipmentSent {
    /// The order.
    pub order_id: OrderId,
    /// The parcel.
    pub shipment_id: ShipmentId,
    /// Who takes it.
    pub carrier: String,
    /// The carrier's name for it.
    pub tracking_code: Option<String>,
    /// Where its way can be followed.
    pub tracking_url: Option<String>,
    /// Whether nothing of the order is left to send.
    pub whole: bool,
}

/// Shipping: a parcel has arrived.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShipmentDelivered {
    /// The order.
    pub order_id: OrderId,
    /// The parcel.
    pub shipment_id: ShipmentId,
}

/// Shipping: goods came back, and somebody has looked at them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderReturned {
    /// The order.
    pub order_id: OrderId,
    /// The return.
    pub return_id: ReturnId,
    /// Units that are for sale again.
    pub restocked: u64,
    /// Units that are not.
    pub written_off: u64,
}

/// Payment: the provider keeps the amount ready for us; nothing has moved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PaymentAuthorized {
    /// The order.
    pub order_id: OrderId,
    /// Its payment.
    pub payment_id: PaymentId,
    /// How it was judged, where orders are judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assessment: Option<Assessment>,
}

/// Payment: the provider wants to hear from the shopper first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PaymentChallengeRequired {
    /// The order.
    pub order_id: OrderId,
    /// Its payment.
    pub payment_id: PaymentId,
    /// The provider's name for its question.
    pub challenge_id: String,
}

/// Payment: there will be no money for this order, whether it was claimed already or not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PaymentFailed {
    /// The order.
    pub order_id: OrderId,
    /// Its payment.
    pub payment_id: PaymentId,
    /// Why, for a person.
    pub reason: String,
}

/// Payment: the money is ours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PaymentCaptured {
    /// The order.
    pub order_id: OrderId,
    /// Its payment.
    pub payment_id: PaymentId,
    /// What was taken.
    pub amount: Money,
}

/// Payment: given back before it was taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PaymentVoided {
    /// The order.
    pub order_id: OrderId,
    /// Its payment.
    pub payment_id: PaymentId,
}

/// Payment: given back after it was taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PaymentRefunded {
    /// The order.
    pub order_id: OrderId,
    /// Its payment.
    pub payment_id: PaymentId,
    /// What was given back: whatever no [`RefundIssued`] has told of, nothing if they told of all.
    pub amount: Money,
}

/// Payment: a part of it was given back after it was taken. Said once for each refund.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefundIssued {
    /// The order.
    pub order_id: OrderId,
    /// Its payment.
    pub payment_id: PaymentId,
    /// The refund.
    pub refund_id: RefundId,
    /// What was given back.
    pub amount: Money,
    /// Why, for the shopper.
    pub reason: String,
}

payload!(OrderEvents, OrderCreated);
payload!(OrderEvents, OrderClaimed);
payload!(OrderEvents, OrderCancelled);
payload!(OrderEvents, OrderConfirmed);
payload!(OrderEvents, OrderShipped);
payload!(OrderEvents, OrderDelivered);
payload!(ShippingEvents, ShipmentSent);
payload!(ShippingEvents, ShipmentDelivered);
payload!(ShippingEvents, OrderReturned);
payload!(PaymentEvents, PaymentAuthorized);
payload!(PaymentEvents, PaymentChallengeRequired);
payload!(PaymentEvents, PaymentFailed);
payload!(PaymentEvents, PaymentCaptured);
payload!(PaymentEvents, PaymentVoided);
payload!(PaymentEvents, PaymentRefunded);
payload!(PaymentEvents, RefundIssued);

#[cfg(test)]
mod tests {
    use shared::Currency;
    use shared::id::Slot;

    use super::*;

    #[test]
    fn the_form_of_an_order_created_on_the_bus_does_not_change() {
        let slot = Slot::new(5).unwrap();
        let created = OrderCreated {
            order_id: OrderId::mint(1_800_000_000_000, slot, [1; 8]),
            user_id: UserId::mint(1_800_000_000_000, slot, 3).unwrap(),
            total: Money::new(1250, Currency::GBP).unwrap(),
            payment_token: "tok_success".to_owned(),
            expires_at: time::macros::datetime!(2030-01-01 12:15 UTC),
            facts: None,
        };
        let json = serde_json::to_value(&created).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "order_id": created.order_id.to_string(),
                "user_id": created.user_id.to_string(),
                "total": {"minor": 1250, "currency": "GBP"},
                "payment_token": "tok_success",
                "expires_at": "2030-01-01T12:15:00Z",
            })
        );
        assert_eq!(serde_json::from_value::<OrderCreated>(json).unwrap(), created);
    }
}
