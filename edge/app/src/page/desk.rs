//! The order desk, for who keeps the store: finding orders, sending their parcels, cancelling them, what goes back, and
//! sending their news once more. To everybody else there is no such page. The cores check every call's token again.

pub(crate) mod back;
pub(crate) mod letters;
pub(crate) mod origins;

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::future::join;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::Deserialize;
use shared::api::desk::{
    DeskOrder, DeskPage, Happening, Notification, NotificationList, NotificationState, Timeline, TimelineEntry,
};
use shared::api::order::{
    CancelOrder, Label, LabelState, Labels, LineItem, NewLabel, NewShipment, Order, OrderItem, OrderStatus, Shipment,
    WriteOff,
};
use shared::api::origin::Origin;
use shared::api::refund::Refunds;
use shared::token::Role;
use shared::{EventId, Money, OrderId, Problem, ProblemKind, Quantity, RegionName, ShipmentId, Sku};

use self::back::{CameBack, GivenBack, came_back, with_the_shopper};
use self::origins::{Chosen, There};
use super::order::{Parcel, held, lines_of, moment, parcel, status_name, tone};
use super::{Shell, answer, webhooks, write};
use crate::app::App;
use crate::core::Call;
use crate::platform::Platform;
use crate::session::{User, Visit};

/// What the list may be narrowed to: as the API spells it, and as people read it.
const STATUSES: [(&str, OrderStatus); 5] = [
    ("PENDING", OrderStatus::Pending),
    ("CONFIRMED", OrderStatus::Confirmed),
    ("SHIPPED", OrderStatus::Shipped),
    ("DELIVERED", OrderStatus::Delivered),
    ("CANCELLED", OrderStatus::Cancelled),
];
/// What the fields of a form are called that say how many of a SKU are meant.
const UNITS: &str = "units:";
/// The service that a label is bought of where the order says none.
const SERVICE: &str = "Standard";
/// The heaviest parcel that a label is bought for, in grams.
const HEAVIEST: u64 = 70_000;

#[derive(Template)]
#[template(path = "desk.html")]
struct DeskList {
    shell: Shell,
    find: String,
    statuses: Vec<(&'static str, &'static str, bool)>,
    orders: Vec<Row>,
    next: Option<String>,
    held: bool,
    from: String,
    notice: Option<String>,
    /// Whether the visitor may see webhooks, and what he should know of them.
    webhooks: bool,
    banner: Option<String>,
}

struct Row {
    id: OrderId,
    short_id: String,
    placed: String,
    name: String,
    email: String,
    status: &'static str,
    tone: &'static str,
    held: bool,
    units: u64,
    total: Money,
}

impl From<DeskOrder> for Row {
    fn from(order: DeskOrder) -> Self {
        Self {
            id: order.order_id,
            short_id: order.order_id.short(),
            placed: moment(order.created_at),
            name: order.name,
            email: order.email.map(|email| email.as_str().to_owned()).unwrap_or_default(),
            status: status_name(order.status),
            tone: tone(order.status),
            held: order.held,
            units: order.units,
            total: order.total,
        }
    }
}

#[derive(Template)]
#[template(path = "desk_order.html")]
struct DeskDetail {
    shell: Shell,
    order: Order,
    short_id: String,
    status: &'static str,
    tone: &'static str,
    notice: Option<String>,
    lines: Vec<Line>,
    /// The regions that its parcels are to come from, if not only its own.
    origins: Vec<There>,
    /// The one that the form is filled in for.
    from: Option<RegionName>,
    address: Vec<String>,
    parcels: Vec<Open>,
    told: Vec<Told>,
    labels: Vec<Paper>,
    happened: Vec<Happened>,
    given_back: Vec<GivenBack>,
    /// How much can still be given back, if anything can.
    may_give_back: Option<Money>,
    came_back: Vec<CameBack>,
    may_come_back: bool,
    key: String,
    may_send: bool,
    /// Whether labels are sold.
    may_buy: bool,
    /// The service that a label is bought of, unless somebody says otherwise.
    service: String,
    /// What a parcel of the whole order weighs, if that is known.
    weight_grams: Option<u64>,
    may_release: bool,
    may_cancel: bool,
}

