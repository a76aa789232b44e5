//! Quotes, orders and what became of them.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::{EmailAddress, Money, OrderId, PhoneNumber, Quantity, RegionName, ReturnId, ShipmentId, Sku, UserId};

/// One SKU that is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrderItem {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// Where to send it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Address {
    /// Who receives it, 1 to 100 characters.
    pub name: String,
    /// Street and number, 1 to 200 characters.
    pub line1: String,
    /// Flat or company, at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    /// Town, 1 to 100 characters.
    pub city: String,
    /// State or county, at most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Postal code, at most 20 characters; some countries have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2, upper-case.
    pub country: String,
}

impl Address {
    /// Its lines as a letter bears them, the country's name last.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let Self { name, line1, line2, city, region, postal_code, country } = self;
        let typed = [Some(name), Some(line1), line2.as_ref(), Some(city), region.as_ref(), postal_code.as_ref()];
        typed.into_iter().flatten().map(String::as_str).chain([crate::country::name(country)])
    }
}

/// Ask for a total without ordering: `POST /v1/quotes`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuoteRequest {
    /// 1 to 1,000 items; repeated SKUs are summed.
    pub items: Vec<OrderItem>,
    /// Where it would go, ISO 3166-1 alpha-2, upper-case; without it nothing is said of delivery, nor added for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// How it would be delivered there: the id of one of its options; the cheapest, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_option: Option<String>,
}

/// A way in which an order may be delivered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryOption {
    /// Names it in requests: 1 to 40 of `a` to `z`, `0` to `9` and `-`.
    pub id: String,
    /// Names it for people.
    pub name: String,
    /// What it costs, tax included.
    pub price: Money,
    /// How long it takes.
    pub days: DeliveryDays,
    /// The carrier's service that labels are bought of for it, as the carrier calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl DeliveryOption {
    /// Longest id, in bytes.
    const MAX_ID: usize = 40;

    /// Whether that may be an option's id.
    #[must_use]
    pub fn is_id(text: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=Self::MAX_ID).contains(&text.len()) && text.bytes().all(plain) && !crate::text::holds_card_number(text)
    }
}

/// Days that a delivery takes, at least and at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryDays {
    /// At least.
    pub from: u16,
    /// At most.
    pub to: u16,
}

impl fmt::Display for DeliveryDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        match (from, to) {
            (0, 0) => f.write_str("today"),
            (1, 1) => f.write_str("1 day"),
            (from, to) if from == to => write!(f, "{to} days"),
            (from, to) => write!(f, "{from} to {to} days"),
        }
    }
}

/// How an order is delivered, as its shopper chose it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChosenDelivery {
    /// The option's id.
    pub id: String,
    /// The option's name when it was chosen.
    pub name: String,
    /// How long it was said to take.
    pub days: DeliveryDays,
    /// The carrier's service for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What the order weighs, which its price was made of.
    pub weight_grams: u64,
}

/// A way to pay that a shopper can choose.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PaymentMethod {
    /// What an order names as its `payment_token`: letters, digits, `_` and `-`.
    pub token: String,
    /// What it is called.
    pub name: String,
    /// What happens, in a sentence.
    pub description: String,
}

/// What an order would cost now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quote {
    /// By SKU.
    pub lines: Vec<LineItem>,
    /// Sum of the lines, tax included.
    pub subtotal: Money,
    /// Cost of shipping.
    pub shipping: Money,
    /// What would be charged.
    pub total: Money,
    /// The catalog's version that set these prices.
    pub catalog_version: u64,
    /// The ways to have it delivered there, in the merchant's order; none where nothing is charged for delivery anywhere, or
    /// no country was named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delivery_options: Vec<DeliveryOption>,
    /// The id of the one that `shipping` is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_option: Option<String>,
    /// The ways to pay that a shopper can choose; in a refusal's quote none are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payment_methods: Vec<PaymentMethod>,
}

/// Place an order: `POST /v1/orders` with `Idempotency-Key`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlaceOrder {
    /// 1 to 1,000 items; repeated SKUs are summed.
    pub items: Vec<OrderItem>,
    /// Where to send it.
    pub shipping_address: Address,
    /// Names a way to pay at the payment provider; never a card number.
    pub payment_token: String,
    /// The total that the shopper saw; another one is answered 409 with the new quote.
    pub expected_total: Money,
    /// With it, the order takes the caller's cart: it must be at this version and is emptied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cart_version: Option<u64>,
    /// Where to write to about this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailAddress>,
    /// How it is delivered: the id of an option that a quote for these items and that country offers; the cheapest, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_option: Option<String>,
    /// Where to text when its parcels leave and arrive: giving it asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<PhoneNumber>,
    /// If sent, must be the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
}

