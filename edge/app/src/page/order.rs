//! Orders: the list, one of them and how it moves on, confirming its payment, cancelling it, and buying its items again.

mod live;

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::future::join;
use http::Method;
use serde::{Deserialize, Serialize};
use shared::api::account::Channels;
use shared::api::cart::CartChange;
use shared::api::order::{
    Address, NextAction, Order, OrderItem, OrderPage, OrderStatus, OrderSummary, PaymentStatus, PushKeys,
    PushSubscription, Shipment,
};
use shared::{Money, OrderId, Problem, ProblemKind};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Shell, answer, cart};
use crate::app::App;
use crate::core::Call;
use crate::platform::Platform;
use crate::session::{User, Visit};

pub(crate) use live::live;

/// Most lines put back into the basket at once: each is one call to a core.
const MAX_AGAIN: usize = 40;

#[derive(Template)]
#[template(path = "order.html")]
struct OrderDetail {
    shell: Shell,
    order: Order,
    short_id: String,
    now: Progress,
    notice: Option<&'static str>,
    /// Whether it asks for itself again where no script runs.
    reloads: bool,
    /// The payment provider's page, if the browser is to go there at once. Not by a redirect: whoever came by a form may be
    /// redirected only where the policy's `form-action` lets forms go, and providers' pages have many addresses.
    leads_to: Option<String>,
    address: Vec<String>,
    /// What a browser subscribes under to be told of it, if it can be.
    push_key: Option<String>,
    placed: String,
    placed_machine: String,
}

/// What of an order's page changes as the order moves on: written into the page, and told to its script.
#[derive(Serialize)]
struct Progress {
    /// Names the state that all this is about.
    tag: String,
    /// Whether another state may follow.
    follow: bool,
    status: OrderStatus,
    tone: &'static str,
    headline: &'static str,
    explanation: String,
    act: Option<Act>,
    may_cancel: bool,
    steps: [Step; 4],
    payment: &'static str,
    parcels: Vec<Parcel>,
}

/// What the shopper is asked to do, or may, by a button or by a link.
#[derive(Serialize)]
struct Act {
    action: String,
    label: String,
    /// Whether it is a link to the payment provider's page.
    leaves: bool,
}

#[derive(Serialize)]
struct Step {
    name: &'static str,
    class: &'static str,
    said: &'static str,
    now: bool,
}

/// A parcel as its shopper reads it.
#[derive(Serialize)]
pub(super) struct Parcel {
    pub(super) carrier: String,
    pub(super) code: Option<String>,
    pub(super) url: Option<String>,
    pub(super) holds: String,
    pub(super) said: String,
}

#[derive(Template)]
#[template(path = "orders.html")]
struct Orders {
    shell: Shell,
    orders: Vec<Row>,
    next: Option<OrderId>,
    signed_in: bool,
}

struct Row {
    id: OrderId,
    short_id: String,
    placed: String,
    status: &'static str,
    tone: &'static str,
    units: u64,
    total: Money,
}

impl From<OrderSummary> for Row {
    fn from(order: OrderSummary) -> Self {
        Self {
            short_id: order.order_id.short(),
            id: order.order_id,
            placed: day(order.created_at),
            status: status_name(order.status),
            tone: tone(order.status),
            units: order.units,
            total: order.total,
        }
    }
}

/// Where in the list.
#[derive(Deserialize)]
pub(crate) struct Place {
    cursor: Option<OrderId>,
}

/// `GET /orders`.
pub(crate) async fn list<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Query(from): Query<Place>,
) -> Result<Response, Problem> {
    let shell = Shell::personal(&app, &visit, "Your orders").await;
    let signed_in = visit.member().is_some();
    let Some(user) = visit.user() else {
        return answer(&Orders { shell, orders: Vec::new(), next: None, signed_in });
    };
    let cursor = from.cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    let path = format!("/v1/orders?limit=20{cursor}");
    let page: OrderPage = Call::get(&path).bearer(&user.token).json(&app.platform, visit.client).await?;
    let orders = page.items.into_iter().map(Row::from).collect();
    answer(&Orders { shell, orders, next: page.next_cursor, signed_in })
}