/// A label whose parcel has not left, or that came to nothing, and what may be done with it.
struct Paper {
    holds: String,
    service: String,
    said: String,
    pdf: Option<String>,
    left: Option<String>,
    void: Option<String>,
    write_off: Option<String>,
}

/// A line of the order, how much of it is in no parcel and under no label, how much of that the form proposes to send, and how much
/// is with the shopper.
struct Line {
    item: LineItem,
    left: u32,
    proposed: u32,
    out: u32,
}

/// A parcel, its label if one was bought, and where to say that it has arrived.
struct Open {
    parcel: Parcel,
    pdf: Option<String>,
    way: Option<String>,
    arrival: Option<String>,
}

/// A message to the shopper, and where to have it sent once more.
struct Told {
    what: String,
    to: String,
    said: String,
    state: &'static str,
    tone: &'static str,
    again: Option<String>,
}

struct Happened {
    at: String,
    what: &'static str,
    detail: String,
}

/// What the list is asked for; whatever cannot be is said by the core.
#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    find: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    held: bool,
    #[serde(default)]
    from: String,
    cursor: Option<OrderId>,
}

/// Who keeps the store, if the visitor does.
fn keeper(visit: &Visit) -> Result<User, Problem> {
    visit.user().filter(|user| user.claims.keeps_store()).ok_or_else(Problem::not_found)
}

/// `GET /desk`.
pub(crate) async fn list<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    if visit.member().is_none() {
        return Ok(Redirect::to("/sign-in?next=desk").into_response());
    }
    let user = keeper(&visit)?;
    let path = path_of(&asked, asked.cursor);
    let found = Call::get(&format!("/v1/desk/orders{path}")).bearer(&user.token);
    let (found, banner) =
        join(found.json::<DeskPage>(&app.platform, visit.client), webhooks::banner(&app, &visit)).await;
    let (page, notice) = match found {
        Ok(page) => {
            let missing = missing("Orders", &page.missing);
            (page, missing)
        }
        Err(problem) if problem.status == 422 => (empty(), Some(said(&problem))),
        Err(problem) => return Err(problem),
    };
    let status = |(code, status): (&'static str, OrderStatus)| (code, status_name(status), asked.status == code);
    answer(&DeskList {
        shell: Shell::personal(&app, &visit, "Order desk").await,
        statuses: STATUSES.map(status).into(),
        next: page.next_cursor.map(|cursor| format!("/desk{}", path_of(&asked, Some(cursor)))),
        orders: page.items.into_iter().map(Row::from).collect(),
        held: asked.held,
        from: asked.from,
        notice,
        webhooks: user.claims.has(Role::Operator),
        banner,
        find: asked.find,
    })
}

const fn empty() -> DeskPage {
    DeskPage { items: Vec::new(), next_cursor: None, missing: Vec::new() }
}

fn missing(what: &str, regions: &[RegionName]) -> Option<String> {
    let regions: Vec<&str> = regions.iter().map(RegionName::as_str).collect();
    (!regions.is_empty()).then(|| format!("{what} of {} are missing here: it does not answer.", regions.join(" and ")))
}

fn path_of(asked: &Asked, cursor: Option<OrderId>) -> String {
    let cursor = cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
    let held = if asked.held { "true" } else { "" };
    let from = asked.from.trim();
    let pairs =
        [("find", asked.find.trim()), ("status", &asked.status), ("held", held), ("from", from), ("cursor", &cursor)];
    let given: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    // Names and values are text: writing them cannot fail.
    format!("?{}", serde_urlencoded::to_string(given).unwrap_or_default())
}

