//! `/v1/webhook-endpoints`, for operators, and where other cores ask for this region's part.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use region_core_web::{IdempotencyKeyHeader, Json, Operator, Path, Query};
use serde::{Deserialize, Serialize};
use shared::api::webhook::{
    ChangeEndpoint, Delivery, DeliveryPage, DeliveryQuery, Endpoint, EndpointPage, EndpointWithSecret, NewEndpoint,
    ReplaySpan, Replayed,
};
use shared::{EndpointId, EventId, Problem};
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::service::{Again, Asked, DELIVERIES, REPLAY, Webhooks};

/// What the routes say of themselves.
#[derive(OpenApi)]
#[openapi(paths(make, list, find, change, remove, rotate, test, deliveries, replay_one, replay_span))]
pub struct Api;

/// The service's routes.
pub fn router(webhooks: Webhooks) -> Router {
    Router::new()
        .route("/v1/webhook-endpoints", post(make).get(list))
        .route("/v1/webhook-endpoints/{endpoint_id}", get(find).patch(change).delete(remove))
        .route("/v1/webhook-endpoints/{endpoint_id}/rotate-secret", post(rotate))
        .route("/v1/webhook-endpoints/{endpoint_id}/test", post(test))
        .route("/v1/webhook-endpoints/{endpoint_id}/deliveries", get(deliveries))
        .route("/v1/webhook-endpoints/{endpoint_id}/deliveries/{event_id}/replay", post(replay_one))
        .route("/v1/webhook-endpoints/{endpoint_id}/replay", post(replay_span))
        .with_state(webhooks)
}

/// For cores of every region: what one shows of the others and has them send.
pub fn internal_router(webhooks: Webhooks) -> Router {
    Router::new().route(DELIVERIES, post(deliveries_here)).route(REPLAY, post(replay_here)).with_state(webhooks)
}

/// Makes an endpoint that events are sent to.
///
/// 201 for a new endpoint; a repeat under its key gets the same one.
#[utoipa::path(
    post, path = "/v1/webhook-endpoints", operation_id = "create_webhook_endpoint", tag = "webhooks",
    params(IdempotencyKeyHeader),
    responses((status = 201, description = "The endpoint, with its secret", body = EndpointWithSecret,
        headers(("location" = String, description = "The endpoint's address")))),
    security(("bearer" = ["operator"])),
)]
async fn make(
    State(webhooks): State<Webhooks>,
    operator: Operator,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    Json(body): Json<NewEndpoint>,
) -> Result<impl IntoResponse, Problem> {
    let made = webhooks.make(operator.claims.sub, &key, body).await?;
    let location = format!("/v1/webhook-endpoints/{}", made.endpoint.endpoint_id);
    Ok((StatusCode::CREATED, [(axum::http::header::LOCATION, location)], Json(made)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Most on a page, 1 to 100.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: u32,
    /// `next_cursor` of the page before.
    cursor: Option<EndpointId>,
}

const fn default_limit() -> u32 {
    50
}

/// Endpoints, oldest first.
#[utoipa::path(
    get, path = "/v1/webhook-endpoints", operation_id = "list_webhook_endpoints", tag = "webhooks",
    params(ListQuery),
    responses((status = 200, description = "A page of endpoints", body = EndpointPage)),
    security(("bearer" = ["operator"])),
)]
async fn list(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Query(query): Query<ListQuery>,
) -> Result<Json<EndpointPage>, Problem> {
    Ok(Json(webhooks.list(query.cursor, query.limit).await?))
}

/// An endpoint.
#[utoipa::path(
    get, path = "/v1/webhook-endpoints/{endpoint_id}", operation_id = "get_webhook_endpoint", tag = "webhooks",
    params(("endpoint_id" = EndpointId, Path, description = "The endpoint")),
    responses((status = 200, description = "The endpoint", body = Endpoint)),
    security(("bearer" = ["operator"])),
)]
async fn find(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path(endpoint_id): Path<EndpointId>,
) -> Result<Json<Endpoint>, Problem> {
    Ok(Json(webhooks.get(endpoint_id).await?))
}

/// Changes what is named of an endpoint.
#[utoipa::path(
    patch, path = "/v1/webhook-endpoints/{endpoint_id}", operation_id = "change_webhook_endpoint", tag = "webhooks",
    params(("endpoint_id" = EndpointId, Path, description = "The endpoint")),
    responses((status = 200, description = "The endpoint as it is then", body = Endpoint)),
    security(("bearer" = ["operator"])),
)]
async fn change(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path(endpoint_id): Path<EndpointId>,
    Json(body): Json<ChangeEndpoint>,
) -> Result<Json<Endpoint>, Problem> {
    Ok(Json(webhooks.change(endpoint_id, body).await?))
}

