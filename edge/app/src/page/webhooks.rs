//! Webhooks at the desk, for operators: where merchants' systems are told of events, how they do, and what is sent again. To
//! everybody else there is no such page. The cores check every call's token again.

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use shared::api::webhook::{
    ChangeEndpoint, Delivery, DeliveryPage, DeliveryState, Endpoint, EndpointPage, EndpointState, EndpointWithSecret,
    EventType, NewEndpoint, Switch,
};
use shared::token::Role;
use shared::{EndpointId, EventId, Problem, ProblemKind, RegionName};

use super::desk::said;
use super::order::moment;
use super::{Shell, answer, write};
use crate::app::App;
use crate::core::Call;
use crate::platform::Platform;
use crate::session::{User, Visit};

/// The API's path, and that of these pages.
const API: &str = "/v1/webhook-endpoints";
const PAGE: &str = "/desk/webhooks";
/// Deliveries on a page.
const SHOWN: u32 = 25;

#[derive(Template)]
#[template(path = "webhooks.html")]
struct List {
    shell: Shell,
    endpoints: Vec<Row>,
    kinds: Vec<Kind>,
    key: String,
    url: String,
    description: String,
    notice: Option<String>,
}

struct Row {
    endpoint: Endpoint,
    state: &'static str,
    tone: &'static str,
}

impl From<Endpoint> for Row {
    fn from(endpoint: Endpoint) -> Self {
        let (state, tone) = state_of(&endpoint);
        Self { endpoint, state, tone }
    }
}

/// A type of event, and whether its box is ticked.
struct Kind {
    name: &'static str,
    what: &'static str,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "webhook.html")]
struct Detail {
    shell: Shell,
    endpoint: Endpoint,
    state: &'static str,
    tone: &'static str,
    path: String,
    made: String,
    told: String,
    failing: Option<String>,
    rotating: Option<String>,
    secret: Option<String>,
    deliveries: Vec<Sent>,
    older: Option<String>,
    key: String,
    notice: Option<String>,
}

/// A delivery on the page.
struct Sent {
    delivery: Delivery,
    state: &'static str,
    tone: &'static str,
    at: String,
    what: String,
    again: String,
}

fn kinds(chosen: &[EventType]) -> Vec<Kind> {
    let kind = |kind: EventType| Kind { name: kind.name(), what: what(kind), chosen: chosen.contains(&kind) };
    EventType::ALL.map(kind).into()
}

const fn what(kind: EventType) -> &'static str {
    match kind {
        EventType::OrderConfirmed => "an order is paid",
        EventType::OrderCancelled => "an order is cancelled",
        EventType::OrderShipped => "an order's first parcel leaves",
        EventType::OrderDelivered => "all of an order has arrived",
        EventType::ShipmentSent => "a parcel leaves",
        EventType::ShipmentDelivered => "a parcel arrives",
        EventType::PaymentRefunded => "the rest of its money goes back",
        EventType::RefundIssued => "a part of its money goes back",
        EventType::OrderReturned => "goods of an order have come back",
    }
}

/// Where it stands, in a word, and in which colour.
const fn state_of(endpoint: &Endpoint) -> (&'static str, &'static str) {
    match (endpoint.state, &endpoint.failing_since) {
        (EndpointState::Active, None) => ("Active", "good"),
        (EndpointState::Active, Some(_)) => ("Failing", "bad"),
        (EndpointState::Paused, _) => ("Paused", ""),
        (EndpointState::Disabled, _) => ("Disabled", "bad"),
    }
}

fn sent(path: &str, delivery: Delivery) -> Sent {
    let (state, tone) = match delivery.state {
        DeliveryState::ToSend if delivery.attempts == 0 => ("Waiting", ""),
        DeliveryState::ToSend => ("To be tried again", ""),
        DeliveryState::Delivered => ("Delivered", "good"),
        DeliveryState::Failed => ("Given up", "bad"),
    };
    let tries = match delivery.attempts {
        1 => "1 attempt".to_owned(),
        attempts => format!("{attempts} attempts"),
    };
    let order = delivery.order_id.map(|order| format!("order {}", order.short()));
    let what = [order, Some(tries), delivery.last_error.clone()].into_iter().flatten().collect::<Vec<_>>().join(" · ");
    let again = format!("{path}/deliveries/{}/replay", delivery.event_id);
    Sent { state, tone, at: moment(delivery.created_at), what, again, delivery }
}

