//! How much one address prefix may ask: a shield against floods, not an account of who did what.
//!
//! The generic cell rate algorithm (ITU-T I.371): one number an address block, the time at which its bucket is full
//! again. The table is bounded; when it overflows the least used blocks are forgotten, which lets them begin afresh.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use serde::Deserialize;
use shared_clock::Clock;

use crate::config;

/// Address blocks remembered at once.
const MAX_BLOCKS: u64 = 100_000;

/// A range of addresses, as `address/bits`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// Not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network such as 192.0.2.0/24 or 2001:db8::/56")]
pub struct NotANetwork(String);

impl Network {
    /// The network of `bits` bits that `address` is in.
    fn around(address: IpAddr, bits: u8) -> Self {
        let base = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        };
        Self { base, bits }
    }

    /// What one household or office is likely to have: /24, or /56 of IPv6.
    pub(crate) fn block_of(address: IpAddr) -> Self {
        match address.to_canonical() {
            address @ IpAddr::V4(_) => Self::around(address, 24),
            address @ IpAddr::V6(_) => Self::around(address, 56),
        }
    }

    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && Self::around(address, self.bits).base == self.base
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let refuse = || NotANetwork(text.chars().take(60).collect());
        let (base, bits) = text.split_once('/').ok_or_else(refuse)?;
        let base: IpAddr = base.parse().map_err(|_| refuse())?;
        let bits: u8 = bits.parse().map_err(|_| refuse())?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        let network = Self::around(base, bits.min(longest));
        // A base with bits beyond the prefix is a typing error more often than not.
        if bits <= longest && network.base == base { Ok(network) } else { Err(refuse()) }
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

/// Counts requests by address block. Clones share the counts.
#[derive(Clone)]
pub struct Limiter(Arc<Inner>);

struct Inner {
    /// Microseconds that one request takes out of the bucket.
    cost_us: u64,
    /// Microseconds that a full bucket holds.
    burst_us: u64,
    exempt: Vec<Network>,
    /// When each block's bucket is full again, Unix microseconds.
    full_at_us: Cache<Network, Arc<AtomicU64>>,
    clock: Clock,
}

impl Limiter {
    /// A limiter as configured.
    #[must_use]
    pub fn new(limits: &config::Limits, clock: Clock) -> Self {
        let cost_us = 1_000_000 / u64::from(limits.per_second.clamp(1, 1_000_000));
        let burst_us = cost_us * u64::from(limits.burst);
        let idle = Duration::from_micros(burst_us) + Duration::from_secs(1);
        let full_at_us = Cache::builder().max_capacity(MAX_BLOCKS).time_to_idle(idle).build();
        Self(Arc::new(Inner { cost_us, burst_us, exempt: limits.exempt.clone(), full_at_us, clock }))
    }

    /// Takes one request from the address's block, or says after how many seconds to try again.
    ///
    /// # Errors
    /// The seconds.
    pub fn take(&self, address: IpAddr) -> Result<(), u32> {
        let Inner { cost_us, burst_us, exempt, full_at_us, clock } = &*self.0;
        if exempt.iter().any(|network| network.contains(address)) {
            return Ok(());
        }
        let now = clock.unix_ms() * 1_000;
        let cell = full_at_us.get_with(Network::block_of(address), Arc::default);
        let spend = |full_at: u64| next(full_at, now, *cost_us, *burst_us).ok();
        match cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend) {
            Ok(_) => Ok(()),
            Err(full_at) => {
                let wait_us = next(full_at, now, *cost_us, *burst_us).err().unwrap_or(0);
                Err(u32::try_from(wait_us.div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1))
            }
        }
    }
}

/// When the bucket is full again if a request takes `cost` now, or how long until it may.
fn next(full_at: u64, now: u64, cost: u64, burst: u64) -> Result<u64, u64> {
    let full_at = full_at.max(now) + cost;
    match full_at.checked_sub(now + burst) {
        None | Some(0) => Ok(full_at),
        Some(wait) => Err(wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(exempt: &[&str]) -> (Limiter, Clock) {
        let clock = Clock::turned(1_800_000_000_000);
        let exempt = exempt.iter().map(|network| network.parse().unwrap()).collect();
        let limits = config::Limits { per_second: 10, burst: 5, exempt, ..config::Limits::default() };
        (Limiter::new(&limits, clock.clone()), clock)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_block_may_burst_and_then_keeps_to_its_rate() {
        let (limiter, clock) = limiter(&[]);
        let shopper = address("203.0.113.7");
        for _ in 0..5 {
            assert_eq!(limiter.take(shopper), Ok(()));
        }
        assert_eq!(limiter.take(shopper), Err(1));
        clock.advance(Duration::from_millis(100));
        assert_eq!(limiter.take(shopper), Ok(()));
        assert_eq!(limiter.take(shopper), Err(1));
        clock.advance(Duration::from_secs(60));
        assert_eq!((0..20).filter(|_| limiter.take(shopper).is_ok()).count(), 5, "a pause saves up one burst, no more");
    }

    #[test]
    fn neighbours_share_a_bucket_and_strangers_do_not() {
        let (limiter, _) = limiter(&[]);
        let ask = |text: &str| (0..5).all(|_| limiter.take(address(text)).is_ok());
        assert!(ask("203.0.113.7"));
        assert!(!ask("203.0.113.200"), "the same /24");
        assert!(!ask("::ffff:203.0.113.9"), "the same /24, spelt for IPv6");
        assert!(ask("203.0.114.7"));
        assert!(ask("2001:db8:0:100::1"));
        assert!(!ask("2001:db8:0:1ff::1"), "the same /56");
        assert!(ask("2001:db8:0:200::1"));
    }

    #[test]
    fn the_exempt_are_not_counted() {
        let (limiter, _) = limiter(&["127.0.0.1/32"]);
        assert!((0..100).all(|_| limiter.take(address("127.0.0.1")).is_ok()));
        assert!(!(0..100).all(|_| limiter.take(address("127.0.0.2")).is_ok()));
    }

    #[test]
    fn networks_are_read_strictly() {
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(address("8.8.8.8")) && !all.contains(address("2001:db8::1")));
        assert!("2001:db8::/32".parse::<Network>().unwrap().contains(address("2001:db8:1::1")));
        for bad in ["", "127.0.0.1", "127.0.0.1/33", "127.0.0.1/24", "::1/129", "127.0.0.1/-1", "localhost/8"] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?} was taken");
        }
    }
}
