//! What shoppers are told by mail, read back from the mail server that it was handed to.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use shared::api::account::MailPreferences;
use shared::api::desk::{Happening, Notification, NotificationList, NotificationState, Timeline};
use shared::api::order::{Order, OrderStatus, Shipment};
use shared::{EmailAddress, OrderId};
use tests::shopper::{email, key};
use tests::{Client, Shopper, Sites, Visitor, client, goods, until};

use crate::store::{pop, sites};

/// How long a mail may take: the bus is looked at once a second.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// A mail as the catcher read it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Mail {
    pub(crate) subject: String,
    pub(crate) text: String,
    html: String,
    headers: Headers,
    envelope: Envelope,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Headers {
    message_id: String,
    auto_submitted: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Envelope {
    to: Vec<Recipient>,
}

#[derive(Clone, Debug, Deserialize)]
struct Recipient {
    address: String,
}

/// All mails to that address.
async fn mails(to: &EmailAddress) -> Vec<Mail> {
    mails_at(sites(), to).await
}

async fn mails_at(sites: &Sites, to: &EmailAddress) -> Vec<Mail> {
    let catcher = Client::new(sites.addresses.mail.as_deref().unwrap());
    let answer = client::try_send(catcher.request(http::Method::GET, "/email")).await.unwrap();
    let all: Vec<Mail> = answer.expect(200).json();
    all.into_iter().filter(|mail| mail.envelope.to.iter().any(|own| own.address == to.as_str())).collect()
}

/// The mails to that address, once there are so many.
pub(crate) async fn arrived(to: &EmailAddress, count: usize) -> Vec<Mail> {
    arrived_at(sites(), to, count).await
}

/// The same of another store.
pub(crate) async fn arrived_at(sites: &Sites, to: &EmailAddress, count: usize) -> Vec<Mail> {
    let there = async || Some(mails_at(sites, to).await).filter(|mails| mails.len() >= count);
    until(&format!("{count} mails to {to}"), ARRIVES_WITHIN, there).await
}

fn message_ids(mails: &[Mail]) -> BTreeSet<&str> {
    mails.iter().map(|mail| mail.headers.message_id.as_str()).collect()
}

/// Where a mail leads to.
fn link(order: OrderId) -> String {
    let addresses = &sites().addresses;
    format!("{}/orders/{order}", addresses.worker.as_ref().unwrap_or(&addresses.shop))
}

#[tokio::test]
async fn whoever_buys_on_the_pages_is_told_once_what_he_bought() {
    let (visitor, address) = (Visitor::new(pop()), email());
    visitor.add(&goods::plenty()).await;
    let form =
        visitor.checkout("tok_success").await.with("email", address.as_str()).with("name", "Ada <b>Lovelace</b>");
    let order = visitor.order(&form).await;
    let mail = arrived(&address, 1).await.remove(0);
    assert_eq!(mail.subject, format!("Your order {} is confirmed", order.short()));
    assert!(mail.headers.message_id.ends_with(".mail@meridian.test>"), "{}", mail.headers.message_id);
    assert_eq!(mail.headers.auto_submitted, "auto-generated");
    let page = visitor.open(&format!("/orders/{order}")).await.expect(200);
    let total = page.texts(".sum-total .price").remove(0);
    for form in [&mail.text, &mail.html] {
        for told in [total.as_str(), "London", "United Kingdom", &link(order), &order.short()] {
            assert!(form.contains(told), "{told} is not told: {form}");
        }
    }
    assert!(mail.text.contains("Ada <b>Lovelace</b>") && !mail.html.contains("<b>Lovelace"));
    // His next order is of the same shard: whatever there was to send about the first has been sent before.
    let other = email();
    visitor.add(&goods::plenty()).await;
    visitor.order(&visitor.checkout("tok_success").await.with("email", other.as_str())).await;
    arrived(&other, 1).await;
    assert_eq!(message_ids(&mails(&address).await).len(), 1);
}

/// An order to that address that is decided.
async fn bought(shopper: &Shopper, address: &EmailAddress, payment_token: &str) -> Order {
    let mut order = shopper.order_of(&[(&goods::plenty(), 1)], payment_token).await;
    order.email = Some(address.clone());
    let placed: Order = shopper.place(&key(), &order).await.expect(201).json();
    shopper.decided(placed.order_id).await
}

#[tokio::test]
async fn a_cancelled_order_is_told_about_to_its_end_and_once_each() {
    let (shopper, address) = (Shopper::guest(pop()).await, email());
    let order = bought(&shopper, &address, "tok_success").await;
    let path = format!("/v1/orders/{}/cancel", order.order_id);
    shopper.post(&path, &serde_json::json!({})).await.expect(200);
    let told = arrived(&address, 3).await;
    // The catcher lists them in the order in which it had read them, which need not be the order in which they came.
    let about =
        |what: &str| told.iter().find(|mail| mail.subject == what).unwrap_or_else(|| panic!("{what}: {told:?}"));
    let number = order.order_id.short();
    about(&format!("Your order {number} is confirmed"));
    let cancelled = about(&format!("Your order {number} is cancelled"));
    assert!(cancelled.text.contains("You cancelled this order."), "{}", cancelled.text);
    let refunded = about(&format!("Your money for order {number} is on its way back"));
    assert!(refunded.text.contains(&format!("We have given back {}.", order.total)), "{}", refunded.text);
    assert_eq!((told.len(), message_ids(&told).len()), (3, 3));
}

#[tokio::test]
async fn a_bank_that_says_no_is_told_about_without_a_word_that_was_typed() {
    let (shopper, address) = (Shopper::guest(pop()).await, email());
    let order = bought(&shopper, &address, "tok_decline").await;
    assert_eq!(order.status, OrderStatus::Cancelled);
    let mail = arrived(&address, 1).await.remove(0);
    assert_eq!(mail.subject, format!("Your order {} is cancelled", order.order_id.short()));
    assert!(mail.text.contains("nothing was charged"), "{}", mail.text);
    assert!(!mail.text.contains("Ada") && !mail.html.contains("Ada"));
}

#[tokio::test]
async fn parcels_are_told_about_when_they_leave_and_when_they_arrive() {
    let (shopper, operator, address) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await, email());
    let order = bought(&shopper, &address, "tok_success").await;
    let parcels = format!("/v1/orders/{}/shipments", order.order_id);
    let body = serde_json::json!({ "carrier": "Royal Mail", "tracking_code": "RM123456785GB" });
    let parcel: Shipment = operator.post_once(&parcels, &key(), &body).await.expect(201).json();
    let arrival = format!("{parcels}/{}/delivered", parcel.shipment_id);
    operator.post(&arrival, &serde_json::json!({})).await.expect(200);
    let told = arrived(&address, 3).await;
    let about =
        |what: String| told.iter().find(|mail| mail.subject == what).unwrap_or_else(|| panic!("{what}: {told:?}"));
    let number = order.order_id.short();
    let sent = about(format!("Your order {number} is on its way"));
    assert!(sent.text.contains("with Royal Mail, who know it as RM123456785GB."), "{}", sent.text);
    let there = about(format!("A parcel of your order {number} has arrived"));
    assert!(there.text.contains("says Royal Mail"), "{}", there.text);
    assert_eq!((told.len(), message_ids(&told).len()), (3, 3));
}

