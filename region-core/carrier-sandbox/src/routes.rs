//! The carrier's HTTP face: EasyPost's below `/v2`, and what only a sandbox has.

use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use region_core_sandbox::faults::{Faults, Misbehaviour, Mischief, misbehave};
use serde::Deserialize;
use serde_json::{Value, json};
use shared_clock::Entropy;
use tokio_util::sync::CancellationToken;

use crate::book::{Consignment, Parcel, Refusal};
use crate::hook::Teller;
use crate::keeper::{KeepError, Keeper};
use crate::label;

/// Longest body taken.
const BODY_BYTES: usize = 64 * 1024;

/// What every handler has.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) keeper: Keeper,
    pub(crate) teller: Teller,
    pub(crate) mischief: Mischief,
    pub(crate) entropy: Entropy,
    /// How labels are reached.
    pub(crate) origin: String,
    /// How long an answer that nobody hears takes.
    pub(crate) silence: Duration,
    /// Ends waiting when the process does.
    pub(crate) shutdown: CancellationToken,
}

impl App {
    /// Has the parcel go on, and tells of it.
    pub(crate) async fn go_on(&self, name: String) -> Result<Parcel, KeepError> {
        let parcel = self.keeper.go_on(name).await?;
        self.tell("tracker.updated", &parcel);
        Ok(parcel)
    }

    fn tell(&self, description: &str, parcel: &Parcel) {
        let event = format!("evt_{}", hex::encode(self.entropy.bytes::<16>()));
        self.teller.tell(&event, description, parcel.tracker());
    }
}

/// Every route.
pub(crate) fn router(app: App) -> Router {
    let misbehaviour =
        Misbehaviour { mischief: app.mischief.clone(), silence: app.silence, shutdown: app.shutdown.clone(), failed };
    let v2 = Router::new()
        .route("/v2/shipments", post(create))
        .route("/v2/shipments/{id}", get(read))
        .route("/v2/shipments/{id}/buy", post(buy))
        .route("/v2/shipments/{id}/refund", post(refund))
        .layer(from_fn_with_state(misbehaviour, misbehave));
    Router::new()
        .route("/ready", get(|| async { "ready\n" }))
        .route("/control", post(control))
        .route("/control/go-on", post(go_on))
        .route("/log", get(log))
        .route("/labels/{file}", get(pdf))
        .merge(v2)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(app)
}

/// What a request is refused with.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Kept(#[from] KeepError),
    #[error("{0}")]
    Body(#[from] JsonRejection),
    #[error("An API key is required.")]
    NoKey,
    #[error("{0}")]
    Parameter(&'static str),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::Kept(KeepError::Refused(refusal)) => refusal_code(*refusal),
            Self::Kept(KeepError::Broken) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR"),
            Self::Body(rejection) => (rejection.status(), "PARAMETER.INVALID"),
            Self::NoKey => (StatusCode::UNAUTHORIZED, "APIKEY.INVALID"),
            Self::Parameter(_) => (StatusCode::UNPROCESSABLE_ENTITY, "PARAMETER.INVALID"),
        };
        let body = json!({ "error": { "code": code, "message": self.to_string(), "errors": [] } });
        (status, Json(body)).into_response()
    }
}

const fn refusal_code(refusal: Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::Unknown => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Refusal::Address => (StatusCode::UNPROCESSABLE_ENTITY, "ADDRESS.VERIFY.FAILURE"),
        Refusal::Rate => (StatusCode::UNPROCESSABLE_ENTITY, "SHIPMENT.POSTAGE.FAILURE"),
        Refusal::PostageExists => (StatusCode::UNPROCESSABLE_ENTITY, "SHIPMENT.POSTAGE.EXISTS"),
        Refusal::NoRefund => (StatusCode::UNPROCESSABLE_ENTITY, "SHIPMENT.REFUND.UNAVAILABLE"),
        Refusal::Full => (StatusCode::SERVICE_UNAVAILABLE, "FULL"),
    }
}

/// Any key will do, but none will not: it is a name without a password.
fn known(headers: &HeaderMap) -> Result<(), Failure> {
    let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    if basic.is_some_and(|key| !key.is_empty()) { Ok(()) } else { Err(Failure::NoKey) }
}

#[derive(Deserialize)]
struct CreateBody {
    shipment: Consignment,
}

async fn create(
    Shared(app): Shared<App>,
    headers: HeaderMap,
    body: Result<Json<CreateBody>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    known(&headers)?;
    let parcel = app.keeper.create(body?.0.shipment).await?;
    Ok((StatusCode::CREATED, Json(parcel.shipment(&app.origin))))
}

async fn read(Shared(app): Shared<App>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, Failure> {
    known(&headers)?;
    Ok(Json(app.keeper.find(id).await?.shipment(&app.origin)))
}

#[derive(Deserialize)]
struct BuyBody {
    rate: RateName,
}

#[derive(Deserialize)]
struct RateName {
    id: String,
}

async fn buy(
    Shared(app): Shared<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Json<BuyBody>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    known(&headers)?;
    let parcel = app.keeper.buy(id, body?.0.rate.id).await?;
    app.tell("tracker.created", &parcel);
    Ok(Json(parcel.shipment(&app.origin)))
}

async fn refund(Shared(app): Shared<App>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, Failure> {
    known(&headers)?;
    Ok(Json(app.keeper.refund(id).await?.shipment(&app.origin)))
}

async fn pdf(Shared(app): Shared<App>, Path(file): Path<String>) -> Result<Response, Failure> {
    let id = file.strip_suffix(".pdf").ok_or(KeepError::Refused(Refusal::Unknown))?;
    let parcel = app.keeper.find(id.to_owned()).await?;
    let pdf = label::print(&parcel).ok_or(KeepError::Refused(Refusal::Unknown))?;
    Ok(([(header::CONTENT_TYPE, "application/pdf")], pdf).into_response())
}

/// What was sold and taken back.
async fn log(Shared(app): Shared<App>) -> Result<Json<Value>, Failure> {
    let sold = app.keeper.all().await?.into_iter().filter_map(|parcel| {
        let (_, code) = parcel.bought?;
        Some(json!({
            "id": parcel.id, "reference": parcel.consignment.reference, "tracking_code": code, "refunded": parcel.refunded,
            "status": parcel.way,
        }))
    });
    Ok(Json(json!({ "labels": sold.collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoOn {
    /// A tracking code, an id or a reference.
    parcel: String,
}

async fn go_on(Shared(app): Shared<App>, body: Result<Json<GoOn>, JsonRejection>) -> Result<Json<Value>, Failure> {
    Ok(Json(app.go_on(body?.0.parcel).await?.tracker()))
}

async fn control(Shared(app): Shared<App>, body: Result<Json<Faults>, JsonRejection>) -> Result<StatusCode, Failure> {
    app.mischief.set(body?.0).map_err(Failure::Parameter)?;
    Ok(StatusCode::NO_CONTENT)
}

/// How this carrier says that it failed.
fn failed(status: StatusCode) -> Response {
    let error = json!({ "error": { "code": "FAULT", "message": "the sandbox was told to fail", "errors": [] } });
    (status, Json(error)).into_response()
}
