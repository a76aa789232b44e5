//! `GET /v1/orders/{order_id}/labels` and the label itself, for who keeps the store. `POST /v1/webhooks/carrier`: the carrier tells us
//! something.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use region_core_web::{Json, Path, StoreKeeper};
use shared::api::order::Labels;
use shared::{OrderId, Problem, ProblemKind, ShipmentId};
use utoipa::{OpenApi, ToSchema};

use crate::carrier::Carrier;
use crate::notice::{self, Notice};
use crate::{NoticeError, Shipping};

/// What the routes say of themselves.
#[derive(OpenApi)]
#[openapi(paths(labels, label, webhook))]
pub struct Api;

/// The service's routes.
pub fn router<C: Carrier>(shipping: Shipping<C>) -> Router {
    Router::new()
        .route("/v1/orders/{order_id}/labels", get(labels::<C>))
        .route("/v1/orders/{order_id}/shipments/{shipment_id}/label", get(label::<C>))
        .route("/v1/webhooks/carrier", post(webhook::<C>))
        .with_state(shipping)
}

/// For cores of other regions: the carrier told them of a parcel that they do not know.
pub fn internal_router<C: Carrier>(shipping: Shipping<C>) -> Router {
    Router::new().route(notice::PATH, post(passed_on::<C>)).with_state(shipping)
}

/// An order's labels.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/labels", operation_id = "list_labels", tag = "shipping",
    params(("order_id" = OrderId, Path, description = "The order")),
    responses((status = 200, description = "Labels", body = Labels)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn labels<C: Carrier>(
    State(shipping): State<Shipping<C>>,
    _: StoreKeeper,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Labels>, Problem> {
    Ok(Json(shipping.labels(order_id).await?))
}

/// A label to print: PDF.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/shipments/{shipment_id}/label", operation_id = "get_label", tag = "shipping",
    responses((status = 200, description = "The label", content_type = "application/pdf", body = Pdf)),
    security(("bearer" = ["merchant"]), ("bearer" = ["operator"])),
)]
async fn label<C: Carrier>(
    State(shipping): State<Shipping<C>>,
    _: StoreKeeper,
    Path((order_id, shipment_id)): Path<(OrderId, ShipmentId)>,
) -> Result<Pdf, Problem> {
    let pdf = shipping.pdf(order_id, shipment_id).await?;
    pdf.map(Pdf).ok_or_else(Problem::not_found)
}

/// A document to print.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
struct Pdf(Vec<u8>);

impl IntoResponse for Pdf {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/pdf")], self.0).into_response()
    }
}

/// What the carrier tells. No token: it is signed.
///
/// 200 once it is kept, whether for the first time or not. Anything else has the carrier say it again.
#[utoipa::path(
    post, path = "/v1/webhooks/carrier", operation_id = "hear_carrier", tag = "notices",
    request_body = serde_json::Value,
    responses((status = 200, description = "It is kept")),
)]
async fn webhook<C: Carrier>(
    State(shipping): State<Shipping<C>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let body = body.map_err(|rejection| unread(rejection.status()))?;
    let taken = shipping.take_notice(&headers, &body).await;
    if let Err(error @ (NoticeError::Forged(_) | NoticeError::Unreadable(_))) = &taken {
        tracing::warn!(%error, "a carrier's notice was refused");
    }
    Ok(taken.map(|()| StatusCode::OK)?)
}

fn unread(status: StatusCode) -> Problem {
    let too_large = status == StatusCode::PAYLOAD_TOO_LARGE;
    Problem::new(if too_large { ProblemKind::BodyTooLarge } else { ProblemKind::Malformed })
}

async fn passed_on<C: Carrier>(
    State(shipping): State<Shipping<C>>,
    Json(notice): Json<Notice>,
) -> Result<Json<()>, Problem> {
    shipping.hear(&notice).await?;
    Ok(Json(()))
}