/// A browser that is to tell its shopper what becomes of an order, as its `PushSubscription.toJSON()` says it:
/// `POST /v1/orders/{order_id}/push-subscriptions`. `DELETE` has no browser told any more.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct PushSubscription {
    /// Where its push service takes messages for it.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub endpoint: String,
    /// What they are sealed with.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub keys: PushKeys,
}

/// The keys of a browser's subscription, in base64url (RFC 8291 section 2).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct PushKeys {
    /// An uncompressed point of P-256.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub p256dh: String,
    /// 16 bytes.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub auth: String,
}

/// One SKU of an order or quote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LineItem {
    /// What.
    pub sku: Sku,
    /// The product's name when it was priced.
    pub title: String,
    /// How many.
    pub quantity: Quantity,
    /// Price of one, tax included.
    pub unit_price: Money,
    /// `unit_price` times `quantity`.
    pub line_total: Money,
}

/// Where an order stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OrderStatus {
    /// Accepted; its units are held while it is paid.
    Pending,
    /// Paid.
    Confirmed,
    /// Given to the carrier, all of it or its first parcel.
    Shipped,
    /// Received, all of it.
    Delivered,
    /// Ended without a sale; its units are free again and any payment was returned.
    Cancelled,
}

/// Where an order's payment stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PaymentStatus {
    /// Under way.
    Processing,
    /// The shopper must do something first, which his order's `next_action` names until he has. Back from the provider's page, he
    /// has it looked at by `POST /v1/orders/{order_id}/payment/confirm`.
    ChallengeRequired,
    /// The money is ours.
    Captured,
    /// The provider said no.
    Declined,
    /// Given back before it was taken.
    Voided,
    /// Given back after it was taken.
    Refunded,
}

impl PaymentStatus {
    /// As it is spelt in JSON.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::ChallengeRequired => "challenge_required",
            Self::Captured => "captured",
            Self::Declined => "declined",
            Self::Voided => "voided",
            Self::Refunded => "refunded",
        }
    }
}

/// What the shopper must do next for his payment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NextAction {
    /// Say that he confirms it: `POST /v1/orders/{order_id}/payment/confirm`.
    Confirm,
    /// Go to this page of the payment provider, which leads back. Whoever has the address may pay there.
    RedirectToUrl {
        /// Where it is.
        url: String,
    },
}

/// An order: `GET /v1/orders/{order_id}` and the answer to `POST /v1/orders`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Order {
    /// The order.
    pub order_id: OrderId,
    /// Whose it is.
    pub user_id: UserId,
    /// Where it stands.
    pub status: OrderStatus,
    /// Why it was cancelled, for a person.
    pub cancel_reason: Option<String>,
    /// Where its payment stands.
    pub payment: PaymentStatus,
    /// What its shopper must do for it, while it is `challenge_required`; told to him alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_action: Option<NextAction>,
    /// By SKU.
    pub lines: Vec<LineItem>,
    /// Sum of the lines, tax included.
    pub subtotal: Money,
    /// Cost of shipping.
    pub shipping: Money,
    /// What is charged.
    pub total: Money,
    /// Where it goes.
    pub shipping_address: Address,
    /// Where to write to about it.
    pub email: Option<EmailAddress>,
    /// How it is delivered, if there was a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<ChosenDelivery>,
    /// Where to text when its parcels leave and arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<PhoneNumber>,
    /// Its parcels, in the order in which they left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shipments: Vec<Shipment>,
    /// What came back of them, in the order in which it was registered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returns: Vec<Return>,
    /// Rises as the order moves on.
    pub version: u64,
    /// When it was accepted.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub created_at: OffsetDateTime,
    /// Until when its units are held for it, while it is PENDING.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub expires_at: OffsetDateTime,
}

