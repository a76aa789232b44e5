//! The words of what is told, and their two forms: plain text and HTML.
//!
//! What a shopper typed stands only in the letter of an order that is paid: else whoever orders without paying could have
//! this shop write his own words to strangers.

use askama::Template as _;
use region_core_events::contract::{OrderCancelled, PaymentRefunded, RefundIssued, ShipmentDelivered, ShipmentSent};
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::OrderId;
use shared::api::order::{Address, Order, PaymentStatus};
use time::OffsetDateTime;

use crate::Shop;
use crate::rules::Template;

/// A letter, not yet in any form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter {
    /// The shop's name.
    pub store: String,
    /// What the mail is about; one line.
    pub subject: String,
    /// Its first line.
    pub headline: String,
    /// What is told, a sentence or two each.
    pub paragraphs: Vec<String>,
    /// What was ordered, if that is told.
    pub receipt: Option<Receipt>,
    /// Where it goes, line by line; empty if that is not told.
    pub address: Vec<String>,
    /// What people call the order.
    pub number: String,
    /// `21 November 2026`.
    pub placed: String,
    /// The order's page.
    pub link: String,
    /// Where to say that no more of this kind is wanted, if it can be done without.
    pub unsubscribe: Option<String>,
}

/// What was ordered and what it comes to, spelt for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Quantity, title and price of each line.
    pub lines: Vec<(String, String, String)>,
    /// Sum of the lines.
    pub subtotal: String,
    /// Cost of delivery.
    pub delivery: String,
    /// What was charged.
    pub total: String,
}

#[derive(askama::Template)]
#[template(path = "letter.txt", escape = "none")]
struct PlainText<'a> {
    letter: &'a Letter,
}

#[derive(askama::Template)]
#[template(path = "letter.html")]
struct Html<'a> {
    letter: &'a Letter,
}

/// What `template` says about `order`, as it stands now, after an event with that payload.
///
/// # Errors
/// When the payload is not what the template needs.
pub fn letter(shop: &Shop, template: Template, payload: &Value, order: &Order) -> Result<Letter, serde_json::Error> {
    let number = order.order_id.short();
    let mut letter = Letter {
        store: shop.name().to_owned(),
        subject: String::new(),
        headline: String::new(),
        paragraphs: Vec::new(),
        receipt: None,
        address: Vec::new(),
        placed: day(order.created_at),
        link: link(shop, order.order_id),
        unsubscribe: None,
        number,
    };
    match template {
        Template::OrderConfirmed => confirmed(&mut letter, order),
        Template::OrderCancelled => cancelled(&mut letter, order, &read::<OrderCancelled>(payload)?.reason),
        Template::PaymentRefunded => refunded(&mut letter, &read::<PaymentRefunded>(payload)?),
        Template::RefundIssued => part_refunded(&mut letter, &read::<RefundIssued>(payload)?),
        Template::ShipmentSent => sent(&mut letter, &read::<ShipmentSent>(payload)?),
        Template::ShipmentDelivered => delivered(&mut letter, order, &read::<ShipmentDelivered>(payload)?),
    }
    Ok(letter)
}

impl Letter {
    /// Plain text, lines ended by `\n`.
    ///
    /// # Errors
    /// Never: all fields are text.
    pub fn text(&self) -> Result<String, askama::Error> {
        PlainText { letter: self }.render()
    }

    /// A whole page that needs nothing from elsewhere: no pictures, no scripts, nothing that tells who reads it.
    ///
    /// # Errors
    /// Never: all fields are text.
    pub fn html(&self) -> Result<String, askama::Error> {
        Html { letter: self }.render()
    }
}

fn read<T: DeserializeOwned>(payload: &Value) -> Result<T, serde_json::Error> {
    T::deserialize(payload)
}

fn confirmed(letter: &mut Letter, order: &Order) {
    letter.subject = format!("Your order {} is confirmed", letter.number);
    "Thank you, it is yours".clone_into(&mut letter.headline);
    letter.paragraphs = vec!["The payment went through, and we are packing.".to_owned()];
    letter.receipt = Some(receipt(order));
    letter.address = address(&order.shipping_address);
}