/// `GET /desk/orders/{order_id}`.
pub(crate) async fn show<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Query(Chosen { from }): Query<Chosen>,
) -> Result<Response, Problem> {
    let (user, id) = (keeper(&visit)?, order_id(&id)?);
    answer(&detail(&app, &visit, &user, id, Retry { from, ..Retry::default() }).await?)
}

fn order_id(id: &str) -> Result<OrderId, Problem> {
    id.parse().map_err(|_| Problem::not_found())
}

/// What is in the way of something that was asked for, and the key to ask for it again under, if it may have happened; and the
/// region whose parcel the form is for.
#[derive(Default)]
struct Retry {
    notice: Option<String>,
    key: Option<String>,
    from: String,
}

async fn detail<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    user: &User,
    id: OrderId,
    Retry { notice, key, from }: Retry,
) -> Result<DeskDetail, Problem> {
    let ask = |path: String| Call::get(&path).bearer(&user.token);
    let order: Order = ask(format!("/v1/orders/{id}")).json(&app.platform, visit.client).await?;
    let Timeline { items, held: waits } =
        ask(format!("/v1/orders/{id}/timeline")).json(&app.platform, visit.client).await?;
    let told = match ask(format!("/v1/orders/{id}/notifications")).json(&app.platform, visit.client).await {
        Ok(NotificationList { items }) => items,
        // Of the order we know: its core writes no mail.
        Err(problem) if problem.is(ProblemKind::NotFound) => Vec::new(),
        Err(problem) => return Err(problem),
    };
    let refunds = ask(format!("/v1/orders/{id}/refunds")).json::<Refunds>(&app.platform, visit.client).await;
    let refunds = match refunds {
        Ok(refunds) => Some(refunds),
        // Its payment is not written down yet.
        Err(problem) if problem.is(ProblemKind::NotFound) => None,
        Err(problem) => return Err(problem),
    };
    let labels: Labels = ask(format!("/v1/orders/{id}/labels")).json(&app.platform, visit.client).await?;
    let live = |label: &Label| matches!(label.state, LabelState::ToBuy | LabelState::Bought | LabelState::ToVoid);
    let kept: Vec<&Label> = labels.items.iter().filter(|label| live(label)).collect();
    let origins = origins::ask(app, visit, user, &order).await?;
    let origin = origins::chosen(&origins, &from);
    let lines = left_of(&order, &kept, origin);
    let chosen = order.delivery.as_ref();
    let untouched = order.shipments.is_empty() && kept.is_empty();
    let mut random = [0; 16];
    app.platform.fill_random(&mut random);
    Ok(DeskDetail {
        shell: Shell::personal(app, visit, &format!("Desk: order {}", id.short())).await,
        short_id: id.short(),
        status: status_name(order.status),
        tone: tone(order.status),
        notice,
        may_send: matches!(order.status, OrderStatus::Confirmed | OrderStatus::Shipped)
            && lines.iter().any(|line| line.left > 0),
        may_buy: labels.offered,
        service: chosen.and_then(|delivery| delivery.service.clone()).unwrap_or_else(|| SERVICE.to_owned()),
        weight_grams: chosen
            .map(|delivery| delivery.weight_grams)
            .filter(|grams| untouched && origin.is_none() && (1..=HEAVIEST).contains(grams)),
        may_release: waits,
        may_cancel: matches!(order.status, OrderStatus::Pending | OrderStatus::Confirmed) && kept.is_empty(),
        may_come_back: lines.iter().any(|line| line.out > 0),
        lines,
        from: origin.map(|origin| origin.region.clone()),
        origins: origins::there(&origins, &order),
        address: lines_of(&order.shipping_address),
        told: told.into_iter().map(|message| self::told(id, message)).collect(),
        parcels: parcels(&order, &labels.items),
        labels: labels.items.iter().filter_map(|label| paper(label, &order, labels.offered)).collect(),
        happened: items.into_iter().map(happened).collect(),
        may_give_back: refunds.as_ref().map(|refunds| refunds.left).filter(|left| left.minor() > 0),
        given_back: refunds.into_iter().flat_map(|refunds| refunds.items).map(GivenBack::from).collect(),
        came_back: came_back(&order),
        key: key.unwrap_or_else(|| random.iter().map(|byte| format!("{byte:02x}")).collect()),
        order,
    })
}

