//! `/ops` on the plain listener: is it alive, can it serve, what has it counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use shared::{Problem, ProblemKind};
use tower::ServiceExt;

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

/// Routes that are not there yet: 503 until they are. For `/v1` on a developer's plain listener, which opens first.
#[derive(Clone, Debug, Default)]
pub(crate) struct LateRoutes(Arc<OnceLock<Router>>);

impl LateRoutes {
    pub(crate) fn open(&self, routes: Router) {
        // Opened once, by the one caller that builds the region.
        let _ = self.0.set(routes);
    }

    pub(crate) async fn answer(self, request: Request) -> Response {
        match self.0.get() {
            Some(routes) => routes.clone().oneshot(request).await.into_response(),
            None => Problem::new(ProblemKind::Unavailable).detail("starting").into_response(),
        }
    }
}
