//! Limits against guessing and hoarding: token buckets in bounded tables of this process.
//!
//! A bucket is one number, the time at which it would be full again (the generic cell rate algorithm, ITU-T I.371). The
//! tables forget the least recently used beyond their bound. Several cores of a region count apart.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use region_core_web::{AddressBlock, ClientAddress};
use shared::{EmailAddress, Problem, ProblemKind};
use shared_clock::Clock;

/// Buckets in one table: 100,000 take some 10 MB.
const TABLE: u64 = 100_000;

/// So many at once, then one in each interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// Time until the next one is earned.
    pub interval: Duration,
}

impl Rate {
    /// The bucket's next state (Unix milliseconds at which it is full again), or how long to wait.
    fn take(self, full_at_ms: u64, now_ms: u64) -> Result<u64, Duration> {
        let interval = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        let next = full_at_ms.max(now_ms).saturating_add(interval);
        let depth = interval.saturating_mul(u64::from(self.burst));
        match next.saturating_sub(now_ms).checked_sub(depth) {
            None | Some(0) => Ok(next),
            Some(wait) => Err(Duration::from_millis(wait)),
        }
    }
}

struct Table<K> {
    rate: Rate,
    buckets: Cache<K, Arc<Mutex<u64>>>,
}

impl<K: Hash + Eq + Send + Sync + 'static> Table<K> {
    fn new(rate: Rate) -> Self {
        let buckets = Cache::builder().max_capacity(TABLE).eviction_policy(EvictionPolicy::lru()).build();
        Self { rate, buckets }
    }

    fn take(&self, key: K, now_ms: u64) -> Result<(), Problem> {
        let bucket = self.buckets.get_with(key, Arc::default);
        let mut full_at = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        *full_at = self.rate.take(*full_at, now_ms).map_err(slow_down)?;
        Ok(())
    }
}

fn slow_down(wait: Duration) -> Problem {
    metrics::counter!("account_refused_by_limit_total").increment(1);
    let seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
    Problem::new(ProblemKind::SlowDown).retry_after(seconds.max(1))
}

/// The limits of a core. Clones share the tables.
#[derive(Clone)]
pub struct Limits(Arc<Tables>);

struct Tables {
    clock: Clock,
    exempt: Vec<IpNet>,
    guests: Table<AddressBlock>,
    sign_ups: Table<AddressBlock>,
    sign_ins: Table<AddressBlock>,
    /// One party's attempts at one account.
    guesses: Table<([u8; 32], AddressBlock)>,
    /// Everybody's attempts at one account.
    accounts: Table<[u8; 32]>,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Limits")
    }
}

impl Limits {
    /// For an address block 60 guests, 20 sign-ups and 40 sign-ins at once, of which 20 to one account; for an account 500
    /// sign-ins at once from everywhere. Limits of an address alone do not apply to `exempt` networks: load tools.
    ///
    /// The narrow limit counts per block, so that nobody locks an account out by guessing at it. The wide one bounds guesses
    /// that come from many blocks, at the price that whoever commands many may keep its owner waiting.
    #[must_use]
    pub fn new(clock: Clock, exempt: Vec<IpNet>) -> Self {
        let rate = |burst, seconds| Rate { burst, interval: Duration::from_secs(seconds) };
        Self(Arc::new(Tables {
            clock,
            exempt,
            guests: Table::new(rate(60, 2)),
            sign_ups: Table::new(rate(20, 10)),
            sign_ins: Table::new(rate(40, 2)),
            guesses: Table::new(rate(20, 15)),
            accounts: Table::new(rate(500, 2)),
        }))
    }

    pub(crate) fn guest(&self, from: ClientAddress) -> Result<(), Problem> {
        self.by_address(&self.0.guests, from)
    }

    pub(crate) fn sign_up(&self, from: ClientAddress) -> Result<(), Problem> {
        self.by_address(&self.0.sign_ups, from)
    }