fn left_of(order: &Order, kept: &[&Label], chosen: Option<&Origin>) -> Vec<Line> {
    let mut taken: BTreeMap<&Sku, u32> = BTreeMap::new();
    let sent = order.shipments.iter().flat_map(|shipment| &shipment.items);
    for item in sent.chain(kept.iter().flat_map(|label| &label.items)) {
        *taken.entry(&item.sku).or_default() += item.quantity.units();
    }
    let out = with_the_shopper(order);
    let left =
        |line: &LineItem| line.quantity.units().saturating_sub(taken.get(&line.sku).copied().unwrap_or_default());
    let line = |line: &LineItem| Line {
        left: left(line),
        proposed: chosen.map_or_else(|| left(line), |origin| origins::left_there(origin, &line.sku)),
        out: out.get(&line.sku).copied().unwrap_or_default(),
        item: line.clone(),
    };
    order.lines.iter().map(line).collect()
}

fn parcels(order: &Order, labels: &[Label]) -> Vec<Open> {
    let open = |shipment: &Shipment| {
        let at = at(order, shipment.shipment_id);
        let label = labels.iter().find(|label| label.shipment_id == shipment.shipment_id);
        Open {
            parcel: parcel(shipment, order),
            pdf: label.map(|_| format!("{at}/label")),
            way: label.and_then(|label| label.way.as_deref().map(|way| way.replace('_', " "))),
            arrival: shipment.delivered_at.is_none().then(|| format!("{at}/delivered")),
        }
    };
    order.shipments.iter().map(open).collect()
}

fn told(order: OrderId, message: Notification) -> Told {
    let (state, tone) = match message.state {
        NotificationState::ToSend => ("To be sent", "waiting"),
        NotificationState::Sent => ("Sent", "good"),
        NotificationState::Failed => ("Given up", "bad"),
        NotificationState::Bounced => ("Came back", "bad"),
        NotificationState::Unwanted => ("Not wanted", "waiting"),
    };
    let at = moment(message.sent_at.unwrap_or(message.created_at));
    let copy = message.copy_of.map(|_| "sent once more".to_owned());
    let again = format!("/desk/orders/{order}/notifications/{}/resend", message.notification_id);
    Told {
        what: template_name(&message.template),
        to: message.recipient,
        said: [Some(at), copy, message.error].into_iter().flatten().collect::<Vec<_>>().join(" · "),
        state,
        tone,
        again: (message.state != NotificationState::ToSend && message.channel == "mail").then_some(again),
    }
}

/// What a message tells, for people; a newer core may know more than this page.
fn template_name(template: &str) -> String {
    match template {
        "order_confirmed" => "Order confirmed",
        "order_cancelled" => "Order cancelled",
        "payment_refunded" => "Money given back",
        "refund_issued" => "Part of the money given back",
        "shipment_sent" => "Parcel sent",
        "shipment_delivered" => "Parcel arrived",
        other => other,
    }
    .to_owned()
}

/// Where a parcel's forms and its label are.
fn at(order: &Order, shipment: ShipmentId) -> String {
    format!("/desk/orders/{}/shipments/{shipment}", order.order_id)
}