/// Who runs the store, if the visitor does.
fn operator(visit: &Visit) -> Result<User, Problem> {
    visit.user().filter(|user| user.claims.has(Role::Operator)).ok_or_else(Problem::not_found)
}

fn fresh_key<P: Platform>(app: &App<P>) -> String {
    let mut random = [0; 16];
    app.platform.fill_random(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A sentence about endpoints that were disabled, if there are any and the visitor may know.
pub(super) async fn banner<P: Platform>(app: &App<P>, visit: &Visit) -> Option<String> {
    let user = operator(visit).ok()?;
    let page: EndpointPage =
        Call::get(&format!("{API}?limit=100")).bearer(&user.token).json(&app.platform, visit.client).await.ok()?;
    let disabled = page.items.iter().filter(|endpoint| endpoint.state == EndpointState::Disabled).count();
    match disabled {
        0 => None,
        1 => Some("A webhook endpoint was disabled; what it would be told waits.".to_owned()),
        _ => Some(format!("{disabled} webhook endpoints were disabled; what they would be told waits.")),
    }
}

/// `GET /desk/webhooks`.
pub(crate) async fn list<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
) -> Result<Response, Problem> {
    if visit.member().is_none() {
        return Ok(Redirect::to("/sign-in?next=desk").into_response());
    }
    let user = operator(&visit)?;
    answer(&page(&app, &visit, &user, &[], None).await?)
}

async fn page<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    user: &User,
    fields: &[(String, String)],
    notice: Option<String>,
) -> Result<List, Problem> {
    let found: EndpointPage =
        Call::get(&format!("{API}?limit=100")).bearer(&user.token).json(&app.platform, visit.client).await?;
    let given = field(fields, "key");
    Ok(List {
        shell: Shell::personal(app, visit, "Webhooks").await,
        endpoints: found.items.into_iter().map(Row::from).collect(),
        kinds: kinds(&chosen(fields)),
        key: if given.is_empty() { fresh_key(app) } else { given },
        url: field(fields, "url"),
        description: field(fields, "description"),
        notice,
    })
}

fn field(fields: &[(String, String)], name: &str) -> String {
    fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

fn chosen(fields: &[(String, String)]) -> Vec<EventType> {
    fields.iter().filter(|(name, _)| name == "type").filter_map(|(_, value)| EventType::parse(value)).collect()
}

/// `POST /desk/webhooks`: makes an endpoint, and shows its secret this once.
pub(crate) async fn make<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let user = operator(&visit)?;
    let new = NewEndpoint {
        url: field(&fields, "url"),
        event_types: chosen(&fields),
        description: field(&fields, "description"),
    };
    let call = Call::post(API, &new).idempotency_key(&field(&fields, "key")).bearer(&user.token);
    match call.json::<EndpointWithSecret>(&app.platform, visit.client).await {
        Ok(made) => answer(&with_secret(&app, &visit, &user, made).await?),
        Err(problem) if matches!(problem.status, 400 | 422) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
            let html = write(&page(&app, &visit, &user, &fields, Some(said(&problem))).await?)?;
            Ok((status, Html(html)).into_response())
        }
        Err(problem) => Err(problem),
    }
}

async fn with_secret<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    user: &User,
    made: EndpointWithSecret,
) -> Result<Detail, Problem> {
    let detail = detail(app, visit, user, made.endpoint.endpoint_id, None).await?;
    Ok(Detail { secret: Some(made.secret), ..detail })
}

/// Where the list of deliveries goes on.
#[derive(Default, Deserialize)]
pub(crate) struct Older {
    cursor: Option<EventId>,
}

/// `GET /desk/webhooks/{endpoint_id}`.
pub(crate) async fn show<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Query(Older { cursor }): Query<Older>,
) -> Result<Response, Problem> {
    let (user, id) = (operator(&visit)?, endpoint_id(&id)?);
    answer(&detail(&app, &visit, &user, id, cursor).await?)
}

fn endpoint_id(id: &str) -> Result<EndpointId, Problem> {
    id.parse().map_err(|_| Problem::not_found())
}

