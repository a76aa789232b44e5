//! `/v1/orders/{order_id}/notifications`, for who keeps the store, and preferences: by a mail's link, and for accounts.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode};
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::{get, post};
use region_core_web::{IdempotencyKeyHeader, Json, Path, SignedIn, StoreKeeper};
use shared::api::account::{Channels, MailPreferences};
use shared::api::desk::NotificationList;
use shared::api::order::PushSubscription;
use shared::idempotency::IDEMPOTENCY_REPLAYED;
use shared::{EventId, OrderId, Problem};

use crate::Notifications;
use crate::preferences::{self, Asked, Preferences};

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

/// What readers of mails and members choose; there even where no mail is written.
pub fn preferences_router(preferences: Preferences) -> Router {
    Router::new()
        .route("/v1/account/mail-preferences", get(of_user).post(keep_of_user))
        .route("/v1/mail-preferences/{token}", get(by_link).post(keep_by_link))
        .with_state(preferences)
}

/// What browsers are told of an order, if anything is pushed.
pub fn push_router(notifications: Notifications) -> Router {
    if notifications.channels().push_key.is_none() {
        return Router::new();
    }
    Router::new()
        .route("/v1/orders/{order_id}/push-subscriptions", post(subscribe).delete(unsubscribe))
        .with_state(notifications)
}

/// Repeats are harmless.
async fn subscribe(
    State(notifications): State<Notifications>,
    caller: SignedIn,
    Path(order_id): Path<OrderId>,
    Json(browser): Json<PushSubscription>,
) -> Result<StatusCode, Problem> {
    notifications.subscribe(caller.user_id(), order_id, &browser).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Repeats are harmless.
async fn unsubscribe(
    State(notifications): State<Notifications>,
    caller: SignedIn,
    Path(order_id): Path<OrderId>,
) -> Result<StatusCode, Problem> {
    notifications.unsubscribe(caller.user_id(), order_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What anybody may know of the ways to tell; there even where nobody is told.
pub fn channels_router(channels: Channels) -> Router {
    Router::new().route("/v1/channels", get(async move || Json(channels.clone())))
}

/// For cores of every region.
pub fn internal_router(preferences: Preferences) -> Router {
    Router::new().route(preferences::PATH, post(ask)).with_state(preferences)
}

async fn ask(
    State(preferences): State<Preferences>,
    Json(asked): Json<Asked>,
) -> Result<Json<MailPreferences>, Problem> {
    Ok(Json(preferences.ask_here(asked).await?))
}

async fn by_link(
    State(preferences): State<Preferences>,
    Path(token): Path<String>,
) -> Result<Json<MailPreferences>, Problem> {
    Ok(Json(preferences.by_link(&token, None).await?))
}

/// Repeats are harmless.
async fn keep_by_link(
    State(preferences): State<Preferences>,
    Path(token): Path<String>,
    Json(wanted): Json<MailPreferences>,
) -> Result<Json<MailPreferences>, Problem> {
    Ok(Json(preferences.by_link(&token, Some(wanted)).await?))
}

async fn of_user(State(preferences): State<Preferences>, caller: SignedIn) -> Result<Json<MailPreferences>, Problem> {
    Ok(Json(preferences.of_user(caller.user_id()).await?))
}

/// Repeats are harmless.
async fn keep_of_user(
    State(preferences): State<Preferences>,
    caller: SignedIn,
    Json(wanted): Json<MailPreferences>,
) -> Result<Json<MailPreferences>, Problem> {
    Ok(Json(preferences.keep_of_user(caller.user_id(), wanted).await?))
}
