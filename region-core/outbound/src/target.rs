//! Where a core may post to: out into the world, and never at what stands beside it. No I/O.
//!
//! A merchant says where he is told, so he could name the store's own machines, a cloud's metadata service, or a name that
//! leads there. Every address is judged that a name turns out to lead to, at the moment at which it is connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Longest URL that people write, in bytes.
const MOST_BYTES: usize = 500;
/// Longest URL that is posted to, in bytes: those that programs make are longer.
pub const LONGEST: usize = 2000;

/// What may be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guard {
    /// Whether this machine may be, and over plain HTTP: for developers.
    pub loopback: bool,
}

/// Why nothing is posted to a URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadTarget {
    /// Not a URL, or too long.
    #[error("not an https URL, or too long")]
    NotAUrl,
    /// Not over TLS.
    #[error("https alone")]
    NotHttps,
    /// Credentials or a fragment, which would be sent nowhere.
    #[error("no user, password or fragment")]
    Surplus,
    /// An address that is not of the public Internet.
    #[error("its host is not on the public Internet")]
    NotPublic,
}

impl Guard {
    /// The URL, if anything may be posted there as far as it shows itself.
    ///
    /// # Errors
    /// [`BadTarget`].
    pub fn target(self, text: &str) -> Result<Url, BadTarget> {
        self.target_within(text, MOST_BYTES)
    }

    /// The same of a URL of at most `most_bytes`.
    ///
    /// # Errors
    /// [`BadTarget`].
    pub fn target_within(self, text: &str, most_bytes: usize) -> Result<Url, BadTarget> {
        let url = Url::parse(text).ok().filter(|url| url.as_str().len() <= most_bytes).ok_or(BadTarget::NotAUrl)?;
        let host = url.host().ok_or(BadTarget::NotAUrl)?;
        let here = is_here(&host);
        match url.scheme() {
            "https" => {}
            "http" if self.loopback && here => {}
            _ => return Err(BadTarget::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(BadTarget::Surplus);
        }
        let reachable = match host {
            Host::Domain(_) => self.loopback || !here,
            Host::Ipv4(address) => self.allows(address.into()),
            Host::Ipv6(address) => self.allows(address.into()),
        };
        if reachable { Ok(url) } else { Err(BadTarget::NotPublic) }
    }

    /// Whether a connection to that address may be opened.
    #[must_use]
    pub fn allows(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || (self.loopback && address.is_loopback())
    }
}

/// Whether a host, as it is written, is this machine.
#[must_use]
pub fn is_here(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => is_local_name(name),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Names that are this machine's (RFC 6761 section 6.3).
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether an address is of the public Internet, as the registries of IANA have it (RFC 6890 and its successors).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match a {
        // This network; private; loopback.
        0 | 10 | 127 => true,
        // Shared by carriers (RFC 6598).
        100 => (64..=127).contains(&b),
        // Link-local, where clouds keep their metadata.
        169 => b == 254,
        172 => (16..=31).contains(&b),
        // Protocol assignments, documentation, the old 6to4 relays; private.
        192 => b == 168 || (b == 0 && matches!(c, 0 | 2)) || (b == 88 && c == 99),
        // Benchmarks; documentation.
        198 => matches!(b, 18 | 19) || (b == 51 && c == 100),
        203 => b == 0 && c == 113,
        // Multicast, reserved, broadcast.
        224..=255 => true,
        _ => false,
    };
    !special
}

/// Only what is given out as global unicast, 2000::/3, and of that nothing that is special or leads to an IPv4 address.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, ..] = address.segments();
    match (a, b, c) {
        // NAT64 (RFC 6052): what stands in the last 32 bits is reached.
        (0x64, 0xff9b, 0) => {
            let [.., high, low] = address.segments();
            address.segments()[3..6] == [0, 0, 0]
                && is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        }
        // Protocol assignments with Teredo and ORCHID in them; documentation; 6to4.
        (0x2001, 0..=0x1ff, _) | (0x2001, 0xdb8, _) | (0x2002, ..) | (0x3fff, 0..=0xfff, _) => false,
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTSIDE: Guard = Guard { loopback: false };
    const DEVELOPER: Guard = Guard { loopback: true };

    fn allows(guard: Guard, address: &str) -> bool {
        guard.allows(address.parse().unwrap())
    }

    #[test]
    fn what_is_public_is_reached() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "169.253.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(allows(OUTSIDE, address), "{address}");
        }
    }

    #[test]
    fn what_is_not_public_is_not_reached_however_it_is_written() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::808:808",
            "2001::1",
            "2001:db8::1",
            "2001:10::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "5f00::1",
            "100::1",
            "fec0::1",
        ] {
            assert!(!allows(OUTSIDE, address), "{address}");
        }
    }

    #[test]
    fn a_developer_reaches_his_own_machine_and_nothing_else() {
        for address in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(allows(DEVELOPER, address), "{address}");
        }
        for address in ["0.0.0.0", "10.0.0.1", "169.254.169.254", "fe80::1", "64:ff9b::7f00:1"] {
            assert!(!allows(DEVELOPER, address), "{address}");
        }
    }

    #[test]
    fn a_url_is_judged_as_a_browser_would_read_it() {
        let seen = |guard: Guard, url: &str| guard.target(url).map(|url| url.to_string());
        assert_eq!(seen(OUTSIDE, "https://ERP.example:8443/hooks?a=1").unwrap(), "https://erp.example:8443/hooks?a=1");
        let cases = [
            ("http://erp.example/", BadTarget::NotHttps),
            ("ftp://erp.example/", BadTarget::NotHttps),
            ("erp.example", BadTarget::NotAUrl),
            ("https://", BadTarget::NotAUrl),
            ("https://me:secret@erp.example/", BadTarget::Surplus),
            ("https://erp.example/#x", BadTarget::Surplus),
            ("https://localhost/", BadTarget::NotPublic),
            ("https://a.localhost./", BadTarget::NotPublic),
            ("https://127.1/", BadTarget::NotPublic),
            ("https://0x7f000001/", BadTarget::NotPublic),
            ("https://2130706433/", BadTarget::NotPublic),
            ("https://0251.0376.0251.0376/", BadTarget::NotPublic),
            ("https://[::ffff:a9fe:a9fe]/", BadTarget::NotPublic),
            ("https://[fe80::1]/", BadTarget::NotPublic),
            ("http://127.0.0.1/", BadTarget::NotHttps),
        ];
        for (url, why) in cases {
            assert_eq!(seen(OUTSIDE, url), Err(why), "{url}");
        }
        assert_eq!(seen(OUTSIDE, &format!("https://erp.example/{}", "x".repeat(500))), Err(BadTarget::NotAUrl));
        for url in ["http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/", "https://127.0.0.1/"] {
            assert!(seen(DEVELOPER, url).is_ok(), "{url}");
        }
        assert_eq!(seen(DEVELOPER, "http://erp.example/"), Err(BadTarget::NotHttps));
        assert_eq!(seen(DEVELOPER, "http://10.0.0.1/"), Err(BadTarget::NotHttps));
        assert_eq!(seen(DEVELOPER, "https://169.254.169.254/"), Err(BadTarget::NotPublic));
    }
}