impl Order {
    /// Names the order's state, as an entity tag (RFC 9110 section 8.8.3): equal tags mean equal documents, but for until when
    /// its units are held. The version alone does not say so, for what its payment waits for, later parcels and what comes
    /// back leave the order where it stands.
    #[must_use]
    pub fn state_tag(&self) -> String {
        let arrived = self.shipments.iter().filter(|parcel| parcel.delivered_at.is_some());
        let looked_at = self.returns.iter().filter(|back| back.inspected_at.is_some());
        let said = [self.shipments.len(), arrived.count(), self.returns.len(), looked_at.count()];
        let said_of_goods = said.into_iter().fold(0, usize::saturating_add);
        let said_of_goods = u64::try_from(said_of_goods).unwrap_or(u64::MAX);
        state_tag(self.version, self.payment, said_of_goods, self.next_action.as_ref())
    }
}

/// [`Order::state_tag`], for who has read no more of an order than this. What was said of its goods is how many parcels were
/// sent and how many of them arrived, how many returns were registered and how many of them looked at, in one sum: each only
/// grows. What the shopper must do names itself by a digest: it may change while nothing else does.
#[must_use]
pub fn state_tag(version: u64, payment: PaymentStatus, said_of_goods: u64, asked: Option<&NextAction>) -> String {
    let payment = payment.code();
    match asked {
        None => format!("\"{version}-{payment}-{said_of_goods}\""),
        Some(NextAction::Confirm) => format!("\"{version}-{payment}-{said_of_goods}-confirm\""),
        Some(NextAction::RedirectToUrl { url }) => {
            let digest = Sha256::digest(url.as_bytes());
            format!("\"{version}-{payment}-{said_of_goods}-{}\"", hex::encode(&digest[..8]))
        }
    }
}

/// A parcel that left, for who keeps the store: `POST /v1/orders/{order_id}/shipments` with `Idempotency-Key`. With `label`, it
/// has not left: a label is bought for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewShipment {
    /// What it holds; whatever has not left yet, if absent. Repeated SKUs are summed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<OrderItem>>,
    /// Who takes it, 1 to 60 characters; absent with `label`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub carrier: String,
    /// The carrier's name for it, at most 60 characters; absent with `label`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_code: Option<String>,
    /// Where its way can be followed: an `https` address of at most 500 characters; absent with `label`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_url: Option<String>,
    /// What to buy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<NewLabel>,
    /// The region that it leaves from; with `label`, only the order's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<RegionName>,
}

/// A label to buy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewLabel {
    /// The carrier's service, as the carrier calls it, 1 to 60 characters.
    pub service: String,
    /// What the parcel weighs, 1 to 70,000 grams.
    pub weight_grams: u32,
}

/// Where a label stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LabelState {
    /// It is being bought.
    ToBuy,
    /// It can be printed; its parcel has not left.
    Bought,
    /// The carrier does not sell it. Its units may be sent otherwise.
    Refused,
    /// It is being given back.
    ToVoid,
    /// It was given back. Its units may be sent otherwise.
    Voided,
    /// Nobody takes it back, and it is not used: who keeps the store has said so. Its units may be sent otherwise.
    WrittenOff,
    /// Its parcel has left.
    Sent,
    /// Its parcel has arrived.
    Arrived,
}

/// A label, for who keeps the store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Label {
    /// The parcel that it is for.
    pub shipment_id: ShipmentId,
    /// Where it stands.
    pub state: LabelState,
    /// What is bought.
    pub service: String,
    /// What the parcel weighs.
    pub weight_grams: u32,
    /// What the parcel holds.
    pub items: Vec<OrderItem>,
    /// Who takes it, once it is bought.
    pub carrier: Option<String>,
    /// The carrier's name for it, once it is bought.
    pub tracking_code: Option<String>,
    /// Where its way can be followed.
    pub tracking_url: Option<String>,
    /// What it cost.
    pub cost: Option<Money>,
    /// Where the carrier says that the parcel is, in the carrier's word: `pre_transit`, `in_transit`, `delivered`.
    pub way: Option<String>,
    /// Why it was refused, or could not be given back.
    pub problem: Option<String>,
    /// When it was seen that its parcel had left although the label had been refused, given back or written off.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time"))]
    pub strayed_at: Option<OffsetDateTime>,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub created_at: OffsetDateTime,
}

/// A label that nobody takes back is given up: `POST /v1/orders/{order_id}/shipments/{shipment_id}/write-off`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WriteOff {
    /// Why, for who keeps the store; 1 to 200 characters.
    pub reason: String,
}

/// What is answered where something is asked of a label: it is done soon, and shows among the order's labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LabelAsked {
    /// The parcel that it is for.
    pub shipment_id: ShipmentId,
}