/// What the page was led to by.
#[derive(Deserialize)]
pub(crate) struct Led {
    #[serde(default)]
    notice: String,
}

/// `GET /orders/{order_id}`.
pub(crate) async fn show<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Query(led): Query<Led>,
) -> Result<Response, Problem> {
    let (user, order) = find(&app, &visit, &id).await?;
    let (title, channels) =
        (format!("Order {}", order.order_id.short()), Call::get("/v1/channels").bearer(&user.token));
    let (shell, channels) =
        join(Shell::personal(&app, &visit, &title), channels.json::<Channels>(&app.platform, visit.client)).await;
    // The page is worth showing without.
    let push_key = channels.ok().and_then(|channels| channels.push_key);
    // The bank's answer to a confirmation takes a moment; asking again meanwhile would look like a failure.
    let led_back = led.notice == "back";
    let confirmed = led.notice == "confirmed" || led_back;
    // A link never confirms: only how he answered elsewhere is looked at.
    if led_back && provider_page(&order).is_some() {
        look_at_payment(&app, &visit, &user, order.order_id).await;
    }
    let leads_to = provider_page(&order).filter(|_| led.notice == "pay").map(str::to_owned);
    let cancelled = order.status == OrderStatus::Cancelled;
    let notice = match led.notice.as_str() {
        "state" => Some("There was nothing to confirm any more."),
        "left" if !cancelled => Some("It is ready to leave or has left, so it can no longer be cancelled."),
        "later" if !cancelled => Some("We could not cancel it just now. Please try again."),
        "busy" => Some("We could not reach the bank just now. Please try again."),
        _ => None,
    };
    let page = detail(shell, order, notice, confirmed, app.platform.now_ms());
    answer(&OrderDetail { leads_to, push_key, ..page })
}

/// Has the core look how the shopper answered on the provider's page. That he came back from there proves nothing and changes
/// nothing; if it cannot be done now, the core looks by itself a little later.
async fn look_at_payment<P: Platform>(app: &App<P>, visit: &Visit, user: &User, order: OrderId) {
    let call = Call::post(&format!("/v1/orders/{order}/payment/confirm"), &serde_json::Map::new()).bearer(&user.token);
    let _ = call.send(&app.platform, visit.client).await;
}

/// `GET /orders/{order_id}/status`: what the page's script shows where it is not told.
pub(crate) async fn status<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let order = find(&app, &visit, &id).await?.1;
    Ok(axum::Json(Progress::of(&order, false, app.platform.now_ms())).into_response())
}

async fn find<P: Platform>(app: &App<P>, visit: &Visit, id: &str) -> Result<(User, Order), Problem> {
    let id: OrderId = id.parse().map_err(|_| Problem::not_found())?;
    let user = visit.user().ok_or(Problem::new(ProblemKind::NotSignedIn))?;
    let order = Call::get(&format!("/v1/orders/{id}")).bearer(&user.token).json(&app.platform, visit.client).await?;
    Ok((user, order))
}

/// `POST /orders/{order_id}/confirm`: the shopper passes the bank's challenge.
pub(crate) async fn confirm<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let notices = Notices { done: "?notice=confirmed", state: "?notice=state", busy: "?notice=busy" };
    act(&app, &visit, &id, "payment/confirm", notices).await
}

/// `POST /orders/{order_id}/cancel`.
pub(crate) async fn cancel<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    // It may have worked although nobody knows: then the page says so, and not the notice.
    let notices = Notices { done: "", state: "?notice=left", busy: "?notice=later" };
    act(&app, &visit, &id, "cancel", notices).await
}

/// How the order's page is led to after the core did something to the order, would not, or could not.
struct Notices {
    done: &'static str,
    state: &'static str,
    busy: &'static str,
}