/// A label whose parcel has left is shown with that. `is_asked` is whether there is a carrier to take it back.
fn paper(label: &Label, order: &Order, is_asked: bool) -> Option<Paper> {
    let state = match label.state {
        LabelState::ToBuy => "being bought",
        LabelState::Bought => "bought, has not left",
        LabelState::Refused => "refused",
        LabelState::ToVoid => "being given back",
        LabelState::Voided => "given back",
        LabelState::WrittenOff => "written off",
        LabelState::Sent | LabelState::Arrived => return None,
    };
    let (at, bought) = (at(order, label.shipment_id), label.state == LabelState::Bought);
    let cost = label.cost.map(|cost| cost.to_string());
    let strayed = label.strayed_at.map(|at| format!("its parcel left all the same, seen {}", moment(at)));
    // As long as the carrier may still take it back, that is asked for first.
    let stuck = (bought || label.state == LabelState::ToVoid) && (label.problem.is_some() || !is_asked);
    let said = [Some(state.to_owned()), strayed, label.tracking_code.clone(), cost, label.problem.clone()];
    Some(Paper {
        holds: label.items.iter().map(|item| held(item, order)).collect::<Vec<_>>().join(", "),
        service: label.service.clone(),
        said: said.into_iter().flatten().collect::<Vec<_>>().join(" · "),
        pdf: bought.then(|| format!("{at}/label")),
        left: bought.then(|| format!("{at}/left")),
        void: matches!(label.state, LabelState::ToBuy | LabelState::Bought).then(|| format!("{at}/void")),
        write_off: stuck.then(|| format!("{at}/write-off")),
    })
}

fn happened(entry: TimelineEntry) -> Happened {
    let what = match entry.what {
        Happening::Placed => "Placed",
        Happening::Authorized => "Amount kept ready by the bank",
        Happening::Paid => "Paid",
        Happening::Sent => "Parcel sent",
        Happening::Arrived => "Parcel arrived",
        Happening::Cancelled => "Cancelled",
        Happening::Declined => "Declined by the bank",
        Happening::Voided => "Amount let go",
        Happening::Refunded => "Money given back",
        Happening::PartRefunded => "Part of the money given back",
        Happening::RefundRefused => "Refund refused by the bank",
        Happening::Returned => "Goods came back",
        Happening::Inspected => "Looked at what came back",
        Happening::Reviewed => "Something spoke against it",
        Happening::Strayed => "A parcel left although its label had come to nothing",
        Happening::Desk => "Desk",
    };
    let by = entry.actor.map(|actor| format!("by {actor}"));
    let detail = [entry.detail, by].into_iter().flatten().collect::<Vec<_>>().join(", ");
    Happened { at: moment(entry.at), what, detail }
}

/// `POST /desk/orders/{order_id}/shipments`: a parcel leaves.
pub(crate) async fn send<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let (id, key) = (order_id(&id)?, field(&fields, "key"));
    let call = |parcel| Call::post(&format!("/v1/orders/{id}/shipments"), &parcel).idempotency_key(&key);
    let calls = packed(&fields).map(|parcel| vec![call(parcel)]);
    act(&app, &visit, id, calls, Some(key)).await
}