fn cancelled(letter: &mut Letter, order: &Order, reason: &str) {
    letter.subject = format!("Your order {} is cancelled", letter.number);
    "This order was cancelled".clone_into(&mut letter.headline);
    letter.paragraphs = match order.payment {
        PaymentStatus::Declined => {
            vec!["Your bank said no, so nothing was charged and the order is cancelled.".to_owned()]
        }
        payment => vec![sentence(reason), money_after_cancelling(payment).to_owned()],
    };
}

const fn money_after_cancelling(payment: PaymentStatus) -> &'static str {
    match payment {
        PaymentStatus::Refunded => "The money is on its way back to you.",
        PaymentStatus::Captured => "Your money is being given back; we write again when it is on its way.",
        PaymentStatus::Processing => "Should anything have been charged, you get it back.",
        PaymentStatus::ChallengeRequired | PaymentStatus::Declined | PaymentStatus::Voided => "Nothing was charged.",
    }
}

fn refunded(letter: &mut Letter, refunded: &PaymentRefunded) {
    letter.subject = format!("Your money for order {} is on its way back", letter.number);
    "Your money is on its way back".clone_into(&mut letter.headline);
    letter.paragraphs = vec![if refunded.amount.minor() > 0 {
        format!("We have given back {}. Your bank may take a few days to show it.", refunded.amount)
    } else {
        "We had given all of it back before, as we told you then.".to_owned()
    }];
}

fn part_refunded(letter: &mut Letter, refund: &RefundIssued) {
    letter.subject = format!("Some money for order {} is on its way back", letter.number);
    letter.headline = format!("{} is on its way back", refund.amount);
    letter.paragraphs = vec![
        format!("We have given back {} of what you paid. Your bank may take a few days to show it.", refund.amount),
        sentence(&refund.reason),
    ];
}

fn sent(letter: &mut Letter, parcel: &ShipmentSent) {
    letter.subject = format!("Your order {} is on its way", letter.number);
    let headline = if parcel.whole { "It is on its way" } else { "Part of it is on its way" };
    headline.clone_into(&mut letter.headline);
    let carrier = one_line(&parcel.carrier);
    letter.paragraphs.push(match &parcel.tracking_code {
        Some(code) => format!("Your parcel is with {carrier}, who know it as {}.", one_line(code)),
        None => format!("Your parcel is with {carrier}."),
    });
    letter.paragraphs.extend(parcel.tracking_url.as_ref().map(|url| format!("Follow it at {url}")));
    if !parcel.whole {
        letter.paragraphs.push("The rest follows in another parcel.".to_owned());
    }
}

fn delivered(letter: &mut Letter, order: &Order, parcel: &ShipmentDelivered) {
    letter.subject = format!("A parcel of your order {} has arrived", letter.number);
    "Your parcel has arrived".clone_into(&mut letter.headline);
    let own = order.shipments.iter().find(|shipment| shipment.shipment_id == parcel.shipment_id);
    let carrier = own.map(|shipment| format!(", says {}", one_line(&shipment.carrier))).unwrap_or_default();
    letter.paragraphs = vec![format!("It has arrived{carrier}. We hope you like what is in it.")];
}

fn receipt(order: &Order) -> Receipt {
    let line = |line: &shared::api::order::LineItem| {
        (line.quantity.units().to_string(), one_line(&line.title), line.line_total.to_string())
    };
    Receipt {
        lines: order.lines.iter().map(line).collect(),
        subtotal: order.subtotal.to_string(),
        delivery: delivery(order),
        total: order.total.to_string(),
    }
}

/// `£8.95 (Express delivery, 1 day)`.
fn delivery(order: &Order) -> String {
    let price = if order.shipping.minor() == 0 { "Free".to_owned() } else { order.shipping.to_string() };
    match &order.delivery {
        Some(delivery) => format!("{price} ({}, {})", one_line(&delivery.name), delivery.days),
        None => price,
    }
}

fn address(address: &Address) -> Vec<String> {
    address.lines().map(one_line).collect()
}

/// Where the shopper finds the order, on whichever device he was signed in.
fn link(shop: &Shop, order: OrderId) -> String {
    format!("{}/orders/{order}", shop.origin())
}

/// On one line, whatever was typed.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let text = one_line(text);
    let mut characters = text.trim_end_matches('.').chars();
    let first: String = characters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

/// `21 November 2026`.
fn day(at: OffsetDateTime) -> String {
    format!("{} {} {}", at.day(), at.month(), at.year())
}

#[cfg(test)]
mod tests;
