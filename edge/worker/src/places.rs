//! How many answers may go on at once in an isolate.
//!
//! A place is given up when its answer ends, or when its time is over: of a request that workerd ends by itself the isolate
//! may never hear.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of an isolate. Clones share them.
#[derive(Clone, Debug)]
pub struct Places {
    most: usize,
    /// When each that is taken is free again at the latest, Unix milliseconds.
    taken: Arc<Mutex<Vec<u64>>>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Place {
    of: Places,
    until_ms: u64,
}

impl Places {
    /// So many, all free.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// Takes one until then at the latest, if one is free now.
    #[must_use]
    pub fn take(&self, now_ms: u64, until_ms: u64) -> Option<Place> {
        let mut taken = self.taken();
        taken.retain(|until| now_ms < *until);
        if taken.len() >= self.most {
            return None;
        }
        taken.push(until_ms);
        Some(Place { of: self.clone(), until_ms })
    }

    fn taken(&self) -> MutexGuard<'_, Vec<u64>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        // Which of those that end together is gone makes no difference.
        if let Some(at) = taken.iter().position(|until| *until == self.until_ms) {
            taken.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_as_many_as_they_are_and_come_back_at_their_end_or_their_time() {
        let places = Places::new(2);
        let (first, second) = (places.take(0, 100), places.take(0, 100));
        assert!(first.is_some() && second.is_some() && places.take(99, 200).is_none());
        drop(first);
        let third = places.take(99, 200);
        assert!(third.is_some() && places.take(99, 200).is_none());
        assert!(places.take(100, 200).is_some(), "the second was never given up");
        drop(second);
        assert!(places.take(100, 200).is_some_and(|_| places.take(100, 200).is_none()), "the third is still there");
    }
}