fn field(fields: &[(String, String)], name: &str) -> String {
    fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// How many of what the form counts, or what a person must mend.
fn counted(fields: &[(String, String)]) -> Result<Vec<OrderItem>, String> {
    let mut items = Vec::new();
    for (name, value) in fields.iter().filter_map(|(name, value)| Some((name.strip_prefix(UNITS)?, value.trim()))) {
        if value.is_empty() || value == "0" {
            continue;
        }
        let quantity = value.parse::<i64>().ok().and_then(|units| Quantity::new(units).ok());
        let item = (name.parse::<Sku>().ok()).zip(quantity).map(|(sku, quantity)| OrderItem { sku, quantity });
        items.push(item.ok_or_else(|| format!("How many of {name}? A number, please."))?);
    }
    Ok(items)
}

/// The parcel that the form describes, or what a person must mend.
fn packed(fields: &[(String, String)]) -> Result<NewShipment, String> {
    let items = counted(fields)?;
    if items.is_empty() {
        return Err("A parcel holds something: say how many of what.".to_owned());
    }
    let items = Some(items);
    let from = Some(field(fields, "from")).filter(|from| !from.is_empty()).map(|from| from.parse::<RegionName>());
    let from = from.transpose().map_err(|error| format!("From where? {error}."))?;
    if field(fields, "by") == "label" {
        let weight_grams = field(fields, "weight_grams").parse();
        let weight_grams = weight_grams.map_err(|_| "What does it weigh? Grams, as a number, please.".to_owned())?;
        let label = Some(NewLabel { service: field(fields, "service"), weight_grams });
        return Ok(NewShipment { items, carrier: String::new(), tracking_code: None, tracking_url: None, label, from });
    }
    let optional = |name| Some(field(fields, name)).filter(|value| !value.is_empty());
    Ok(NewShipment {
        items,
        carrier: field(fields, "carrier"),
        tracking_code: optional("tracking_code"),
        tracking_url: optional("tracking_url"),
        label: None,
        from,
    })
}

/// `POST /desk/orders/{order_id}/shipments/{shipment_id}/delivered`, `/left` and `/void`: a parcel arrived, it left under its label,
/// or its label is given back.
pub(crate) async fn change<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path((id, shipment, what)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let (id, shipment) = (order_id(&id)?, shipment_id(&shipment)?);
    if !matches!(what.as_str(), "delivered" | "left" | "void") {
        return Err(Problem::not_found());
    }
    let path = format!("/v1/orders/{id}/shipments/{shipment}/{what}");
    act(&app, &visit, id, Ok(vec![Call::post(&path, &serde_json::Map::new())]), None).await
}

/// What the form for a label that nobody takes back sent.
#[derive(Deserialize)]
pub(crate) struct GivenUp {
    #[serde(default)]
    key: String,
    #[serde(default)]
    reason: String,
}

/// `POST /desk/orders/{order_id}/shipments/{shipment_id}/write-off`.
pub(crate) async fn write_off<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path((id, shipment)): Path<(String, String)>,
    Form(GivenUp { key, reason }): Form<GivenUp>,
) -> Result<Response, Problem> {
    let (id, shipment) = (order_id(&id)?, shipment_id(&shipment)?);
    let call = Call::post(&format!("/v1/orders/{id}/shipments/{shipment}/write-off"), &WriteOff { reason });
    act(&app, &visit, id, Ok(vec![call.idempotency_key(&key)]), Some(key)).await
}

fn shipment_id(id: &str) -> Result<ShipmentId, Problem> {
    id.parse().map_err(|_| Problem::not_found())
}

/// `GET /desk/orders/{order_id}/shipments/{shipment_id}/label`: the label, to be printed.
pub(crate) async fn label<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path((id, shipment)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (user, id, shipment) = (keeper(&visit)?, order_id(&id)?, shipment_id(&shipment)?);
    let call = Call::get(&format!("/v1/orders/{id}/shipments/{shipment}/label")).bearer(&user.token);
    let pdf = call.send(&app.platform, visit.client).await?.into_body();
    Ok(([(CONTENT_TYPE, "application/pdf"), (CONTENT_DISPOSITION, "inline; filename=\"label.pdf\"")], pdf)
        .into_response())
}

/// `POST /desk/orders/{order_id}/release`: an order that waits for a decision goes on.
pub(crate) async fn release<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = order_id(&id)?;
    let call = Call::post(&format!("/v1/orders/{id}/release"), &serde_json::Map::new());
    act(&app, &visit, id, Ok(vec![call]), None).await
}

/// What the form for a message once more sent.
#[derive(Deserialize)]
pub(crate) struct OnceMore {
    #[serde(default)]
    key: String,
}

/// `POST /desk/orders/{order_id}/notifications/{notification_id}/resend`.
pub(crate) async fn resend<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path((id, message)): Path<(String, String)>,
    Form(OnceMore { key }): Form<OnceMore>,
) -> Result<Response, Problem> {
    let (id, message) = (order_id(&id)?, message.parse::<EventId>().map_err(|_| Problem::not_found())?);
    let path = format!("/v1/orders/{id}/notifications/{message}/resend");
    let call = Call::post(&path, &serde_json::Map::new()).idempotency_key(&key);
    act(&app, &visit, id, Ok(vec![call]), Some(key)).await
}

