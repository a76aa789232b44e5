//! The provider's HTTP face.

mod hosted;

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, State as Shared, rejection::JsonRejection};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use region_core_sandbox::faults::{Faults, Misbehaviour, Mischief, misbehave};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::idempotency::IDEMPOTENCY_KEY;
use shared::{IdempotencyKey, Money};
use tokio_util::sync::CancellationToken;

use crate::book::Key;
use crate::clerk::{Act, Busy, Clerk, NewPayment};
use crate::rules::{Operation, Payment, Refusal, Status, Token};

/// Longest body taken.
const BODY_BYTES: usize = 16 * 1024;
/// Most movements on a page.
const PAGE: usize = 1_000;

/// What every handler has.
#[derive(Clone, Debug)]
pub struct App {
    /// The keeper of the book.
    pub clerk: Clerk,
    /// Misbehaviour on demand.
    pub mischief: Mischief,
    /// Where shoppers find our page.
    pub origin: String,
    /// How late `tok_late` is.
    pub late: Duration,
    /// How long an answer that nobody hears takes.
    pub silence: Duration,
    /// Ends waiting when the process does.
    pub shutdown: CancellationToken,
}

/// Every route.
pub fn router(app: App) -> Router {
    let misbehaviour =
        Misbehaviour { mischief: app.mischief.clone(), silence: app.silence, shutdown: app.shutdown.clone(), failed };
    let v1 = Router::new()
        .route("/v1/payments", post(create).get(find))
        .route("/v1/payments/{reference}", get(read))
        .route("/v1/payments/{reference}/authorize", post(authorize))
        .route("/v1/payments/{reference}/challenge", post(challenge))
        .route("/v1/payments/{reference}/capture", post(capture))
        .route("/v1/payments/{reference}/void", post(void))
        .route("/v1/payments/{reference}/refund", post(refund))
        .route("/v1/log", get(log))
        .layer(from_fn_with_state(misbehaviour, misbehave));
    Router::new()
        .route("/ready", get(|| async { "ready\n" }))
        .route("/metrics", get(metrics))
        .route("/control", post(control))
        .route("/control/forget-keys", post(forget_keys))
        .merge(v1)
        .merge(hosted::router())
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(app)
}

/// A payment as the merchant sees it, with the page that the cardholder is to be sent to.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    payment: Payment,
    next_action: Option<String>,
}

impl App {
    fn show(&self, payment: Payment) -> Json<Shown> {
        let next_action = hosted::waits(&payment).then(|| format!("{}/hosted/{}", self.origin, payment.reference));
        Json(Shown { payment, next_action })
    }
}

/// What a request is refused with.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error("{0}")]
    Body(#[from] JsonRejection),
    #[error("{0}")]
    Parameter(String),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::Refused(refusal) => refusal_code(refusal),
            Self::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Body(rejection) => (rejection.status(), "body"),
            Self::Parameter(_) => (StatusCode::BAD_REQUEST, "parameter"),
        };
        (status, Json(json!({ "error": { "code": code, "message": self.to_string() } }))).into_response()
    }
}

