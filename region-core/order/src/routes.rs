//! `/v1/quotes` and `/v1/orders`, and where other cores of the region hand over what this one writes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::{get, post};
use region_core_web::{
    IdempotencyKeyHeader, IfNoneMatch, Json, PREFER, PREFERENCE_APPLIED, Path, Prefer, Query, SignedIn, StoreKeeper,
    TraceParent,
};
use serde::Deserialize;
use shared::api::desk::{
    DeadLetterPage, DeskOrder, DeskPage, DeskQuery, GivenAgain, ReplayLetters, SkipLetter, Timeline,
};
use shared::api::order::{
    CancelOrder, Inspection, LabelAsked, NewReturn, NewShipment, Order, OrderPage, PaymentMethod, PlaceOrder, Quote,
    QuoteRequest, Return, Shipment, WriteOff,
};
use shared::api::origin::Origins;
use shared::idempotency::IDEMPOTENCY_REPLAYED;
use shared::{EventId, OrderId, Problem, ReturnId, ShipmentId};
use utoipa::{IntoParams, OpenApi};

use crate::error::OrderError;
use crate::handover::{self, HandedOver, Reply};
use crate::orders::{Caller, Orders};
use crate::ship::Parcel;
use crate::{desk, repair};

/// Most orders on one page.
const MAX_PAGE: u32 = 100;
/// Longest time that an answer is held for the order's end, or for a change of it.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What the routes say of themselves.
#[derive(OpenApi)]
#[openapi(paths(
    quote,
    place,
    list,
    find,
    timeline,
    cancel,
    release,
    origins,
    ship,
    leave,
    void_label,
    write_off,
    deliver,
    take_back,
    inspect,
    find_at_desk,
    list_letters,
    replay_letters,
    skip_letter,
))]
pub struct Api;

/// The service's routes; quotes name these ways to pay.
pub fn router(orders: Orders, methods: Vec<PaymentMethod>) -> Router {
    let quotes = Router::new().route("/v1/quotes", post(quote)).with_state((orders.clone(), methods.into()));
    Router::new()
        .route("/v1/orders", post(place).get(list))
        .route("/v1/orders/{order_id}", get(find))
        .route("/v1/orders/{order_id}/timeline", get(timeline))
        .route("/v1/orders/{order_id}/cancel", post(cancel))
        .route("/v1/orders/{order_id}/release", post(release))
        .route("/v1/orders/{order_id}/origins", get(origins))
        .route("/v1/orders/{order_id}/shipments", post(ship))
        .route("/v1/orders/{order_id}/shipments/{shipment_id}/left", post(leave))
        .route("/v1/orders/{order_id}/shipments/{shipment_id}/void", post(void_label))
        .route("/v1/orders/{order_id}/shipments/{shipment_id}/write-off", post(write_off))
        .route("/v1/orders/{order_id}/shipments/{shipment_id}/delivered", post(deliver))
        .route("/v1/orders/{order_id}/returns", post(take_back))
        .route("/v1/orders/{order_id}/returns/{return_id}/inspection", post(inspect))
        .route("/v1/desk/orders", get(find_at_desk))
        .route("/v1/desk/dead-letters", get(list_letters))
        .route("/v1/orders/{order_id}/dead-letters/replay", post(replay_letters))
        .route("/v1/orders/{order_id}/dead-letters/{event_id}/skip", post(skip_letter))
        .with_state(orders)
        .merge(quotes)
}

/// For cores of this region alone: what they hand over names its user, whose token they have seen.
pub fn internal_router(orders: Orders) -> Router {
    Router::new().route(handover::PATH, post(admit)).with_state(orders)
}

/// For cores of every region: what the desk of one shows of the others.
pub fn regions_router(orders: Orders) -> Router {
    Router::new().route(desk::PATH, post(find_for_desk)).route(repair::PATH, post(list_letters_here)).with_state(orders)
}

async fn list_letters_here(State(orders): State<Orders>, _: Json<()>) -> Result<Json<DeadLetterPage>, Problem> {
    Ok(Json(orders.dead_letters_here().await?))
}

