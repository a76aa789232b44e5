//! `POST /v1/orders/{order_id}/payment/confirm`: the shopper answered the provider. `/v1/orders/{order_id}/refunds`: who
//! keeps the store gives a part back. `POST /v1/webhooks/{provider}`: the
//! provider tells us something.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::post;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, StatusCode};
use region_core_web::{IdempotencyKeyHeader, Json, Path, SignedIn, StoreKeeper};
use shared::api::order::Order;
use shared::api::refund::{NewRefund, Refund, Refunds};
use shared::idempotency::IDEMPOTENCY_REPLAYED;
use shared::{OrderId, Problem, ProblemKind, UserId};
use utoipa::OpenApi;

use crate::notice::{self, Passed};
use crate::provider::Provider;
use crate::{NoticeError, Payments};

/// Finds the caller's own order, or says 404: handed in by the wiring, since payment knows nothing of orders.
pub type FindOrder = Arc<dyn Fn(UserId, OrderId) -> BoxFuture<'static, Result<Order, Problem>> + Send + Sync>;

/// What the routes say of themselves.
#[derive(OpenApi)]
#[openapi(paths(confirm, refund, refunds, webhook))]
pub struct Api;

/// The service's routes.
pub fn router<P: Provider>(payments: Payments<P>, find: FindOrder) -> Router {
    Router::new()
        .route("/v1/orders/{order_id}/payment/confirm", post(confirm::<P>))
        .route("/v1/orders/{order_id}/refunds", post(refund::<P>).get(refunds::<P>))
        .route("/v1/webhooks/{provider}", post(webhook::<P>))
        .with_state(Confirming { payments, find })
}

/// For cores of other regions: a provider told them of this region's payment.
pub fn internal_router<P: Provider>(payments: Payments<P>) -> Router {
    Router::new().route(notice::PATH, post(passed_on::<P>)).with_state(payments)
}

struct Confirming<P> {
    payments: Payments<P>,
    find: FindOrder,
}

impl<P> Clone for Confirming<P> {
    fn clone(&self) -> Self {
        Self { payments: self.payments.clone(), find: Arc::clone(&self.find) }
    }
}

/// Says that the shopper answered the payment provider's question.
///
/// What came of it shows in the order soon.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/payment/confirm", operation_id = "confirm_payment", tag = "payments",
    params(("order_id" = OrderId, Path, description = "The order")),
    responses((status = 200, description = "The order as it is now", body = Order)),
    security(("bearer" = [])),
)]
async fn confirm<P: Provider>(
    State(Confirming { payments, find }): State<Confirming<P>>,
    caller: SignedIn,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Order>, Problem> {
    find(caller.user_id(), order_id).await?;
    payments.confirm_challenge(order_id).await?;
    Ok(Json(find(caller.user_id(), order_id).await?))
}

/// Gives money back.
///
/// 201 for a new refund, which the provider is asked for from then on; a repeat under its key gets the same one.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/refunds", operation_id = "refund", tag = "payments",
    params(("order_id" = OrderId, Path, description = "The order"), IdempotencyKeyHeader),
    responses((status = 201, description = "The refund", body = Refund)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn refund<P: Provider>(
    State(Confirming { payments, .. }): State<Confirming<P>>,
    keeper: StoreKeeper,
    Path(order_id): Path<OrderId>,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    Json(body): Json<NewRefund>,
) -> Result<impl IntoResponse, Problem> {
    let asked = payments.give_back(order_id, key, keeper.claims.sub, body).await?;
    let replayed = asked.replayed.then_some([(HeaderName::from_static(IDEMPOTENCY_REPLAYED), "true")]);
    Ok((StatusCode::CREATED, replayed.map(AppendHeaders), Json(asked.refund)))
}

/// An order's refunds.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/refunds", operation_id = "list_refunds", tag = "payments",
    params(("order_id" = OrderId, Path, description = "The order")),
    responses((status = 200, description = "Refunds", body = Refunds)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn refunds<P: Provider>(
    State(Confirming { payments, .. }): State<Confirming<P>>,
    _: StoreKeeper,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Refunds>, Problem> {
    Ok(Json(payments.refunds(order_id).await?))
}

/// What a payment provider tells. No token: it is signed.
///
/// 200 once it is kept, whether for the first time or not. Anything else has the provider say it again.
#[utoipa::path(
    post, path = "/v1/webhooks/{provider}", operation_id = "hear_provider", tag = "notices",
    request_body = serde_json::Value,
    responses((status = 200, description = "It is kept")),
)]
async fn webhook<P: Provider>(
    State(Confirming { payments, .. }): State<Confirming<P>>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let body = body.map_err(|rejection| unread(rejection.status()))?;
    let taken = payments.take_notice(&provider, &headers, &body).await;
    if let Err(error @ (NoticeError::Forged(_) | NoticeError::Unproven(_) | NoticeError::Unreadable(_))) = &taken {
        tracing::warn!(payment.provider = provider, %error, "a notice was refused");
    }
    Ok(taken.map(|()| StatusCode::OK)?)
}

fn unread(status: StatusCode) -> Problem {
    let too_large = status == StatusCode::PAYLOAD_TOO_LARGE;
    Problem::new(if too_large { ProblemKind::BodyTooLarge } else { ProblemKind::Malformed })
}

async fn passed_on<P: Provider>(
    State(payments): State<Payments<P>>,
    Json(Passed { provider, notice }): Json<Passed>,
) -> Result<Json<()>, Problem> {
    payments.hear(provider.as_deref(), notice).await?;
    Ok(Json(()))
}
