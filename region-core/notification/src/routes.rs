//! `/v1/orders/{order_id}/notifications`, for who keeps the store, and preferences: by a mail's link, and for accounts.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode};
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::{get, post};
use region_core_web::{IdempotencyKeyHeader, Json, Path, SignedIn, StoreKeeper};
use shared::api::account::{Channels, MailPreferences};
use shared::api::desk::{Notification, NotificationList};
use shared::api::order::PushSubscription;
use shared::idempotency::IDEMPOTENCY_REPLAYED;
use shared::{EventId, OrderId, Problem};
use utoipa::OpenApi;

use crate::Notifications;
use crate::preferences::{self, Asked, Preferences};

/// What the routes say of themselves.
#[derive(OpenApi)]
#[openapi(paths(list, resend, ways, of_user, keep_of_user, by_link, keep_by_link, subscribe, unsubscribe))]
pub struct Api;

/// The service's routes.
pub fn router(notifications: Notifications) -> Router {
    Router::new()
        .route("/v1/orders/{order_id}/notifications", get(list))
        .route("/v1/orders/{order_id}/notifications/{notification_id}/resend", post(resend))
        .with_state(notifications)
}

/// What was told of an order, to whom and with what success.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/notifications", operation_id = "list_notifications", tag = "notifications",
    params(("order_id" = OrderId, Path, description = "The order")),
    responses((status = 200, description = "Messages", body = NotificationList)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn list(
    State(notifications): State<Notifications>,
    _: StoreKeeper,
    Path(order_id): Path<OrderId>,
) -> Result<Json<NotificationList>, Problem> {
    Ok(Json(NotificationList { items: notifications.list(order_id).await? }))
}

/// Sends a mail again.
///
/// 201 for a new copy; a repeat under its key gets the same one.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/notifications/{notification_id}/resend", operation_id = "resend_notification", tag = "notifications",
    params(IdempotencyKeyHeader),
    responses((status = 201, description = "The copy", body = Notification)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
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

/// Has a browser told of an order, where anything is pushed. Repeats are harmless.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/push-subscriptions", operation_id = "subscribe_push", tag = "notifications",
    params(("order_id" = OrderId, Path, description = "The order")),
    responses((status = 204, description = "It is told from now on")),
    security(("bearer" = [])),
)]
async fn subscribe(
    State(notifications): State<Notifications>,
    caller: SignedIn,
    Path(order_id): Path<OrderId>,
    Json(browser): Json<PushSubscription>,
) -> Result<StatusCode, Problem> {
    notifications.subscribe(caller.user_id(), order_id, &browser).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has no browser told of an order any more. Repeats are harmless.
#[utoipa::path(
    delete, path = "/v1/orders/{order_id}/push-subscriptions", operation_id = "unsubscribe_push", tag = "notifications",
    params(("order_id" = OrderId, Path, description = "The order")),
    responses((status = 204, description = "None is told any more")),
    security(("bearer" = [])),
)]
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
    Router::new().route("/v1/channels", get(ways)).with_state(channels)
}

/// How news of an order can be told, beside by mail.
#[utoipa::path(
    get, path = "/v1/channels", operation_id = "get_channels", tag = "notifications",
    responses((status = 200, description = "Ways to tell", body = Channels)),
)]
async fn ways(State(channels): State<Channels>) -> Json<Channels> {
    Json(channels)
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

/// Which mails an address gets: for whoever has a mail's link.
#[utoipa::path(
    get, path = "/v1/mail-preferences/{token}", operation_id = "get_mail_preferences_by_link", tag = "notifications",
    responses((status = 200, description = "Preferences", body = MailPreferences)),
)]
async fn by_link(
    State(preferences): State<Preferences>,
    Path(token): Path<String>,
) -> Result<Json<MailPreferences>, Problem> {
    Ok(Json(preferences.by_link(&token, None).await?))
}

/// Says which mails an address gets: for whoever has a mail's link. Repeats are harmless.
#[utoipa::path(
    post, path = "/v1/mail-preferences/{token}", operation_id = "set_mail_preferences_by_link", tag = "notifications",
    responses((status = 200, description = "Preferences as they are then", body = MailPreferences)),
)]
async fn keep_by_link(
    State(preferences): State<Preferences>,
    Path(token): Path<String>,
    Json(wanted): Json<MailPreferences>,
) -> Result<Json<MailPreferences>, Problem> {
    Ok(Json(preferences.by_link(&token, Some(wanted)).await?))
}

/// Which mails the caller gets.
#[utoipa::path(
    get, path = "/v1/account/mail-preferences", operation_id = "get_mail_preferences", tag = "notifications",
    responses((status = 200, description = "Preferences", body = MailPreferences)),
    security(("bearer" = [])),
)]
async fn of_user(State(preferences): State<Preferences>, caller: SignedIn) -> Result<Json<MailPreferences>, Problem> {
    Ok(Json(preferences.of_user(caller.user_id()).await?))
}

/// Says which mails the caller gets. Repeats are harmless.
#[utoipa::path(
    post, path = "/v1/account/mail-preferences", operation_id = "set_mail_preferences", tag = "notifications",
    responses((status = 200, description = "Preferences as they are then", body = MailPreferences)),
    security(("bearer" = [])),
)]
async fn keep_of_user(
    State(preferences): State<Preferences>,
    caller: SignedIn,
    Json(wanted): Json<MailPreferences>,
) -> Result<Json<MailPreferences>, Problem> {
    Ok(Json(preferences.keep_of_user(caller.user_id(), wanted).await?))
}
