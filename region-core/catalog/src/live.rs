//! The catalog of a running core: the latest snapshot, kept up to date.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::PgPool;
use tokio::sync::{Mutex, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::snapshot::Snapshot;
use crate::store::{self, CatalogError, Changes};

/// The catalog as this core knows it. Cheap to clone; clones share the snapshot.
#[derive(Clone, Debug)]
pub struct Catalog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The region's own copy.
    copy: PgPool,
    snapshot: ArcSwap<Snapshot>,
    version: watch::Sender<u64>,
    /// One refresh at a time: a slow one never puts an older snapshot over a newer.
    refreshing: Mutex<()>,
}

impl Catalog {
    /// Reads the region's copy whole. An empty catalog is no error: there is nothing to sell yet.
    ///
    /// # Errors
    /// [`CatalogError`] when the copy cannot be read.
    pub async fn load(copy: PgPool) -> Result<Self, CatalogError> {
        let catalog = Self::over(copy, Snapshot::default());
        catalog.refresh().await?;
        Ok(catalog)
    }

    fn over(copy: PgPool, snapshot: Snapshot) -> Self {
        let version = watch::Sender::new(snapshot.version());
        Self(Arc::new(Shared { copy, snapshot: ArcSwap::from_pointee(snapshot), version, refreshing: Mutex::new(()) }))
    }

    /// A catalog of just these products, with no database behind it.
    #[cfg(any(test, feature = "test-support"))]
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a test's")]
    pub fn of_items(items: Vec<crate::Item>) -> Self {
        let copy = PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/none").unwrap_or_else(|error| panic!("{error}"));
        Self::over(copy, Snapshot::default().advanced(1, items, &[]))
    }

    /// The latest snapshot. Take it once and use it for all of one request.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// Tells each new version once the snapshot has it.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// Takes over what changed in the region's copy; `true` if anything did.
    ///
    /// # Errors
    /// [`CatalogError`]; the snapshot stays as it was.
    pub async fn refresh(&self) -> Result<bool, CatalogError> {
        let _one = self.0.refreshing.lock().await;
        let old = self.snapshot();
        let Some(changes) = store::load_changes(&self.0.copy, old.version()).await? else { return Ok(false) };
        let Changes { version, changed, withdrawn, delivery } = changes;
        let joined =
            tokio::task::spawn_blocking(move || old.advanced(version, changed, &withdrawn).delivering(delivery));
        // The closure only moves values about; were it to panic all the same, the old snapshot stands.
        let Ok(new) = joined.await else { return Ok(false) };
        let version = new.version();
        metrics::gauge!("catalog_products").set(gauge(u64::try_from(new.len()).unwrap_or(u64::MAX)));
        metrics::gauge!("catalog_version").set(gauge(version));
        self.0.snapshot.store(Arc::new(new));
        self.0.version.send_replace(version);
        tracing::info!(catalog.version = version, "the catalog changed");
        Ok(true)
    }

    /// Refreshes every `period` until `stop`. While the copy cannot be reached the last snapshot goes on selling; each
    /// outage is logged once.
    pub async fn follow(&self, period: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match stop.run_until_cancelled(self.refresh()).await {
                Some(Err(error)) if !failing => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the catalog could not be refreshed");
                    failing = true;
                }
                Some(Err(_)) => {}
                Some(Ok(_)) => failing = false,
                None => return,
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; exact below 2^53")]
fn gauge(number: u64) -> f64 {
    number as f64
}