/// Events that a part of the store gave up on, in all regions.
#[utoipa::path(
    get, path = "/v1/desk/dead-letters", operation_id = "list_dead_letters", tag = "desk",
    responses((status = 200, description = "Dead letters", body = DeadLetterPage)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn list_letters(State(orders): State<Orders>, _: StoreKeeper) -> Result<Json<DeadLetterPage>, Problem> {
    Ok(Json(orders.dead_letters().await?))
}

/// Gives an order's dead letters again. Repeats are harmless.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/dead-letters/replay", operation_id = "replay_dead_letters", tag = "desk",
    params(("order_id" = OrderId, Path, description = "The order")),
    responses((status = 200, description = "How many are given again", body = GivenAgain)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn replay_letters(
    State(orders): State<Orders>,
    keeper: StoreKeeper,
    Path(order_id): Path<OrderId>,
    Json(body): Json<ReplayLetters>,
) -> Result<Json<GivenAgain>, Problem> {
    Ok(Json(GivenAgain { events: orders.replay_letters(order_id, body, keeper.claims.sub).await? }))
}

/// Leaves a dead letter out for good, and gives what waited behind it. Repeats are harmless.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/dead-letters/{event_id}/skip", operation_id = "skip_dead_letter", tag = "desk",
    responses((status = 200, description = "How many are given again after it", body = GivenAgain)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn skip_letter(
    State(orders): State<Orders>,
    keeper: StoreKeeper,
    Path((order_id, event_id)): Path<(OrderId, EventId)>,
    Json(body): Json<SkipLetter>,
) -> Result<Json<GivenAgain>, Problem> {
    Ok(Json(GivenAgain { events: orders.skip_letter(order_id, event_id, body, keeper.claims.sub).await? }))
}

async fn find_for_desk(
    State(orders): State<Orders>,
    Json(query): Json<DeskQuery>,
) -> Result<Json<Vec<DeskOrder>>, Problem> {
    Ok(Json(orders.desk_here(&query).await?))
}

/// Finds orders of all shoppers in all regions, newest first.
#[utoipa::path(
    get, path = "/v1/desk/orders", operation_id = "find_orders_at_desk", tag = "desk",
    params(DeskQuery),
    responses((status = 200, description = "A page of orders", body = DeskPage)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn find_at_desk(
    State(orders): State<Orders>,
    _: StoreKeeper,
    Query(query): Query<DeskQuery>,
) -> Result<Json<DeskPage>, Problem> {
    Ok(Json(orders.desk(&query).await?))
}

/// Everything that happened to an order: its owner sees it, and who keeps the store.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/timeline", operation_id = "get_timeline", tag = "orders",
    params(("order_id" = OrderId, Path, description = "The order")),
    responses((status = 200, description = "What happened", body = Timeline)),
    security(("bearer" = [])),
)]
async fn timeline(
    State(orders): State<Orders>,
    caller: SignedIn,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Timeline>, Problem> {
    Ok(Json(orders.timeline(caller.user_id(), caller.keeps_store(), order_id).await?))
}

async fn admit(
    State(orders): State<Orders>,
    Json(handed_over): Json<HandedOver<'static>>,
) -> Result<Json<Reply>, Problem> {
    Ok(Json(orders.admit_handed_over(handed_over).await?))
}

/// What an order would cost, how it can be sent and how it can be paid.
#[utoipa::path(
    post, path = "/v1/quotes", operation_id = "quote_order", tag = "orders",
    responses((status = 200, description = "What it costs", body = Quote)),
)]
async fn quote(
    State((orders, methods)): State<(Orders, Arc<[PaymentMethod]>)>,
    Json(body): Json<QuoteRequest>,
) -> Result<Json<Quote>, Problem> {
    Ok(Json(Quote { payment_methods: methods.to_vec(), ..orders.quote(&body)?.into() }))
}

/// Places an order.
///
/// A repeat under its key gets the same order. With `Prefer: wait=N` the answer is held until the order is confirmed, cancelled or
/// waits for its shopper's answer to the bank, for N seconds at most; without `Preference-Applied` it was not, for too many waited.
#[utoipa::path(
    post, path = "/v1/orders", operation_id = "place_order", tag = "orders",
    params(
        IdempotencyKeyHeader,
        Prefer,
    ),
    responses((status = 201, description = "The order", body = Order, headers(("location" = String, description = "The order's address")))),
    security(("bearer" = [])),
)]
async fn place(
    State(orders): State<Orders>,
    caller: SignedIn,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    trace: TraceParent,
    headers: HeaderMap,
    Json(body): Json<PlaceOrder>,
) -> Result<impl IntoResponse, Problem> {
    let mut placed = orders.place(Caller::from(&caller.claims), &key, body, Some(trace.to_string())).await?;
    let mut applied = None;
    if let Some(wait) = preferred_wait(&headers)
        && let Some(seen) = orders.wait_for_end(&placed.order, wait).await
    {
        (placed.order, applied) = (seen, Some(heeded(wait)));
    }
    let replayed = placed.replayed.then_some([(HeaderName::from_static(IDEMPOTENCY_REPLAYED), "true")]);
    let location = [(axum::http::header::LOCATION, format!("/v1/orders/{}", placed.order.order_id))];
    Ok((StatusCode::CREATED, location, replayed.map(AppendHeaders), applied.map(AppendHeaders), Json(placed.order)))
}

