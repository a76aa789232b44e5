//! Where a request comes from, as far as that is known: for limits only, never for identity.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;

/// Header in which a PoP names its client's address. Believed only where the channel proves that a PoP sent it.
pub const CLIENT_ADDRESS: &str = "meridian-client-address";

/// The client's address; the unspecified address when nobody vouches for one, so that all such share one allowance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClientAddress(
    /// The address.
    pub IpAddr,
);

/// Neighbouring addresses that one party usually holds: an IPv4 /24 or an IPv6 /56.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AddressBlock {
    /// The first 24 bits.
    V4([u8; 3]),
    /// The first 56 bits.
    V6([u8; 7]),
}

impl ClientAddress {
    /// What stands for a client whose address nobody vouches for.
    pub const UNKNOWN: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

    /// Reads the gateway's header.
    #[must_use]
    pub fn from_gateway(headers: &HeaderMap) -> Option<Self> {
        headers.get(CLIENT_ADDRESS)?.to_str().ok()?.parse().ok().map(Self)
    }

    /// The block that limits count by. IPv4 inside IPv6 counts as IPv4.
    #[must_use]
    pub fn block(self) -> AddressBlock {
        match self.0.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                AddressBlock::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, ..] = address.octets();
                AddressBlock::V6([a, b, c, d, e, f, g])
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Self::UNKNOWN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_block_and_strangers_do_not() {
        let block = |text: &str| ClientAddress(text.parse().unwrap()).block();
        assert_eq!(block("203.0.113.7"), block("203.0.113.250"));
        assert_eq!(block("203.0.113.7"), block("::ffff:203.0.113.9"));
        assert_ne!(block("203.0.113.7"), block("203.0.114.7"));
        assert_eq!(block("2001:db8:1:200::1"), block("2001:db8:1:2ff::9"));
        assert_ne!(block("2001:db8:1:200::1"), block("2001:db8:1:300::1"));
    }
}