/// An order's labels, for who keeps the store: `GET /v1/orders/{order_id}/labels`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Labels {
    /// Whether labels are sold here: a carrier is configured.
    pub offered: bool,
    /// In the order in which they were asked for.
    pub items: Vec<Label>,
}

/// A parcel of an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Shipment {
    /// The parcel.
    pub shipment_id: ShipmentId,
    /// Who takes it.
    pub carrier: String,
    /// The carrier's name for it.
    pub tracking_code: Option<String>,
    /// Where its way can be followed.
    pub tracking_url: Option<String>,
    /// What it holds.
    pub items: Vec<OrderItem>,
    /// The region that it left from, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<RegionName>,
    /// When it left.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub sent_at: OffsetDateTime,
    /// When it arrived.
    #[serde(with = "time::serde::rfc3339::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time"))]
    pub delivered_at: Option<OffsetDateTime>,
}

/// Goods that come back, for who keeps the store: `POST /v1/orders/{order_id}/returns` with `Idempotency-Key`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewReturn {
    /// Which; no more than has left and has not come back. Repeated SKUs are summed.
    pub items: Vec<OrderItem>,
    /// Why, 1 to 200 characters.
    pub reason: String,
}

/// What became of goods that came back: `POST /v1/orders/{order_id}/returns/{return_id}/inspection`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Inspection {
    /// Units that are for sale again, perhaps none; the rest is written off. Repeated SKUs are summed.
    pub restock: Vec<OrderItem>,
}

/// Goods of an order that came back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Return {
    /// The return.
    pub return_id: ReturnId,
    /// Why.
    pub reason: String,
    /// By SKU.
    pub items: Vec<ReturnedItem>,
    /// When it was registered.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub registered_at: OffsetDateTime,
    /// When somebody had looked at it.
    #[serde(with = "time::serde::rfc3339::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time"))]
    pub inspected_at: Option<OffsetDateTime>,
}

/// One SKU of a return.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReturnedItem {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// Units of them that are for sale again, once somebody has looked; the others are written off.
    pub restocked: Option<u32>,
}

/// Why an order is cancelled, from who keeps the store: `POST /v1/orders/{order_id}/cancel`. Its shopper sends `{}`.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelOrder {
    /// 1 to 200 characters; the shopper reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The caller's orders, newest first: `GET /v1/orders?limit=&cursor=`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrderPage {
    /// Newest first.
    pub items: Vec<OrderSummary>,
    /// Where the next page starts; null on the last.
    pub next_cursor: Option<OrderId>,
}

/// An order on a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrderSummary {
    /// The order.
    pub order_id: OrderId,
    /// Where it stands.
    pub status: OrderStatus,
    /// What is charged.
    pub total: Money,
    /// Units in all.
    pub units: u64,
    /// When it was accepted.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub created_at: OffsetDateTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payments_code_is_its_json_and_no_two_states_share_a_tag() {
        let all = ["processing", "challenge_required", "captured", "declined", "voided", "refunded"];
        let read = |code: &str| serde_json::from_value::<PaymentStatus>(code.into()).unwrap();
        assert_eq!(all.map(|code| read(code).code()), all);
        let tags = all.map(|code| state_tag(1, read(code), 1, None));
        let others =
            [(11, 1), (1, 11)].map(|(version, said)| state_tag(version, PaymentStatus::Processing, said, None));
        let every: std::collections::BTreeSet<_> = tags.into_iter().chain(others).collect();
        assert_eq!(every.len(), 8);
        assert!(every.contains("\"1-captured-1\""));
    }

    #[test]
    fn what_a_shopper_must_do_is_part_of_the_state() {
        let page = |url: &str| NextAction::RedirectToUrl { url: url.to_owned() };
        let actions =
            [None, Some(NextAction::Confirm), Some(page("https://a.example")), Some(page("https://b.example"))];
        let tag = |action: &Option<NextAction>| state_tag(1, PaymentStatus::ChallengeRequired, 0, action.as_ref());
        let every: std::collections::BTreeSet<_> = actions.iter().map(tag).collect();
        assert_eq!(every.len(), 4);
        assert!(every.iter().all(|tag| !tag.contains("example")), "the address is for the shopper alone: {every:?}");
        let json = serde_json::to_value(&actions[2]).unwrap();
        assert_eq!(json, serde_json::json!({ "type": "redirect_to_url", "url": "https://a.example" }));
    }
}