/// How long the client would wait for the order's end (RFC 7240 section 4.3), at most [`LONGEST_WAIT`].
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let named = |value: &HeaderValue| {
        let preferences = value.to_str().ok()?.split(',');
        let seconds = preferences.filter_map(|preference| preference.trim().strip_prefix("wait=")).next()?;
        seconds.trim().trim_matches('"').parse().ok()
    };
    headers.get_all(PREFER).iter().find_map(named).map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// Says that the wait was heeded.
fn heeded(wait: Duration) -> [(HeaderName, String); 1] {
    [(HeaderName::from_static(PREFERENCE_APPLIED), format!("wait={}", wait.as_secs()))]
}

/// An order: the owner's, or any for who keeps the store.
///
/// Whoever names the state that he knows gets 304 while the order stands there; if he would wait, the answer is held until it has
/// moved on. A 304 without `Preference-Applied` was not held, for too many waited.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}", operation_id = "get_order", tag = "orders",
    params(
        ("order_id" = OrderId, Path, description = "The order"),
        IfNoneMatch,
        Prefer,
    ),
    responses((status = 200, description = "The order", body = Order)),
    security(("bearer" = [])),
)]
async fn find(
    State(orders): State<Orders>,
    caller: SignedIn,
    Path(order_id): Path<OrderId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let owner = match caller.keeps_store() {
        true => orders.reader(caller.user_id(), order_id).await?,
        false => Some(caller.user_id()),
    };
    if headers.contains_key(IF_NONE_MATCH) {
        let wait = preferred_wait(&headers);
        let known = |state: &str| knows(&headers, state);
        let stands = orders.follow(order_id, owner, wait.unwrap_or_default(), known).await?;
        if known(&stands.state) {
            let applied = wait.filter(|_| stands.held).map(heeded);
            let same = (StatusCode::NOT_MODIFIED, [(ETAG, stands.state)], applied.map(AppendHeaders), ());
            return Ok(same.into_response());
        }
    }
    let order = orders.find_for(owner, order_id).await?;
    Ok(([(ETAG, order.state_tag())], Json(order)).into_response())
}

/// Whether `If-None-Match` names the tag; weak comparison (RFC 9110 section 13.1.2).
fn knows(headers: &HeaderMap, tag: &str) -> bool {
    let named = |value: &HeaderValue| {
        let mut tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
    };
    headers.get_all(IF_NONE_MATCH).iter().any(named)
}

/// Cancels an order.
///
/// Answers with the order as it is now: repeats are harmless. Who keeps the store says why; a shopper need not.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/cancel", operation_id = "cancel_order", tag = "orders",
    params(("order_id" = OrderId, Path, description = "The order")),
    request_body = Option<CancelOrder>,
    responses((status = 200, description = "The order as it is then", body = Order)),
    security(("bearer" = [])),
)]
async fn cancel(
    State(orders): State<Orders>,
    caller: SignedIn,
    Path(order_id): Path<OrderId>,
    body: Option<Json<CancelOrder>>,
) -> Result<Json<Order>, Problem> {
    let reason = body.and_then(|Json(body)| body.reason);
    match (reason, caller.keeps_store()) {
        (Some(reason), true) => Ok(Json(orders.cancel_any(order_id, caller.user_id(), &reason).await?)),
        (Some(_), false) => Err(Problem::invalid("reason", "only who keeps the store gives one")),
        (None, keeps_store) => match orders.cancel(caller.user_id(), order_id).await {
            Err(OrderError::NotFound) if keeps_store => Err(Problem::invalid("reason", "say why, to its shopper")),
            cancelled => Ok(Json(cancelled?)),
        },
    }
}

