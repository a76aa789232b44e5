//! Who is told, as this process knows them: a copy of the control schema's rows that is looked at again every two seconds.
//!
//! While the schema is away the copy stays in use. An endpoint hears of what happens once all cores have seen it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use region_core_control::ControlError;
use region_core_control::webhooks::{KeptEndpoint, list_endpoints};
use shared::EndpointId;
use shared::api::webhook::EndpointState;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// How old the copy may be.
const PERIOD: Duration = Duration::from_secs(2);

/// Every endpoint, and both databases behind them. Clones share the copy.
#[derive(Clone, Debug)]
pub struct Endpoints {
    copy: PgPool,
    primary: PgPool,
    known: Arc<ArcSwap<Vec<Arc<KeptEndpoint>>>>,
}

impl Endpoints {
    /// Those of `copy`, the region's own; changes go to `primary`.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn load(copy: PgPool, primary: PgPool) -> Result<Self, ControlError> {
        let endpoints = Self { copy, primary, known: Arc::default() };
        endpoints.refresh().await?;
        Ok(endpoints)
    }

    /// Looks again.
    ///
    /// # Errors
    /// [`ControlError`]; what was known stays in use then.
    pub async fn refresh(&self) -> Result<(), ControlError> {
        let known: Vec<_> = list_endpoints(&self.copy).await?.into_iter().map(Arc::new).collect();
        for (state, name) in [
            (EndpointState::Active, "active"),
            (EndpointState::Paused, "paused"),
            (EndpointState::Disabled, "disabled"),
        ] {
            let count = known.iter().filter(|endpoint| endpoint.shown.state == state).count();
            metrics::gauge!("webhook_endpoints", "state" => name)
                .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
        self.known.store(Arc::new(known));
        Ok(())
    }

    /// Looks again and again until told to stop.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) {
        while tokio::time::timeout(PERIOD, shutdown.cancelled()).await.is_err() {
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "webhook endpoints could not be read; the known ones stay in use");
            }
        }
    }

    /// All of them.
    pub(crate) fn known(&self) -> Arc<Vec<Arc<KeptEndpoint>>> {
        self.known.load_full()
    }

    /// The one of that id, if it is known here.
    pub(crate) fn find(&self, id: EndpointId) -> Option<Arc<KeptEndpoint>> {
        self.known.load().iter().find(|endpoint| endpoint.shown.endpoint_id == id).cloned()
    }

    /// Where changes go.
    pub(crate) fn primary(&self) -> &PgPool {
        &self.primary
    }
}
