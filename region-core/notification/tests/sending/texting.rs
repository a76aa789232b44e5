//! Texts: to whom, of what, and through a provider that fails.

use std::time::Duration;

use region_core_notification::{Sms, SmsAccount};
use region_core_outbound::target::Guard;
use secrecy::SecretString;
use shared::OrderId;

use crate::receiver::{Answer, Receiver};
use crate::server::{Secured, Server};
use crate::shop::Shop;

const TAKEN: Answer = Answer::Says(201, r#"{"sid":"SM1","status":"queued"}"#);
const PHONE: &str = "+447700900123";

async fn opened(answers: &'static [Answer]) -> (Server, Receiver, Shop) {
    let (server, provider) = (Server::start(Secured::Never).await, Receiver::start(answers).await);
    let account = SmsAccount {
        url: provider.url(""),
        account_sid: "AC123".to_owned(),
        auth_token: SecretString::from("swordfish"),
        from: "+15017122661".to_owned(),
    };
    let sms = Sms::new(&account, Guard { loopback: true }).unwrap().answered_within(Duration::from_millis(200));
    let shop = Shop::texting(&format!("smtp://{}", server.address), sms).await;
    (server, provider, shop)
}

/// An order whose parcel has left and arrived, and whose shopper gave a number.
async fn shipped(shop: &Shop, email: Option<&str>) -> OrderId {
    let order = shop.order(email);
    shop.is_texted(order, PHONE);
    shop.confirmed(order).await;
    shop.shipped(order).await;
    shop.refunded(order).await;
    shop.hear().await;
    shop.hear().await;
    order
}

/// State and attempts of the texts, in order.
async fn texts(shop: &Shop) -> Vec<(String, i32)> {
    let states = shop.states().await.into_iter();
    states.filter(|(to, ..)| to == PHONE).map(|(_, state, attempts, _)| (state, attempts)).collect()
}

fn all(state: &str, attempts: [i32; 2]) -> Vec<(String, i32)> {
    attempts.map(|attempts| (state.to_owned(), attempts)).to_vec()
}

#[tokio::test]
async fn who_gave_a_number_is_texted_when_a_parcel_leaves_and_arrives_and_of_nothing_else() {
    let (server, provider, shop) = opened(&[TAKEN]).await;
    let silent = shop.order(Some("bob@example.org"));
    shop.shipped(silent).await;
    let order = shipped(&shop, Some("ada@example.org")).await;
    shop.send().await;
    let seen = provider.seen();
    let words: Vec<_> = seen.iter().map(|seen| form(&seen.body)).collect();
    let text = |what: &str| format!("Meridian: {what}. https://shop.example/orders/{order}");
    let number = order.short();
    let sent = [
        text(&format!("Your order {number} is on its way")),
        text(&format!("A parcel of your order {number} has arrived")),
    ];
    let expected = sent.map(|body| vec![to("To", PHONE), to("From", "+15017122661"), to("Body", &body)]);
    assert_eq!(words, expected);
    assert_eq!(seen[0].path, "/2010-04-01/Accounts/AC123/Messages.json");
    assert_eq!(seen[0].headers["authorization"], "Basic QUMxMjM6c3dvcmRmaXNo");
    assert_eq!(texts(&shop).await, all("sent", [1, 1]));
    assert_eq!(server.taken().len(), 6, "mail goes its own way");
}

fn to(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn form(body: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

#[tokio::test]
async fn what_a_provider_does_not_take_for_now_is_sent_again_and_in_order() {
    let answers = &[Answer::Hangs, Answer::HangsUp, Answer::Says(429, "{}"), TAKEN, Answer::Says(503, ""), TAKEN];
    let (_server, provider, shop) = opened(answers).await;
    shipped(&shop, None).await;
    shop.send().await;
    assert_eq!(texts(&shop).await, all("sent", [4, 2]));
    let bodies: Vec<_> = provider.seen().into_iter().map(|seen| form(&seen.body)[2].1.contains("arrived")).collect();
    assert_eq!(bodies, [false, false, false, false, true, true]);
}

#[tokio::test]
async fn a_provider_that_stands_still_holds_up_no_mail_and_is_given_up() {
    let (server, _provider, shop) = opened(&[Answer::Says(500, "")]).await;
    shipped(&shop, Some("ada@example.org")).await;
    shop.send().await;
    assert_eq!(texts(&shop).await, all("failed", [4, 4]));
    assert_eq!(server.taken().len(), 4);
}

#[tokio::test]
async fn whoever_answered_stop_is_not_texted_and_a_number_that_is_none_is_tried_once() {
    let stopped = &[Answer::Says(400, r#"{"code":21610,"message":"unsubscribed recipient"}"#)];
    let (_server, _provider, shop) = opened(stopped).await;
    shipped(&shop, None).await;
    shop.send().await;
    assert_eq!(texts(&shop).await, all("unwanted", [1, 1]));

    let dead = &[Answer::Says(400, r#"{"code":21211,"message":"not a number"}"#)];
    let (_server, provider, shop) = opened(dead).await;
    shipped(&shop, None).await;
    shop.send().await;
    assert_eq!(texts(&shop).await, all("bounced", [1, 1]));
    assert_eq!(provider.seen().len(), 1, "the second was not tried");
}
