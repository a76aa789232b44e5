//! Waking those who wait for a commit in this process. Other processes poll: no NOTIFY, it would serialise commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shared::ShardId;
use tokio::sync::watch;

/// Tells the waiters of one shard that something was committed there.
#[derive(Clone, Debug)]
pub struct Wake(Arc<watch::Sender<u64>>);

impl Default for Wake {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Wake {
    /// Call after the commit, never before: the woken would look too early and sleep again.
    pub fn notify(&self) {
        self.0.send_modify(|commits| *commits = commits.wrapping_add(1));
    }

    /// A waiter of its own that misses no later [`Wake::notify`], also while it is busy.
    #[must_use]
    pub fn waiter(&self) -> Waiter {
        Waiter { commits: self.0.subscribe(), _wake: self.clone() }
    }
}

/// One who waits for commits.
#[derive(Debug)]
pub struct Waiter {
    commits: watch::Receiver<u64>,
    // Keeps the channel open, so that waiting never ends early.
    _wake: Wake,
}

impl Waiter {
    /// Until something was committed since the last call, or `at_most` that long.
    pub async fn wait(&mut self, at_most: Duration) {
        // Either way the caller looks again; an error is impossible while `_wake` lives.
        let _ = tokio::time::timeout(at_most, self.commits.changed()).await;
    }
}

/// A [`Wake`] for each shard of the region.
#[derive(Clone, Default, Debug)]
pub struct Wakes(Arc<BTreeMap<ShardId, Wake>>);

impl Wakes {
    /// One for each of these shards.
    #[must_use]
    pub fn new(shards: impl IntoIterator<Item = ShardId>) -> Self {
        Self(Arc::new(shards.into_iter().map(|shard| (shard, Wake::default())).collect()))
    }

    /// That shard's; one that nobody listens to if the shard is unknown here.
    #[must_use]
    pub fn of(&self, shard: ShardId) -> Wake {
        self.0.get(&shard).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_commit_while_the_waiter_is_busy_is_not_missed_and_wakes_once() {
        let wake = Wake::default();
        let mut waiter = wake.waiter();
        wake.notify();
        let woken = |waiter: &Waiter| waiter.commits.has_changed().unwrap();
        assert!(woken(&waiter));
        waiter.wait(Duration::from_secs(3600)).await;
        assert!(!woken(&waiter), "one notify would wake twice");
    }
}
