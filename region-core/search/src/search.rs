//! The search of a running core: an index that follows the catalog, asked off the async threads.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use region_core_catalog::{Catalog, Snapshot};
use shared::api::catalog::{SearchQuery, SearchResults};
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::Column;
use tantivy::{DocId, Score, SegmentOrdinal, SegmentReader};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::index::{Fields, ProductIndex, View, Words, place};
use crate::query::{Stage, Typed};
use crate::rules::{self, Hit};

/// Most searches that run or wait at once; more are turned away.
const MOST_AT_ONCE: usize = 256;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// More searches than this core takes at once.
    #[error("too many searches at once")]
    Busy,
    /// The index failed.
    #[error("the search index failed")]
    Index(#[from] tantivy::TantivyError),
    /// The task was ended, as at shutdown.
    #[error("the search was interrupted")]
    Interrupted,
}

/// Search over the catalog. Cheap to clone; clones share the index.
#[derive(Clone)]
pub struct Search(Arc<Shared>);

struct Shared {
    index: Mutex<ProductIndex>,
    view: ArcSwap<View>,
    version: watch::Sender<u64>,
    fields: Fields,
    words: Words,
    admitted: Semaphore,
    /// One for each processor: searches compute, they do not wait.
    running: Semaphore,
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Search").field("catalog_version", &self.version()).finish_non_exhaustive()
    }
}

impl Search {
    /// Indexes a snapshot of the catalog.
    ///
    /// # Errors
    /// [`SearchError::Index`] when the engine refuses, [`SearchError::Interrupted`] at shutdown.
    pub async fn start(snapshot: Arc<Snapshot>) -> Result<Self, SearchError> {
        let build = move || -> Result<_, SearchError> {
            let mut index = ProductIndex::new()?;
            let view = index.update(&snapshot)?;
            Ok((index, view, snapshot.version()))
        };
        let (index, view, version) =
            tokio::task::spawn_blocking(build).await.map_err(|_| SearchError::Interrupted)??;
        let (fields, words) = (index.fields, index.words.clone());
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self(Arc::new(Shared {
            version: watch::Sender::new(version),
            index: Mutex::new(index),
            view: ArcSwap::from_pointee(view),
            fields,
            words,
            admitted: Semaphore::new(MOST_AT_ONCE),
            running: Semaphore::new(processors),
        })))
    }

    /// The catalog's version that is being searched.
    #[must_use]
    pub fn version(&self) -> u64 {
        *self.0.version.borrow()
    }

    /// Tells each version of the catalog once it can be searched.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// Brings the index to a snapshot.
    ///
    /// # Errors
    /// [`SearchError`]; the last view stays.
    pub async fn update(&self, snapshot: Arc<Snapshot>) -> Result<(), SearchError> {
        let shared = self.0.clone();
        let work = move || -> Result<(), SearchError> {
            let mut index = shared.index.lock().unwrap_or_else(PoisonError::into_inner);
            // Another update may have come first.
            let version = snapshot.version();
            if version > *shared.version.borrow() {
                shared.view.store(Arc::new(index.update(&snapshot)?));
                shared.version.send_replace(version);
            }
            Ok(())
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| SearchError::Interrupted)?
    }

    /// Follows the catalog until `stop`.
    pub async fn follow(&self, catalog: &Catalog, stop: CancellationToken) {
        let mut changes = catalog.changes();
        // What changed between `start` and here is not told again.
        changes.mark_changed();
        while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
            changes.borrow_and_update();
            if let Err(error) = self.update(catalog.snapshot()).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the search index did not follow the catalog"
                );
            }
        }
    }

    /// Answers a query that has been checked.
    ///
    /// # Errors
    /// [`SearchError::Busy`] when too many are waiting; the others only by a fault of ours.
    pub async fn search(&self, query: SearchQuery) -> Result<SearchResults, SearchError> {
        let _admitted = self.0.admitted.try_acquire().map_err(|_| SearchError::Busy)?;
        let _running = self.0.running.acquire().await.map_err(|_| SearchError::Interrupted)?;
        let shared = self.0.clone();
        let work = move || Ok(rules::answer(&query, shared.find(&query.q)?));
        tokio::task::spawn_blocking(work).await.map_err(|_| SearchError::Interrupted)?
    }
}

impl Shared {
    /// Everything that matches the text, by the strictest stage that finds enough.
    fn find(&self, text: &str) -> Result<Vec<Hit>, SearchError> {
        let view = self.view.load_full();
        let typed = Typed::read(text, &mut self.words.clone());
        let mut hits = Vec::new();
        for stage in Stage::ALL {
            if !stage.follows(hits.len()) {
                break;
            }
            let found = view.searcher.search(&typed.query(self.fields, stage), &EveryHit)?;
            let hit = |(score, slot): (Score, u64)| Some(Hit { score, item: view.slots.get(place(slot))?.clone()? });
            hits = found.into_iter().filter_map(hit).collect();
        }
        Ok(hits)
    }
}

/// Collects score and slot of every match: facets and orders need all of them, and a catalog fits in memory.
struct EveryHit;

struct SegmentHits {
    slots: Column<u64>,
    hits: Vec<(Score, u64)>,
}

impl Collector for EveryHit {
    type Fruit = Vec<(Score, u64)>;
    type Child = SegmentHits;

    fn for_segment(&self, _: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<SegmentHits> {
        Ok(SegmentHits { slots: segment.fast_fields().u64("slot")?, hits: Vec::new() })
    }

    fn requires_scoring(&self) -> bool {
        true
    }

    fn merge_fruits(&self, fruits: Vec<Self::Fruit>) -> tantivy::Result<Self::Fruit> {
        Ok(fruits.concat())
    }
}

impl SegmentCollector for SegmentHits {
    type Fruit = Vec<(Score, u64)>;

    fn collect(&mut self, doc: DocId, score: Score) {
        self.hits.extend(self.slots.first(doc).map(|slot| (score, slot)));
    }

    fn harvest(self) -> Self::Fruit {
        self.hits
    }
}
