//! `/ops` on the plain listener: is it alive, can it serve, what has it counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use shared::{Problem, ProblemKind};

/// Whether the process can serve; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

pub(crate) fn router(readiness: Readiness, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/ops/health", get(async || "alive\n"))
        .route("/ops/ready", get(ready).with_state(readiness))
        .route("/ops/metrics", get(async move || metrics.render()))
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    if readiness.get() { Ok("ready\n") } else { Err(Problem::new(ProblemKind::Unavailable).detail("starting")) }
}