/// Removes an endpoint; what it would have been told is not sent.
#[utoipa::path(
    delete, path = "/v1/webhook-endpoints/{endpoint_id}", operation_id = "delete_webhook_endpoint", tag = "webhooks",
    params(("endpoint_id" = EndpointId, Path, description = "The endpoint")),
    responses((status = 204, description = "Nothing is sent there any more")),
    security(("bearer" = ["operator"])),
)]
async fn remove(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path(endpoint_id): Path<EndpointId>,
) -> Result<StatusCode, Problem> {
    webhooks.delete(endpoint_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Signs with a new secret, and for a while with the old one too.
///
/// A repeat under the latest key is answered with the same secret.
#[utoipa::path(
    post, path = "/v1/webhook-endpoints/{endpoint_id}/rotate-secret", operation_id = "rotate_webhook_secret", tag = "webhooks",
    params(("endpoint_id" = EndpointId, Path, description = "The endpoint"), IdempotencyKeyHeader),
    responses((status = 200, description = "The endpoint, with its new secret", body = EndpointWithSecret)),
    security(("bearer" = ["operator"])),
)]
async fn rotate(
    State(webhooks): State<Webhooks>,
    operator: Operator,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    Path(endpoint_id): Path<EndpointId>,
) -> Result<Json<EndpointWithSecret>, Problem> {
    Ok(Json(webhooks.rotate(operator.claims.sub, &key, endpoint_id).await?))
}

/// Under which id a test is sent.
#[derive(Serialize, ToSchema)]
struct Tested {
    /// `webhook-id` of every attempt.
    event_id: EventId,
}

/// Sends a test event.
///
/// 202: it is on its way, and the deliveries tell what became of it.
#[utoipa::path(
    post, path = "/v1/webhook-endpoints/{endpoint_id}/test", operation_id = "test_webhook_endpoint", tag = "webhooks",
    params(("endpoint_id" = EndpointId, Path, description = "The endpoint")),
    responses((status = 202, description = "It is on its way", body = Tested)),
    security(("bearer" = ["operator"])),
)]
async fn test(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path(endpoint_id): Path<EndpointId>,
) -> Result<impl IntoResponse, Problem> {
    let event_id = webhooks.test(endpoint_id).await?;
    Ok((StatusCode::ACCEPTED, Json(Tested { event_id })))
}

/// What was sent to an endpoint and what became of it, newest first.
#[utoipa::path(
    get, path = "/v1/webhook-endpoints/{endpoint_id}/deliveries", operation_id = "list_webhook_deliveries", tag = "webhooks",
    params(("endpoint_id" = EndpointId, Path, description = "The endpoint"), DeliveryQuery),
    responses((status = 200, description = "A page of deliveries", body = DeliveryPage)),
    security(("bearer" = ["operator"])),
)]
async fn deliveries(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path(endpoint_id): Path<EndpointId>,
    Query(query): Query<DeliveryQuery>,
) -> Result<Json<DeliveryPage>, Problem> {
    Ok(Json(webhooks.deliveries(endpoint_id, query).await?))
}

/// Sends an event again.
#[utoipa::path(
    post, path = "/v1/webhook-endpoints/{endpoint_id}/deliveries/{event_id}/replay", operation_id = "replay_webhook_delivery", tag = "webhooks",
    responses((status = 200, description = "How many are sent again", body = Replayed)),
    security(("bearer" = ["operator"])),
)]
async fn replay_one(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path((endpoint_id, event_id)): Path<(EndpointId, EventId)>,
) -> Result<Json<Replayed>, Problem> {
    Ok(Json(webhooks.replay_one(endpoint_id, event_id).await?))
}

/// Sends the events of a time span again.
#[utoipa::path(
    post, path = "/v1/webhook-endpoints/{endpoint_id}/replay", operation_id = "replay_webhook_deliveries", tag = "webhooks",
    params(("endpoint_id" = EndpointId, Path, description = "The endpoint")),
    responses((status = 200, description = "How many are sent again", body = Replayed)),
    security(("bearer" = ["operator"])),
)]
async fn replay_span(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path(endpoint_id): Path<EndpointId>,
    Json(body): Json<ReplaySpan>,
) -> Result<Json<Replayed>, Problem> {
    Ok(Json(webhooks.replay_span(endpoint_id, body).await?))
}

async fn deliveries_here(
    State(webhooks): State<Webhooks>,
    Json(asked): Json<Asked>,
) -> Result<Json<Vec<Delivery>>, Problem> {
    Ok(Json(webhooks.deliveries_here(&asked).await?))
}

async fn replay_here(State(webhooks): State<Webhooks>, Json(again): Json<Again>) -> Result<Json<Replayed>, Problem> {
    Ok(Json(webhooks.replay_here(&again).await?))
}