/// Has the core do `what` to the order, and leads back to its page.
async fn act<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    id: &str,
    what: &str,
    notices: Notices,
) -> Result<Response, Problem> {
    let id: OrderId = id.parse().map_err(|_| Problem::not_found())?;
    let user = visit.user().ok_or(Problem::new(ProblemKind::NotSignedIn))?;
    let call = Call::post(&format!("/v1/orders/{id}/{what}"), &serde_json::Map::new()).bearer(&user.token);
    let notice = match call.send(&app.platform, visit.client).await {
        Ok(_) => notices.done,
        Err(problem) if problem.is(ProblemKind::OrderState) => notices.state,
        Err(problem) if problem.status >= 500 || problem.status == 429 => notices.busy,
        Err(problem) => return Err(problem),
    };
    Ok(Redirect::to(&format!("/orders/{id}{notice}")).into_response())
}

/// What the page's script sends of this browser's subscription, or that no browser is to be told any more.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(crate) struct PushForm {
    endpoint: String,
    p256dh: String,
    auth: String,
    off: String,
}

/// `POST /orders/{order_id}/push`: this browser is told what becomes of the order, or none is.
pub(crate) async fn push<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Form(PushForm { endpoint, p256dh, auth, off }): Form<PushForm>,
) -> Result<Response, Problem> {
    let id: OrderId = id.parse().map_err(|_| Problem::not_found())?;
    let user = visit.user().ok_or(Problem::new(ProblemKind::NotSignedIn))?;
    let path = format!("/v1/orders/{id}/push-subscriptions");
    let told = off.is_empty();
    let method = if told { Method::POST } else { Method::DELETE };
    let browser = PushSubscription { endpoint, keys: PushKeys { p256dh, auth } };
    Call::with(method, &path, &browser).bearer(&user.token).send(&app.platform, visit.client).await?;
    Ok(axum::Json(serde_json::json!({ "told": told })).into_response())
}

/// `POST /orders/{order_id}/again`: its items go into the basket.
pub(crate) async fn again<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let order = find(&app, &visit, &id).await?.1;
    let mut code = "again";
    for line in order.lines.into_iter().take(MAX_AGAIN) {
        match cart::apply(&app, &visit, CartChange::Set { sku: line.sku, quantity: line.quantity }).await {
            Ok(_) => {}
            Err(problem) if problem.is(ProblemKind::UnknownSku) => code = "gone",
            Err(problem) => return Err(problem),
        }
    }
    Ok(Redirect::to(&format!("/cart?notice={code}")).into_response())
}

fn detail(shell: Shell, order: Order, notice: Option<&'static str>, confirmed: bool, now_ms: u64) -> OrderDetail {
    let moves = order.status == OrderStatus::Pending || money_goes_back(&order);
    let challenge = asks_to_confirm(&order, confirmed) || (provider_page(&order).is_some() && !confirmed);
    OrderDetail {
        shell,
        short_id: order.order_id.short(),
        now: Progress::of(&order, confirmed, now_ms),
        notice,
        reloads: moves && !challenge && is_in_time(&order, now_ms),
        leads_to: None,
        address: lines_of(&order.shipping_address),
        push_key: None,
        placed: moment(order.created_at),
        placed_machine: order.created_at.format(&Rfc3339).unwrap_or_default(),
        order,
    }
}

impl Progress {
    /// Of an order whose shopper has `confirmed` its payment a moment ago, or has not.
    fn of(order: &Order, confirmed: bool, now_ms: u64) -> Self {
        let (headline, explanation) = words(order, confirmed);
        Self {
            tag: order.state_tag(),
            follow: may_change(order, now_ms),
            status: order.status,
            tone: tone(order.status),
            headline,
            explanation,
            act: act_of(order, confirmed),
            may_cancel: matches!(order.status, OrderStatus::Pending | OrderStatus::Confirmed),
            steps: steps(order.status),
            payment: payment_name(order.payment),
            parcels: order.shipments.iter().map(|shipment| parcel(shipment, order)).collect(),
        }
    }
}

fn act_of(order: &Order, confirmed: bool) -> Option<Act> {
    let act = |what: &str, label: String| {
        Some(Act { action: format!("/orders/{}/{what}", order.order_id), label, leaves: false })
    };
    if let Some(page) = provider_page(order) {
        Some(Act { action: page.to_owned(), label: "Continue to payment".to_owned(), leaves: true })
    } else if asks_to_confirm(order, confirmed) {
        act("confirm", format!("Confirm payment of {}", order.total))
    } else if order.status == OrderStatus::Cancelled {
        act("again", "Put these items back in the basket".to_owned())
    } else {
        None
    }
}

