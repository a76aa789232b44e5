//! `/v1/orders/{order_id}/notifications`, for who keeps the store, and preferences: by a mail's link, and for accounts.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode};
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::{get, post};
use region_core_web::{IdempotencyKeyHeader, Json, Path, SignedIn, StoreKeeper};
use shared::api::account::MailPreferences;
use shared::api::desk::NotificationList;
use shared::idempotency::IDEMPOTENCY_REPLAYED;
use shared::{EmailAddress, EventId, OrderId, Problem, UserId};

use crate::Notifications;
use crate::preferences::{self, AddressOf, Asked, Preferences};

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
pub fn preferences_router(preferences: Preferences, address_of: AddressOf) -> Router {
    let by_account = Router::new()
        .route("/v1/account/mail-preferences", get(of_account).post(keep_of_account))
        .with_state((preferences.clone(), address_of));
    let by_link =
        Router::new().route("/v1/mail-preferences/{token}", get(by_link).post(keep_by_link)).with_state(preferences);
    by_account.merge(by_link)
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

async fn of_account(
    State((preferences, address_of)): State<(Preferences, AddressOf)>,
    caller: SignedIn,
) -> Result<Json<MailPreferences>, Problem> {
    let address = address(&address_of, caller.user_id()).await?;
    Ok(Json(preferences.of(&address).await?))
}

/// Repeats are harmless.
async fn keep_of_account(
    State((preferences, address_of)): State<(Preferences, AddressOf)>,
    caller: SignedIn,
    Json(wanted): Json<MailPreferences>,
) -> Result<Json<MailPreferences>, Problem> {
    let address = address(&address_of, caller.user_id()).await?;
    Ok(Json(preferences.keep(&address, wanted).await?))
}

/// Where the caller reads mail; guests have told nobody.
async fn address(address_of: &AddressOf, caller: UserId) -> Result<EmailAddress, Problem> {
    address_of(caller).await?.ok_or_else(|| Problem::not_found().detail("only accounts have an address"))
}