fn refusal_code(refusal: &Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::Unknown => (StatusCode::NOT_FOUND, "unknown_payment"),
        Refusal::State(_) => (StatusCode::CONFLICT, "payment_state"),
        Refusal::UnknownChallenge => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_challenge"),
        Refusal::TooMuch { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "refund_exceeds_capture"),
        Refusal::Amount => (StatusCode::UNPROCESSABLE_ENTITY, "amount"),
        Refusal::ReferenceReused => (StatusCode::UNPROCESSABLE_ENTITY, "reference_reused"),
        Refusal::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
        Refusal::Full => (StatusCode::SERVICE_UNAVAILABLE, "full"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    merchant_reference: String,
    amount: Money,
    payment_token: Token,
    /// Where our page leads back to: needed by `tok_hosted`.
    return_url: Option<String>,
}

async fn create(
    Shared(app): Shared<App>,
    headers: HeaderMap,
    body: Result<Json<CreateBody>, JsonRejection>,
) -> Result<(StatusCode, Json<Shown>), Failure> {
    let Json(CreateBody { merchant_reference, amount, payment_token: token, return_url }) = body?;
    if merchant_reference.is_empty() || merchant_reference.len() > 255 {
        return Err(Failure::Parameter("merchant_reference has 1 to 255 bytes".to_owned()));
    }
    if (token == Token::Hosted && return_url.is_none()) || !return_url.as_deref().is_none_or(hosted::leads_back) {
        return Err(Failure::Parameter("return_url is an http or https address; tok_hosted needs one".to_owned()));
    }
    let key = key(&headers, || format!("create {merchant_reference} {amount:?} {token:?}"))?;
    let outcome = app.clerk.create(NewPayment { merchant_reference, amount, token, return_url, key }).await??;
    Ok((StatusCode::CREATED, app.show(outcome.payment)))
}

async fn authorize(
    Shared(app): Shared<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Shown>, Failure> {
    let before = app.clerk.get(reference.clone()).await?.ok_or(Refusal::Unknown)?;
    let key = key(&headers, || format!("authorize {reference}"))?;
    let act = Act { reference, operation: Operation::Authorize, key };
    match (before.token, before.state.status) {
        (Token::Late, Status::Created) => authorize_late(&app, act).await,
        (Token::Timeout, Status::Created) => {
            let outcome = app.clerk.act(act).await??;
            app.shutdown.run_until_cancelled(tokio::time::sleep(app.silence)).await;
            Ok(app.show(outcome.payment))
        }
        _ => Ok(app.show(app.clerk.act(act).await??.payment)),
    }
}

/// A task of its own: the effect comes also if the merchant hangs up.
async fn authorize_late(app: &App, act: Act) -> Result<Json<Shown>, Failure> {
    let (clerk, late, shutdown) = (app.clerk.clone(), app.late, app.shutdown.clone());
    let task = tokio::spawn(async move {
        shutdown.run_until_cancelled(tokio::time::sleep(late)).await.ok_or(Busy)?;
        clerk.act(act).await
    });
    let outcome = task.await.map_err(|_| Busy)?;
    Ok(app.show(outcome??.payment))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChallengeBody {
    challenge_id: String,
    passed: bool,
}

async fn challenge(
    Shared(app): Shared<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
    body: Result<Json<ChallengeBody>, JsonRejection>,
) -> Result<Json<Shown>, Failure> {
    let Json(ChallengeBody { challenge_id, passed }) = body?;
    let key = key(&headers, || format!("challenge {reference} {challenge_id} {passed}"))?;
    act(&app, reference, Operation::Challenge { challenge_id, passed }, key).await
}

async fn capture(
    Shared(app): Shared<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Shown>, Failure> {
    let key = key(&headers, || format!("capture {reference}"))?;
    act(&app, reference, Operation::Capture, key).await
}

async fn void(
    Shared(app): Shared<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Shown>, Failure> {
    let key = key(&headers, || format!("void {reference}"))?;
    act(&app, reference, Operation::Void, key).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefundBody {
    amount_minor: i64,
    refund_reference: Option<String>,
}

async fn refund(
    Shared(app): Shared<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
    body: Result<Json<RefundBody>, JsonRejection>,
) -> Result<Json<Shown>, Failure> {
    let Json(RefundBody { amount_minor, refund_reference }) = body?;
    if refund_reference.as_ref().is_some_and(|name| name.is_empty() || name.len() > 255) {
        return Err(Failure::Parameter("refund_reference has 1 to 255 bytes".to_owned()));
    }
    let name = refund_reference.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    let key = key(&headers, || format!("refund {reference} {amount_minor}{name}"))?;
    if key.is_none() {
        return Err(Failure::Parameter("a refund needs an Idempotency-Key".to_owned()));
    }
    act(&app, reference, Operation::Refund { amount_minor, refund_reference }, key).await
}

async fn act(app: &App, reference: String, operation: Operation, key: Option<Key>) -> Result<Json<Shown>, Failure> {
    Ok(app.show(app.clerk.act(Act { reference, operation, key }).await??.payment))
}

async fn read(Shared(app): Shared<App>, Path(reference): Path<String>) -> Result<Json<Shown>, Failure> {
    Ok(app.show(app.clerk.get(reference).await?.ok_or(Refusal::Unknown)?))
}

#[derive(Deserialize)]
struct FindQuery {
    reference: String,
}

async fn find(Shared(app): Shared<App>, Query(query): Query<FindQuery>) -> Result<Json<Shown>, Failure> {
    Ok(app.show(app.clerk.find(query.reference).await?.ok_or(Refusal::Unknown)?))
}

#[derive(Deserialize)]
struct LogQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

async fn log(Shared(app): Shared<App>, Query(query): Query<LogQuery>) -> Result<Response, Failure> {
    let movements = app.clerk.movements(query.after, query.limit.unwrap_or(PAGE).min(PAGE)).await?;
    Ok(Json(json!({ "movements": movements })).into_response())
}

async fn control(Shared(app): Shared<App>, body: Result<Json<Faults>, JsonRejection>) -> Result<StatusCode, Failure> {
    app.mischief.set(body?.0).map_err(|cause| Failure::Parameter(cause.to_owned()))?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a provider does sooner or later with keys that it was sent: whoever relies on them alone pays twice then.
async fn forget_keys(Shared(app): Shared<App>) -> Result<StatusCode, Failure> {
    app.clerk.forget_keys().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn metrics(Shared(app): Shared<App>) -> Result<Response, Failure> {
    let (payments, movements) = app.clerk.counts().await?;
    let text = format!(
        "# TYPE sandbox_payments gauge\nsandbox_payments {payments}\n\
         # TYPE sandbox_movements_total counter\nsandbox_movements_total {movements}\n"
    );
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// The request's `Idempotency-Key` with the request it came with, if it has one.
fn key(headers: &HeaderMap, request: impl FnOnce() -> String) -> Result<Option<Key>, Failure> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let key: IdempotencyKey = text
        .parse()
        .map_err(|error: shared::idempotency::NotAnIdempotencyKey| Failure::Parameter(error.to_string()))?;
    Ok(Some(Key { key: key.as_str().to_owned(), request: request() }))
}

/// How this provider says that it failed.
fn failed(status: StatusCode) -> Response {
    (status, Json(json!({ "error": { "code": "fault", "message": "the sandbox was told to fail" } }))).into_response()
}