fn asks_to_confirm(order: &Order, confirmed: bool) -> bool {
    order.status == OrderStatus::Pending && order.next_action == Some(NextAction::Confirm) && !confirmed
}

/// The payment provider's page on which the shopper is to pay.
fn provider_page(order: &Order) -> Option<&str> {
    match &order.next_action {
        Some(NextAction::RedirectToUrl { url }) if order.status == OrderStatus::Pending => Some(url),
        Some(NextAction::RedirectToUrl { .. } | NextAction::Confirm) | None => None,
    }
}

/// Whether money of a cancelled order may still be on its way back.
fn money_goes_back(order: &Order) -> bool {
    order.status == OrderStatus::Cancelled
        && matches!(order.payment, PaymentStatus::Processing | PaymentStatus::Captured)
}

/// After its time an order ends by itself, some seconds later: look a little longer, not for ever.
fn is_in_time(order: &Order, now_ms: u64) -> bool {
    let last_look = order.expires_at.unix_timestamp().saturating_add(120);
    i64::try_from(now_ms / 1000).is_ok_and(|now| now < last_look)
}

/// Whether there is something to follow. Of a cancelled order that is its money: what was taken is given back for certain,
/// and whether anything was taken is known soon.
fn may_change(order: &Order, now_ms: u64) -> bool {
    match order.status {
        OrderStatus::Pending | OrderStatus::Confirmed | OrderStatus::Shipped => true,
        OrderStatus::Delivered => false,
        OrderStatus::Cancelled => {
            order.payment == PaymentStatus::Captured || (money_goes_back(order) && is_in_time(order, now_ms))
        }
    }
}

fn words(order: &Order, confirmed: bool) -> (&'static str, String) {
    match (order.status, order.payment) {
        (OrderStatus::Pending, _) if provider_page(order).is_some() && confirmed => (
            "Looking at the payment",
            "We ask the payment provider how it went. If you have not finished there, go on with it.".to_owned(),
        ),
        (OrderStatus::Pending, _) if provider_page(order).is_some() => (
            "One more step",
            "You pay on our payment provider's page, which leads you back here. Your items are held meanwhile."
                .to_owned(),
        ),
        (OrderStatus::Pending, _) if asks_to_confirm(order, confirmed) => {
            ("One more step", "Your bank asks you to confirm this payment. Your items are held meanwhile.".to_owned())
        }
        (OrderStatus::Pending, _) => {
            ("We are taking the payment", "Your items are held for you. This page follows along by itself.".to_owned())
        }
        (OrderStatus::Confirmed, _) => {
            ("Thank you, it is yours", "The payment went through. We are packing.".to_owned())
        }
        (OrderStatus::Shipped, _) if units_sent(order) < units_ordered(order) => {
            ("Part of it is on its way", "The rest follows in another parcel.".to_owned())
        }
        (OrderStatus::Shipped, _) => ("On its way", "Your parcel is with the carrier.".to_owned()),
        (OrderStatus::Delivered, _) => ("Delivered", "We hope you like it.".to_owned()),
        (OrderStatus::Cancelled, PaymentStatus::Declined) => (
            "The payment was declined",
            "Your bank said no, so nothing was charged and the order is cancelled.".to_owned(),
        ),
        (OrderStatus::Cancelled, payment) => {
            let reason = order.cancel_reason.as_deref().unwrap_or("It was not paid in time.");
            let money = match payment {
                PaymentStatus::Refunded => "The money is on its way back to you.",
                PaymentStatus::Captured => "Your money is being given back.",
                PaymentStatus::Processing => "Should anything have been charged, you get it back.",
                PaymentStatus::ChallengeRequired | PaymentStatus::Declined | PaymentStatus::Voided => {
                    "Nothing was charged."
                }
            };
            ("This order was cancelled", format!("{} {money}", sentence(reason)))
        }
    }
}