#[tokio::test]
async fn who_keeps_the_store_sees_what_was_told_and_has_it_sent_once_more() {
    let (shopper, operator, address) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await, email());
    let order = bought(&shopper, &address, "tok_success").await.order_id;
    arrived(&address, 1).await;
    let path = format!("/v1/orders/{order}/notifications");
    let list = async || operator.get(&path).await.expect(200).json::<NotificationList>().items;
    let settled =
        async || Some(list().await).filter(|told| told.iter().all(|told| told.state == NotificationState::Sent));
    let first = until("it is written down that it was sent", ARRIVES_WITHIN, settled).await.remove(0);
    assert_eq!((first.template.as_str(), first.recipient.as_str()), ("order_confirmed", address.as_str()));
    let (again, key) = (format!("{path}/{}/resend", first.notification_id), key());
    let copy: Notification = operator.post_once(&again, &key, &serde_json::json!({})).await.expect(201).json();
    let repeat = operator.post_once(&again, &key, &serde_json::json!({})).await.expect(201);
    assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
    assert_eq!(repeat.json::<Notification>().notification_id, copy.notification_id);
    let told = arrived(&address, 2).await;
    assert_eq!((told[0].subject.as_str(), message_ids(&told).len()), (told[1].subject.as_str(), 2));
    let timeline: Timeline = operator.get(&format!("/v1/orders/{order}/timeline")).await.expect(200).json();
    let by_desk: Vec<_> = timeline.items.iter().filter(|entry| entry.what == Happening::Desk).collect();
    let who = (by_desk[0].detail.as_deref(), by_desk[0].actor);
    assert_eq!((by_desk.len(), who), (1, (Some("resend: order_confirmed"), Some(operator.tokens.user_id))));
}