/// Releases an order that is held for review.
///
/// Answers with the order as it is now: repeats are harmless.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/release", operation_id = "release_order", tag = "orders",
    params(("order_id" = OrderId, Path, description = "The order")),
    responses((status = 200, description = "The order as it is then", body = Order)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn release(
    State(orders): State<Orders>,
    keeper: StoreKeeper,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Order>, Problem> {
    Ok(Json(orders.release(order_id, keeper.claims.sub).await?))
}

/// From which regions an order's units are to be sent.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/origins", operation_id = "get_origins", tag = "shipping",
    params(("order_id" = OrderId, Path, description = "The order")),
    responses((status = 200, description = "Regions and units", body = Origins)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn origins(
    State(orders): State<Orders>,
    _: StoreKeeper,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Origins>, Problem> {
    Ok(Json(orders.origins(order_id).await?))
}

/// Sends a parcel.
///
/// 201 for a new parcel, or 202 if a label is bought for it and it has not left; a repeat under its key gets the same one.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/shipments", operation_id = "ship", tag = "shipping",
    params(("order_id" = OrderId, Path, description = "The order"), IdempotencyKeyHeader),
    responses(
        (status = 201, description = "It has left", body = Shipment),
        (status = 202, description = "A label is bought for it", body = LabelAsked),
    ),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn ship(
    State(orders): State<Orders>,
    keeper: StoreKeeper,
    Path(order_id): Path<OrderId>,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    Json(body): Json<NewShipment>,
) -> Result<Response, Problem> {
    let sent = orders.ship(order_id, key, keeper.claims.sub, body).await?;
    let replayed = sent.replayed.then_some([(HeaderName::from_static(IDEMPOTENCY_REPLAYED), "true")]);
    let replayed = replayed.map(AppendHeaders);
    Ok(match sent.parcel {
        Parcel::Left(shipment) => (StatusCode::CREATED, replayed, Json(shipment)).into_response(),
        Parcel::Labelled(shipment_id) => {
            (StatusCode::ACCEPTED, replayed, Json(LabelAsked { shipment_id })).into_response()
        }
    })
}

/// Says that the parcel under a label has left, where no carrier scans it.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/shipments/{shipment_id}/left", operation_id = "mark_left", tag = "shipping",
    responses((status = 200, description = "The parcel", body = Shipment)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn leave(
    State(orders): State<Orders>,
    keeper: StoreKeeper,
    Path((order_id, shipment_id)): Path<(OrderId, ShipmentId)>,
) -> Result<Json<Shipment>, Problem> {
    Ok(Json(orders.leave(order_id, shipment_id, Some(keeper.claims.sub)).await?))
}

/// Gives a label back to the carrier.
///
/// 202: what becomes of it shows among the order's labels.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/shipments/{shipment_id}/void", operation_id = "void_label", tag = "shipping",
    responses((status = 202, description = "The carrier is asked", body = LabelAsked)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn void_label(
    State(orders): State<Orders>,
    keeper: StoreKeeper,
    Path((order_id, shipment_id)): Path<(OrderId, ShipmentId)>,
) -> Result<(StatusCode, Json<LabelAsked>), Problem> {
    orders.void_label(order_id, shipment_id, keeper.claims.sub).await?;
    Ok((StatusCode::ACCEPTED, Json(LabelAsked { shipment_id })))
}

/// Writes off a label that the carrier neither takes back nor lets be used.
///
/// A repeat under its key is harmless.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/shipments/{shipment_id}/write-off", operation_id = "write_off_label", tag = "shipping",
    params(IdempotencyKeyHeader),
    responses((status = 200, description = "It is written off", body = LabelAsked)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn write_off(
    State(orders): State<Orders>,
    keeper: StoreKeeper,
    Path((order_id, shipment_id)): Path<(OrderId, ShipmentId)>,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    Json(WriteOff { reason }): Json<WriteOff>,
) -> Result<impl IntoResponse, Problem> {
    let replayed = orders.write_off_label(order_id, shipment_id, key, keeper.claims.sub, &reason).await?;
    let replayed = replayed.then_some([(HeaderName::from_static(IDEMPOTENCY_REPLAYED), "true")]);
    Ok((replayed.map(AppendHeaders), Json(LabelAsked { shipment_id })))
}

/// Says that a parcel was delivered.
///
/// Answers with the order as it is now: repeats are harmless.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/shipments/{shipment_id}/delivered", operation_id = "mark_delivered", tag = "shipping",
    responses((status = 200, description = "The order as it is then", body = Order)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn deliver(
    State(orders): State<Orders>,
    keeper: StoreKeeper,
    Path((order_id, shipment_id)): Path<(OrderId, ShipmentId)>,
) -> Result<Json<Order>, Problem> {
    Ok(Json(orders.deliver(order_id, shipment_id, Some(keeper.claims.sub)).await?))
}

/// Takes items back.
///
/// 201 for a new return; a repeat under its key gets the same one.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/returns", operation_id = "take_back", tag = "returns",
    params(("order_id" = OrderId, Path, description = "The order"), IdempotencyKeyHeader),
    responses((status = 201, description = "The return", body = Return)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn take_back(
    State(orders): State<Orders>,
    keeper: StoreKeeper,
    Path(order_id): Path<OrderId>,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    Json(body): Json<NewReturn>,
) -> Result<impl IntoResponse, Problem> {
    let back = orders.take_back(order_id, key, keeper.claims.sub, body).await?;
    let replayed = back.replayed.then_some([(HeaderName::from_static(IDEMPOTENCY_REPLAYED), "true")]);
    Ok((StatusCode::CREATED, replayed.map(AppendHeaders), Json(back.taken_back)))
}

/// Says what of a return goes back to stock and what is written off.
///
/// Answers with the return as it is now: repeats are harmless.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/returns/{return_id}/inspection", operation_id = "inspect_return", tag = "returns",
    responses((status = 200, description = "The return as it is then", body = Return)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn inspect(
    State(orders): State<Orders>,
    keeper: StoreKeeper,
    Path((order_id, return_id)): Path<(OrderId, ReturnId)>,
    Json(body): Json<Inspection>,
) -> Result<Json<Return>, Problem> {
    Ok(Json(orders.inspect(order_id, return_id, keeper.claims.sub, body).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Most on a page, 1 to 100.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: u32,
    /// `next_cursor` of the page before.
    cursor: Option<OrderId>,
}

const fn default_limit() -> u32 {
    20
}

/// The caller's orders, newest first.
#[utoipa::path(
    get, path = "/v1/orders", operation_id = "list_orders", tag = "orders",
    params(ListQuery),
    responses((status = 200, description = "A page of orders", body = OrderPage)),
    security(("bearer" = [])),
)]
async fn list(
    State(orders): State<Orders>,
    caller: SignedIn,
    Query(query): Query<ListQuery>,
) -> Result<Json<OrderPage>, Problem> {
    if !(1..=MAX_PAGE).contains(&query.limit) {
        return Err(Problem::invalid("limit", "1 to 100"));
    }
    Ok(Json(orders.list(caller.user_id(), query.cursor, query.limit).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_and_bounded_and_anything_else_is_ignored() {
        let wait = |value: &'static str| {
            preferred_wait(&HeaderMap::from_iter([(
                HeaderName::from_static("prefer"),
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(wait("wait=3"), Some(Duration::from_secs(3)));
        assert_eq!(wait("respond-async, wait=\"5\""), Some(Duration::from_secs(5)));
        assert_eq!(wait("wait=9999"), Some(LONGEST_WAIT));
        for ignored in ["", "wait", "wait=", "wait=-1", "wait=soon", "handling=lenient"] {
            assert_eq!(wait(ignored), None, "{ignored:?} was heeded");
        }
    }

    #[test]
    fn a_state_is_known_by_its_tag_alone_or_in_a_list() {
        let knows = |value: &'static str| {
            knows(&HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))]), "\"1-captured-0\"")
        };
        for same in ["\"1-captured-0\"", "W/\"1-captured-0\"", "\"0-processing-0\", \"1-captured-0\"", "*"] {
            assert!(knows(same), "{same}");
        }
        for other in ["", "1-captured-0", "\"11-captured-0\"", "\"1-captured-01\""] {
            assert!(!knows(other), "{other}");
        }
    }
}