fn units_ordered(order: &Order) -> u64 {
    order.lines.iter().map(|line| u64::from(line.quantity.units())).sum()
}

fn units_sent(order: &Order) -> u64 {
    let items = order.shipments.iter().flat_map(|shipment| &shipment.items);
    items.map(|item| u64::from(item.quantity.units())).sum()
}

pub(super) fn parcel(shipment: &Shipment, order: &Order) -> Parcel {
    let from = shipment.from.as_ref().map(|region| format!(", from {region}")).unwrap_or_default();
    Parcel {
        carrier: shipment.carrier.clone(),
        code: shipment.tracking_code.clone(),
        url: shipment.tracking_url.clone(),
        holds: shipment.items.iter().map(|item| held(item, order)).collect::<Vec<_>>().join(", "),
        said: match shipment.delivered_at {
            Some(at) => format!("Arrived on {}{from}", day(at)),
            None => format!("Sent on {}{from}", day(shipment.sent_at)),
        },
    }
}

/// How many of what.
pub(super) fn held(item: &OrderItem, order: &Order) -> String {
    let line = order.lines.iter().find(|line| line.sku == item.sku);
    let title = line.map_or_else(|| item.sku.to_string(), |line| line.title.clone());
    format!("{} × {title}", item.quantity)
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.trim().trim_end_matches('.').chars();
    let first: String = characters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

fn steps(status: OrderStatus) -> [Step; 4] {
    let reached = match status {
        OrderStatus::Pending | OrderStatus::Cancelled => 0,
        OrderStatus::Confirmed => 1,
        OrderStatus::Shipped => 2,
        OrderStatus::Delivered => 3,
    };
    let stopped = status == OrderStatus::Cancelled;
    let mut at = 0;
    ["Placed", "Paid", "Shipped", "Delivered"].map(|name| {
        let (class, said) = match (at <= reached, stopped && at > 0) {
            (true, _) => ("done", ", done"),
            (false, true) => ("never", ", will not happen"),
            (false, false) => ("ahead", ", still to come"),
        };
        let now = at == reached && !stopped;
        at += 1;
        Step { name, class, said, now }
    })
}

pub(super) fn lines_of(address: &Address) -> Vec<String> {
    address.lines().map(str::to_owned).collect()
}

pub(super) const fn tone(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Pending => "waiting",
        OrderStatus::Confirmed | OrderStatus::Shipped | OrderStatus::Delivered => "good",
        OrderStatus::Cancelled => "bad",
    }
}

pub(super) const fn status_name(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Pending => "Being paid",
        OrderStatus::Confirmed => "Paid",
        OrderStatus::Shipped => "Shipped",
        OrderStatus::Delivered => "Delivered",
        OrderStatus::Cancelled => "Cancelled",
    }
}

const fn payment_name(payment: PaymentStatus) -> &'static str {
    match payment {
        PaymentStatus::Processing => "Under way",
        PaymentStatus::ChallengeRequired => "Waits for you",
        PaymentStatus::Captured => "Paid",
        PaymentStatus::Declined => "Declined",
        PaymentStatus::Voided => "Not taken",
        PaymentStatus::Refunded => "Given back",
    }
}

/// `21 November 2026`.
fn day(at: OffsetDateTime) -> String {
    format!("{} {} {}", at.day(), at.month(), at.year())
}

/// `21 November 2026, 18:05 UTC`.
pub(super) fn moment(at: OffsetDateTime) -> String {
    format!("{}, {:02}:{:02} UTC", day(at), at.hour(), at.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_promises_what_a_cancelled_order_will_not_do() {
        assert!(steps(OrderStatus::Cancelled).iter().skip(1).all(|step| step.class == "never" && !step.now));
        let shipped: Vec<_> = steps(OrderStatus::Shipped).iter().map(|step| step.class).collect();
        assert_eq!(shipped, ["done", "done", "done", "ahead"]);
    }

    #[test]
    fn a_reason_reads_as_a_sentence() {
        assert_eq!(sentence("the payment expired"), "The payment expired.");
        assert_eq!(sentence("Late."), "Late.");
    }
}