#[tokio::test]
async fn one_click_in_a_mail_about_a_parcel_stops_the_next_one_and_another_brings_them_back() {
    let (shopper, operator, address) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await, email());
    let order = bought(&shopper, &address, "tok_success").await.order_id;
    let parcels = format!("/v1/orders/{order}/shipments");
    let body = serde_json::json!({ "carrier": "Royal Mail" });
    let parcel: Shipment = operator.post_once(&parcels, &key(), &body).await.expect(201).json();
    let told = arrived(&address, 2).await;
    let links: Vec<_> = told.iter().filter_map(|mail| unsubscribe_link(&mail.text)).collect();
    assert_eq!(links.len(), 1, "only the parcel's mail can be done without: {told:?}");
    let click = async |body: &'static str| {
        let (client, path) = (Client::new(pop()), links[0].clone());
        let form =
            client.request(http::Method::POST, &path).header("content-type", "application/x-www-form-urlencoded");
        client::send(form.body(body)).await.expect(200)
    };
    let looked = Visitor::new(pop()).open(&links[0]).await.expect(200);
    assert_eq!(looked.texts("h1"), ["Mails about parcels"]);
    assert!(click("List-Unsubscribe=One-Click").await.text().contains("No more mails about parcels"));

    let arrival = format!("{parcels}/{}/delivered", parcel.shipment_id);
    operator.post(&arrival, &serde_json::json!({})).await.expect(200);
    let path = format!("/v1/orders/{order}/notifications");
    let unwanted = async || {
        let told: NotificationList = operator.get(&path).await.expect(200).json();
        told.items.into_iter().find(|told| told.state == NotificationState::Unwanted)
    };
    let unwanted = until("the arrival is not told", ARRIVES_WITHIN, unwanted).await;
    assert_eq!(unwanted.template, "shipment_delivered");
    assert_eq!(mails(&address).await.len(), 2);

    assert!(click("parcels=yes").await.text().contains("Stop these mails"));
    let again = format!("{path}/{}/resend", unwanted.notification_id);
    operator.post_once(&again, &key(), &serde_json::json!({})).await.expect(201);
    arrived(&address, 3).await;
}

/// The path by which a mail's reader says that he wants no more of its kind.
fn unsubscribe_link(text: &str) -> Option<String> {
    let (_, token) = text.split_once("/unsubscribe/")?;
    Some(format!("/unsubscribe/{}", token.split_whitespace().next()?))
}

#[tokio::test]
async fn whoever_signs_up_with_somebody_s_address_decides_about_his_own_orders_alone() {
    let (mut shopper, operator, address) = (Shopper::guest(pop()).await, Shopper::operator(sites()).await, email());
    let order = bought(&Shopper::guest(pop()).await, &address, "tok_success").await.order_id;
    let path = "/v1/account/mail-preferences";
    shopper.sign_up(&address).await;
    assert!(shopper.get(path).await.expect(200).json::<MailPreferences>().parcels);
    for parcels in [false, true, false] {
        let wanted = MailPreferences { parcels };
        assert_eq!(shopper.post(path, &wanted).await.expect(200).json::<MailPreferences>(), wanted);
        assert_eq!(shopper.get(path).await.expect(200).json::<MailPreferences>(), wanted);
    }
    let parcel = serde_json::json!({ "carrier": "Royal Mail" });
    operator.post_once(&format!("/v1/orders/{order}/shipments"), &key(), &parcel).await.expect(201);
    assert!(arrived(&address, 2).await.iter().any(|mail| mail.subject.ends_with("is on its way")));
}
