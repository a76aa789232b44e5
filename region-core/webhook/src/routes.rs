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

use crate::service::{Again, Asked, DELIVERIES, REPLAY, Webhooks};

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

/// 201 for a new endpoint; a repeat under its key gets the same one.
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    #[serde(default = "default_limit")]
    limit: u32,
    cursor: Option<EndpointId>,
}

const fn default_limit() -> u32 {
    50
}

async fn list(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Query(query): Query<ListQuery>,
) -> Result<Json<EndpointPage>, Problem> {
    Ok(Json(webhooks.list(query.cursor, query.limit).await?))
}

async fn find(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path(endpoint_id): Path<EndpointId>,
) -> Result<Json<Endpoint>, Problem> {
    Ok(Json(webhooks.get(endpoint_id).await?))
}

async fn change(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path(endpoint_id): Path<EndpointId>,
    Json(body): Json<ChangeEndpoint>,
) -> Result<Json<Endpoint>, Problem> {
    Ok(Json(webhooks.change(endpoint_id, body).await?))
}

async fn remove(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path(endpoint_id): Path<EndpointId>,
) -> Result<StatusCode, Problem> {
    webhooks.delete(endpoint_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Answers with the new secret; a repeat under its key with the same one.
async fn rotate(
    State(webhooks): State<Webhooks>,
    operator: Operator,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    Path(endpoint_id): Path<EndpointId>,
) -> Result<Json<EndpointWithSecret>, Problem> {
    Ok(Json(webhooks.rotate(operator.claims.sub, &key, endpoint_id).await?))
}

/// Under which id a test is sent.
#[derive(Serialize)]
struct Tested {
    event_id: EventId,
}

/// 202: it is on its way, and the deliveries tell what became of it.
async fn test(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path(endpoint_id): Path<EndpointId>,
) -> Result<impl IntoResponse, Problem> {
    let event_id = webhooks.test(endpoint_id).await?;
    Ok((StatusCode::ACCEPTED, Json(Tested { event_id })))
}

async fn deliveries(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path(endpoint_id): Path<EndpointId>,
    Query(query): Query<DeliveryQuery>,
) -> Result<Json<DeliveryPage>, Problem> {
    Ok(Json(webhooks.deliveries(endpoint_id, query).await?))
}

async fn replay_one(
    State(webhooks): State<Webhooks>,
    _: Operator,
    Path((endpoint_id, event_id)): Path<(EndpointId, EventId)>,
) -> Result<Json<Replayed>, Problem> {
    Ok(Json(webhooks.replay_one(endpoint_id, event_id).await?))
}

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
