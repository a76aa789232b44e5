//! `/internal`: messages from other regions' cores.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use region_core_web::Json;
use shared::Problem;

use super::desk::Desk;
use super::message::{Ack, CountsRequest, Given, Grant, Reply, ShardCounts, Standings, Status};

pub(crate) const GRANT: &str = "/internal/transfers/grant";
pub(crate) const ACK: &str = "/internal/transfers/ack";
pub(crate) const STATUS: &str = "/internal/transfers/status";
pub(crate) const COUNTS: &str = "/internal/stock/counts";

/// For cores alone: never to be served where a PoP or anyone else could reach it.
pub(crate) fn internal_router(desk: Desk) -> Router {
    Router::new()
        .route(GRANT, post(grant))
        .route(ACK, post(ack))
        .route(STATUS, post(status))
        .route(COUNTS, post(counts))
        .with_state(desk)
}

async fn grant(State(desk): State<Desk>, Json(message): Json<Grant>) -> Result<Json<Reply<Vec<Given>>>, Problem> {
    Ok(Json(desk.grant(message).await?))
}

async fn ack(State(desk): State<Desk>, Json(message): Json<Ack>) -> Result<Json<Reply<()>>, Problem> {
    Ok(Json(desk.ack(message).await?))
}

async fn status(State(desk): State<Desk>, Json(message): Json<Status>) -> Result<Json<Reply<Standings>>, Problem> {
    Ok(Json(desk.status(message).await?))
}

async fn counts(
    State(desk): State<Desk>,
    Json(request): Json<CountsRequest>,
) -> Result<Json<Vec<ShardCounts>>, Problem> {
    Ok(Json(desk.counts(request).await?))
}
