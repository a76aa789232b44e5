//! Health, readiness and metrics, for operators.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::upstream::Upstream;

/// What operators ask about.
#[derive(Clone)]
pub struct OpsState {
    /// Whether cores can be reached.
    pub upstream: Upstream,
    /// The process's metrics.
    pub metrics: PrometheusHandle,
    /// Cancelled once the process drains.
    pub draining: CancellationToken,
}

/// `/ops/health`, `/ops/ready`, `/ops/metrics`.
pub fn router(state: OpsState) -> Router {
    Router::new()
        .route("/ops/health", get(|| async { "ok\n" }))
        .route("/ops/ready", get(ready))
        .route("/ops/metrics", get(metrics))
        .with_state(state)
}

async fn ready(State(state): State<OpsState>) -> (StatusCode, &'static str) {
    if state.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if state.upstream.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the nearest region cannot be reached\n")
    }
}

async fn metrics(State(state): State<OpsState>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render()).into_response()
}
