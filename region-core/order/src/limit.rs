//! At most five new orders a second and user, in this process; repeats of one key have a bucket of their own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use shared::{IdempotencyKey, UserId};
use tokio::time::Instant;

/// New keys a second and user.
const NEW_KEYS_PER_SECOND: u32 = 5;
/// Repeats of one key a second.
const REPEATS_PER_SECOND: u32 = 100;
/// Users and keys remembered; the oldest are forgotten, which only ever lets more through.
const REMEMBERED: u64 = 100_000;

/// Counts within one second each.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    users: Cache<UserId, Arc<Mutex<Window>>>,
    keys: Cache<(UserId, IdempotencyKey), Arc<KeyEntry>>,
}

/// One key that was seen lately.
#[derive(Debug)]
pub(crate) struct KeyEntry {
    window: Mutex<Window>,
    /// Held by the request under this key that is being decided. Whether one before it may have placed an order: not if all
    /// were refused.
    pub(crate) may_stand: tokio::sync::Mutex<bool>,
}

#[derive(Debug)]
struct Window {
    started: Instant,
    count: u32,
}

impl Window {
    fn starting(now: Instant) -> Mutex<Self> {
        Mutex::new(Self { started: now, count: 0 })
    }

    /// Whether one more fits.
    fn admit(window: &Mutex<Self>, most: u32, now: Instant) -> bool {
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(window.started) >= Duration::from_secs(1) {
            *window = Self { started: now, count: 0 };
        }
        window.count += 1;
        window.count <= most
    }
}

impl Limit {
    pub(crate) fn new() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            users: Cache::builder().max_capacity(REMEMBERED).time_to_idle(minute).build(),
            keys: Cache::builder().max_capacity(REMEMBERED).time_to_idle(minute).build(),
        }
    }

    /// The key's entry, if a request under it may go on now.
    pub(crate) fn admit(&self, user: UserId, key: &IdempotencyKey, now: Instant) -> Option<Arc<KeyEntry>> {
        let fresh_entry =
            || Arc::new(KeyEntry { window: Window::starting(now), may_stand: tokio::sync::Mutex::default() });
        let entry = self.keys.entry((user, key.clone())).or_insert_with(fresh_entry);
        let (fresh, entry) = (entry.is_fresh(), entry.into_value());
        if !Window::admit(&entry.window, REPEATS_PER_SECOND, now) {
            return None;
        }
        let window = self.users.get_with(user, || Arc::new(Window::starting(now)));
        if fresh && !Window::admit(&window, NEW_KEYS_PER_SECOND, now) {
            // The next try under this key counts as a new one again.
            self.keys.invalidate(&(user, key.clone()));
            return None;
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> IdempotencyKey {
        format!("key-{number}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_sixth_new_order_waits_for_the_next_second_and_repeats_do_not_count() {
        let (limit, user) = (Limit::new(), UserId::from_i64(1).unwrap());
        for number in 0..5 {
            assert!(limit.admit(user, &key(number), Instant::now()).is_some());
        }
        for _ in 0..50 {
            assert!(limit.admit(user, &key(0), Instant::now()).is_some(), "a repeat was counted");
        }
        assert!(limit.admit(user, &key(5), Instant::now()).is_none());
        assert!(
            limit.admit(UserId::from_i64(2).unwrap(), &key(5), Instant::now()).is_some(),
            "another user was slowed down"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(limit.admit(user, &key(5), Instant::now()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_cannot_be_hammered_without_end() {
        let (limit, user) = (Limit::new(), UserId::from_i64(1).unwrap());
        let admitted = (0..500).filter(|_| limit.admit(user, &key(0), Instant::now()).is_some()).count();
        assert_eq!(admitted, 100);
    }
}
