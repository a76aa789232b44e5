//! How many answers may go on at once in an isolate, and how many of them may be one reader's.
//!
//! A place is given up when its answer ends, or when its time is over: of a request that workerd ends by itself the isolate
//! may never hear.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::UserId;

/// The places of an isolate. Clones share them.
#[derive(Clone, Debug)]
pub struct Places {
    most: usize,
    most_of_one: usize,
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// Why no place is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// None is free.
    Full,
    /// The reader has as many as he may.
    ReaderHasMost,
}

/// By whom a place is taken, and when it is free again at the latest, Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Taken {
    by: UserId,
    until_ms: u64,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Place {
    of: Places,
    taken: Taken,
}

impl Places {
    /// So many, all free, and so many for one reader.
    #[must_use]
    pub fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, taken: Arc::default() }
    }

    /// Takes one until then at the latest.
    ///
    /// # Errors
    /// If none is free now, or the reader has as many as he may.
    pub fn take(&self, by: UserId, now_ms: u64, until_ms: u64) -> Result<Place, Refused> {
        let mut all = self.taken();
        all.retain(|taken| now_ms < taken.until_ms);
        if all.len() >= self.most {
            return Err(Refused::Full);
        }
        if all.iter().filter(|taken| taken.by == by).count() >= self.most_of_one {
            return Err(Refused::ReaderHasMost);
        }
        let taken = Taken { by, until_ms };
        all.push(taken);
        Ok(Place { of: self.clone(), taken })
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.of.taken();
        // Which of a reader's that end together is gone makes no difference.
        if let Some(at) = all.iter().position(|taken| *taken == self.taken) {
            all.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::id::{Slot, USER_EPOCH_MS};

    use super::*;

    fn reader(number: u16) -> UserId {
        UserId::mint(USER_EPOCH_MS, Slot::new(7).unwrap(), number).unwrap()
    }

    #[test]
    fn places_are_as_many_as_they_are_and_come_back_at_their_end_or_their_time() {
        let places = Places::new(2, 2);
        let take = |now_ms, until_ms| places.take(reader(1), now_ms, until_ms);
        let (first, second) = (take(0, 100), take(0, 100));
        assert!(first.is_ok() && second.is_ok() && take(99, 200).is_err());
        drop(first);
        let third = take(99, 200);
        assert!(third.is_ok() && take(99, 200).is_err());
        assert!(take(100, 200).is_ok(), "the second was never given up");
        drop(second);
        assert!(take(100, 200).is_ok_and(|_| take(100, 200).is_err()), "the third is still there");
    }

    #[test]
    fn one_reader_has_a_few_and_others_have_theirs() {
        let places = Places::new(3, 2);
        let (first, second) = (places.take(reader(1), 0, 100), places.take(reader(1), 0, 200));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(places.take(reader(1), 0, 100).err(), Some(Refused::ReaderHasMost));
        let other = places.take(reader(2), 0, 100);
        assert!(other.is_ok());
        assert_eq!(places.take(reader(2), 0, 100).err(), Some(Refused::Full));
        drop(first);
        assert!(places.take(reader(1), 0, 100).is_ok());
    }
}