async fn detail<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    user: &User,
    id: EndpointId,
    cursor: Option<EventId>,
) -> Result<Detail, Problem> {
    let ask = |path: String| Call::get(&path).bearer(&user.token);
    let endpoint: Endpoint = ask(format!("{API}/{id}")).json(&app.platform, visit.client).await?;
    let before = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    let log = format!("{API}/{id}/deliveries?limit={SHOWN}{before}");
    let log: DeliveryPage = ask(log).json(&app.platform, visit.client).await?;
    let (path, (state, tone)) = (format!("{PAGE}/{id}"), state_of(&endpoint));
    let missing: Vec<&str> = log.missing.iter().map(RegionName::as_str).collect();
    let told: Vec<_> = endpoint.event_types.iter().map(|kind| what(*kind)).collect();
    Ok(Detail {
        shell: Shell::personal(app, visit, "Webhook endpoint").await,
        state,
        tone,
        made: moment(endpoint.created_at),
        told: told.join(", "),
        failing: endpoint.failing_since.map(moment),
        rotating: endpoint.previous_secret_until.map(moment),
        secret: None,
        older: log.next_cursor.map(|cursor| format!("{path}?cursor={cursor}")),
        deliveries: log.items.into_iter().map(|delivery| sent(&path, delivery)).collect(),
        key: fresh_key(app),
        notice: (!missing.is_empty())
            .then(|| format!("Deliveries of {} are missing here: it does not answer.", missing.join(" and "))),
        path,
        endpoint,
    })
}

/// What the form for a switch sent.
#[derive(Deserialize)]
pub(crate) struct Switched {
    state: Switch,
}

/// `POST /desk/webhooks/{endpoint_id}/state`: lets it wait, or go on.
pub(crate) async fn switch<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Form(Switched { state }): Form<Switched>,
) -> Result<Response, Problem> {
    let id = endpoint_id(&id)?;
    let change = ChangeEndpoint { state: Some(state), ..ChangeEndpoint::default() };
    act(&app, &visit, Call::with(Method::PATCH, &format!("{API}/{id}"), &change), &format!("{PAGE}/{id}")).await
}

/// `POST /desk/webhooks/{endpoint_id}/test`: sends it something to try it.
pub(crate) async fn test<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = endpoint_id(&id)?;
    let call = Call::post(&format!("{API}/{id}/test"), &serde_json::Map::new());
    act(&app, &visit, call, &format!("{PAGE}/{id}")).await
}

/// `POST /desk/webhooks/{endpoint_id}/delete`.
pub(crate) async fn delete<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = endpoint_id(&id)?;
    act(&app, &visit, Call::with(Method::DELETE, &format!("{API}/{id}"), &serde_json::Map::new()), PAGE).await
}

/// `POST /desk/webhooks/{endpoint_id}/deliveries/{event_id}/replay`: has it sent once more.
pub(crate) async fn replay<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path((id, event)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (id, event) = (endpoint_id(&id)?, event.parse::<EventId>().map_err(|_| Problem::not_found())?);
    let call = Call::post(&format!("{API}/{id}/deliveries/{event}/replay"), &serde_json::Map::new());
    act(&app, &visit, call, &format!("{PAGE}/{id}")).await
}

/// What the form for another secret sent.
#[derive(Deserialize)]
pub(crate) struct Keyed {
    #[serde(default)]
    key: String,
}

/// `POST /desk/webhooks/{endpoint_id}/rotate`: gives it another secret, and shows that this once.
pub(crate) async fn rotate<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Form(Keyed { key }): Form<Keyed>,
) -> Result<Response, Problem> {
    let (user, id) = (operator(&visit)?, endpoint_id(&id)?);
    let call = Call::post(&format!("{API}/{id}/rotate-secret"), &serde_json::Map::new());
    let rotated = call.idempotency_key(key.trim()).bearer(&user.token);
    let rotated: EndpointWithSecret = rotated.json(&app.platform, visit.client).await?;
    answer(&with_secret(&app, &visit, &user, rotated).await?)
}

/// Has the core do it and leads back.
async fn act<P: Platform>(app: &App<P>, visit: &Visit, call: Call, back: &str) -> Result<Response, Problem> {
    let user = operator(visit)?;
    match call.bearer(&user.token).send(&app.platform, visit.client).await {
        Ok(_) => Ok(Redirect::to(back).into_response()),
        Err(problem) if problem.is(ProblemKind::NotFound) && back == PAGE => Ok(Redirect::to(back).into_response()),
        Err(problem) => Err(problem),
    }
}
