//! `/v1/orders/{order_id}/notifications`, for who keeps the store.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode};
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::{get, post};
use region_core_web::{IdempotencyKeyHeader, Json, Path, StoreKeeper};
use shared::api::desk::NotificationList;
use shared::idempotency::IDEMPOTENCY_REPLAYED;
use shared::{EventId, OrderId, Problem};

use crate::Notifications;

/// The service's routes.
pub fn router(notifications: Notifications) -> Router {
    Router::new()
        .route("/v1/orders/{order_id}/notifications", get(list))
        .route("/v1/orders/{order_id}/notifications/{notification_id}/resend", post(resend))
        .with_state(notifications)
}

async fn list(
    State(notifications): State<Notifications>,
    _: StoreKeeper,
    Path(order_id): Path<OrderId>,
) -> Result<Json<NotificationList>, Problem> {
    Ok(Json(NotificationList { items: notifications.list(order_id).await? }))
}

/// 201 for a new copy; a repeat under its key gets the same one.
async fn resend(
    State(notifications): State<Notifications>,
    keeper: StoreKeeper,
    Path((order_id, notification_id)): Path<(OrderId, EventId)>,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
) -> Result<impl IntoResponse, Problem> {
    let copied = notifications.send_again(order_id, notification_id, key, keeper.claims.sub).await?;
    let replayed = copied.replayed.then_some([(HeaderName::from_static(IDEMPOTENCY_REPLAYED), "true")]);
    Ok((StatusCode::CREATED, replayed.map(AppendHeaders), Json(copied.notification)))
}
