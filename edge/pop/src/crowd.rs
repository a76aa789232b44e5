//! How many connections one address block may hold, so that nobody alone fills a listener.
//!
//! Deliberately absent: a limit on how often one connects; each request is limited, and an unused connection ends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::Network;

/// Connections of each address block (/24 or /56). Clones share the counts.
#[derive(Clone)]
pub struct Crowd(Arc<Inner>);

struct Inner {
    /// Connections at once of one block.
    limit: usize,
    exempt: Vec<Network>,
    /// Blocks with a connection, no more of them than the listener has connections.
    open: Mutex<HashMap<Network, usize>>,
}

/// One connection's place. Dropping it frees the place.
pub struct Place(Option<(Crowd, Network)>);

impl Crowd {
    /// Each block but the exempt may hold `limit` connections.
    #[must_use]
    pub fn new(limit: usize, exempt: Vec<Network>) -> Self {
        Self(Arc::new(Inner { limit, exempt, open: Mutex::default() }))
    }

    /// A place for a connection from there; `None` when its block holds as many as it may.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        if self.0.exempt.iter().any(|network| network.contains(address)) {
            return Some(Place(None));
        }
        let block = Network::block_of(address);
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(block).or_default();
        (*count < self.0.limit).then(|| {
            *count += 1;
            Place(Some((self.clone(), block)))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((crowd, block)) = self.0.take() else { return };
        let mut open = crowd.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&block) {
            *count -= 1;
            if *count == 0 {
                open.remove(&block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_block_holds_so_many_connections_and_a_place_that_is_left_is_free() {
        let crowd = Crowd::new(2, Vec::new());
        let first = crowd.enter(address("203.0.113.7")).unwrap();
        let _second = crowd.enter(address("203.0.113.8")).unwrap();
        assert!(crowd.enter(address("203.0.113.9")).is_none());
        assert!(crowd.enter(address("203.0.114.9")).is_some(), "strangers are not in its way");
        drop(first);
        assert!(crowd.enter(address("203.0.113.9")).is_some());
    }

    #[test]
    fn whoever_has_left_is_forgotten() {
        let crowd = Crowd::new(1, vec!["127.0.0.1/32".parse().unwrap()]);
        let exempt: Vec<_> = (0..5).map(|_| crowd.enter(address("127.0.0.1")).unwrap()).collect();
        drop((exempt, crowd.enter(address("2001:db8::1"))));
        assert!(crowd.0.open.lock().unwrap().is_empty());
    }
}