/// What the form for a cancellation sent.
#[derive(Deserialize)]
pub(crate) struct Why {
    #[serde(default)]
    reason: String,
}

/// `POST /desk/orders/{order_id}/cancel`.
pub(crate) async fn cancel<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Form(Why { reason }): Form<Why>,
) -> Result<Response, Problem> {
    let id = order_id(&id)?;
    let call = Call::post(&format!("/v1/orders/{id}/cancel"), &CancelOrder { reason: Some(reason) });
    act(&app, &visit, id, Ok(vec![call]), None).await
}

/// Has the core do one after the other and leads back to the order, or shows the order with what is in the way. What was asked
/// for under `key` keeps it, unless that is what is wrong: it may have happened although nobody knows.
async fn act<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    id: OrderId,
    calls: Result<Vec<Call>, String>,
    key: Option<String>,
) -> Result<Response, Problem> {
    let user = keeper(visit)?;
    let done = match calls {
        Ok(calls) => each(app, visit, &user, calls).await,
        Err(what) => Err(Problem::new(ProblemKind::Invalid).detail(what.trim_end_matches('.'))),
    };
    let Err(problem) = done else { return Ok(Redirect::to(&format!("/desk/orders/{id}")).into_response()) };
    let reused = problem.is(ProblemKind::IdempotencyKeyReused);
    let (status, notice) = match problem {
        problem if matches!(problem.status, 400 | 409 | 422) => (problem.status, said(&problem)),
        problem if problem.is(ProblemKind::NotFound) => return Err(problem),
        problem => (problem.status, "That could not be done just now; nobody knows why. Look at the order.".to_owned()),
    };
    let key = key.filter(|_| !reused).filter(|key| !key.is_empty());
    let html = write(&detail(app, visit, &user, id, Retry { notice: Some(notice), key, ..Retry::default() }).await?)?;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    Ok((status, axum::response::Html(html)).into_response())
}

async fn each<P: Platform>(app: &App<P>, visit: &Visit, user: &User, calls: Vec<Call>) -> Result<(), Problem> {
    for call in calls {
        call.bearer(&user.token).send(&app.platform, visit.client).await?;
    }
    Ok(())
}

/// A refusal in a sentence.
pub(super) fn said(problem: &Problem) -> String {
    let field = problem.members.get("field").and_then(|field| field.as_str());
    let detail = problem.detail.as_deref().unwrap_or(&problem.title);
    match field {
        Some(field) => format!("{field}: {detail}."),
        None => format!("{detail}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_label_is_asked_for_by_its_own_button_with_a_weight() {
        let fields = form(&[
            ("units:MUG", "2"),
            ("carrier", ""),
            ("service", " Tracked "),
            ("weight_grams", "450"),
            ("by", "label"),
        ]);
        let parcel = packed(&fields).unwrap();
        let label = NewLabel { service: "Tracked".to_owned(), weight_grams: 450 };
        assert_eq!((parcel.label, parcel.carrier.as_str()), (Some(label), ""));
        assert!(packed(&form(&[("units:MUG", "2"), ("weight_grams", "heavy"), ("by", "label")])).is_err());
    }

    #[test]
    fn a_parcel_holds_what_its_form_counts() {
        let fields = form(&[
            ("carrier", " Post "),
            ("units:MUG", "2"),
            ("units:CUP", "0"),
            ("units:CAP", ""),
            ("tracking_url", ""),
        ]);
        let parcel = packed(&fields).unwrap();
        let items: Vec<_> =
            parcel.items.unwrap().iter().map(|item| (item.sku.to_string(), item.quantity.units())).collect();
        assert_eq!((items, parcel.carrier.as_str(), parcel.tracking_url), (vec![("MUG".to_owned(), 2)], "Post", None));
        for bad in [&[("units:MUG", "some")][..], &[("units:MUG", "-1")], &[("units:MUG", "0")], &[("carrier", "Post")]]
        {
            assert!(packed(&form(bad)).is_err(), "{bad:?}");
        }
    }
}