    /// Counts every attempt, right or wrong, known account or not. What the narrower limits refuse does not count against
    /// everybody.
    pub(crate) fn sign_in(&self, from: ClientAddress, email: &EmailAddress) -> Result<(), Problem> {
        self.by_address(&self.0.sign_ins, from)?;
        let (account, now_ms) = (email.digest(), self.0.clock.unix_ms());
        self.0.guesses.take((account, from.block()), now_ms)?;
        self.0.accounts.take(account, now_ms)
    }

    fn by_address(&self, table: &Table<AddressBlock>, from: ClientAddress) -> Result<(), Problem> {
        let ClientAddress(address): ClientAddress = from;
        let address: IpAddr = address.to_canonical();
        if self.0.exempt.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        table.take(from.block(), self.0.clock.unix_ms())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from(address: &str) -> ClientAddress {
        ClientAddress(address.parse().unwrap())
    }

    #[test]
    fn a_block_gets_its_burst_and_then_one_in_each_interval() {
        let clock = Clock::turned(1_800_000_000_000);
        let limits = Limits::new(clock.clone(), vec![]);
        for _ in 0..60 {
            limits.guest(from("203.0.113.7")).unwrap();
        }
        let refused = limits.guest(from("203.0.113.99")).unwrap_err();
        assert_eq!((refused.status, refused.retry_after_seconds), (429, Some(2)));
        limits.guest(from("203.0.114.7")).unwrap();
        clock.advance(Duration::from_secs(2));
        limits.guest(from("203.0.113.7")).unwrap();
        assert!(limits.guest(from("203.0.113.7")).is_err());
    }

    #[test]
    fn an_account_is_guarded_against_guesses_from_everywhere() {
        let limits = Limits::new(Clock::turned(1_800_000_000_000), vec![]);
        let email = "ada@shop.example".parse().unwrap();
        for attempt in 0..500 {
            limits.sign_in(from(&format!("203.0.{}.7", attempt % 100)), &email).unwrap();
        }
        assert!(limits.sign_in(from("203.0.200.7"), &email).is_err());
        limits.sign_in(from("203.0.200.7"), &"bob@shop.example".parse().unwrap()).unwrap();
    }

    #[test]
    fn a_stubborn_guesser_locks_out_himself_alone() {
        let clock = Clock::turned(1_800_000_000_000);
        let limits = Limits::new(clock.clone(), vec![]);
        let email = "ada@shop.example".parse().unwrap();
        let mut guesses = 0;
        for _ in 0..3_600 {
            guesses += u32::from(limits.sign_in(from("198.51.100.7"), &email).is_ok());
            clock.advance(Duration::from_secs(1));
        }
        assert!((20..=20 + 3_600 / 15).contains(&guesses), "{guesses} guesses in an hour");
        assert!((0..20).all(|_| limits.sign_in(from("203.0.113.7"), &email).is_ok()));
    }

    #[test]
    fn an_exempt_network_has_no_address_limit() {
        let limits = Limits::new(Clock::turned(1_800_000_000_000), vec!["127.0.0.0/8".parse().unwrap()]);
        assert!((0..1_000).all(|_| limits.guest(from("127.0.0.1")).is_ok()));
        assert!((0..1_000).any(|_| limits.guest(from("203.0.113.7")).is_err()));
    }

    proptest! {
        #[test]
        fn no_window_exceeds_burst_and_earnings(gaps in prop::collection::vec(0..3_000_u64, 1..200), burst in 1..10_u32) {
            let rate = Rate { burst, interval: Duration::from_secs(1) };
            let (mut now, mut full_at, mut taken) = (1_000_000, 0, 0_u64);
            for gap in gaps {
                now += gap;
                if let Ok(next) = rate.take(full_at, now) {
                    full_at = next;
                    taken += 1;
                }
                prop_assert!(taken <= u64::from(burst) + (now - 1_000_000) / 1_000);
            }
        }
    }
}
