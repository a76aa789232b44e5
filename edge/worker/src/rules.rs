//! What needs no JavaScript: which headers come in, and how a request to a point of presence is signed.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderName;
use shared::uplink::{CLIENT_ADDRESS, SIGNATURE, Signed, TIMESTAMP, UplinkKey};
use shared::{Problem, ProblemKind};

/// Path and query (without `?`) of an absolute URL.
#[must_use]
pub fn path_and_query(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let target = rest.find('/').map_or("/", |at| &rest[at..]);
    let target = target.split('#').next().unwrap_or("/");
    target.split_once('?').unwrap_or((target, ""))
}

/// Host and port of an absolute URL.
#[must_use]
pub fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Whether a request header from outside reaches the app. Hop-by-hop headers end here, so do `Expect` (an answer of 100
/// is more than workerd's `fetch` can take) and whatever claims to come from in front of us.
#[must_use]
pub fn comes_in(name: &HeaderName) -> bool {
    let name = name.as_str();
    let hop = matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "expect"
            | "host"
    );
    let claim = matches!(name, "forwarded" | "x-real-ip" | "x-user-id" | "x-original-url" | "x-rewrite-url" | "x-host");
    !hop && !claim && !name.starts_with("x-forwarded-") && !name.starts_with("meridian-") && !name.starts_with("cf-")
}

/// The shopper's address, as Cloudflare saw it; in development there is nobody in front of us.
#[must_use]
pub fn client_address(cf_connecting_ip: Option<&str>) -> IpAddr {
    let seen = cf_connecting_ip.and_then(|text| text.trim().parse().ok());
    seen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The headers that make a point of presence believe the client's address.
#[must_use]
pub fn signature(key: &UplinkKey, signed: &Signed<'_>) -> [(&'static str, String); 3] {
    [
        (TIMESTAMP, signed.timestamp.to_string()),
        (CLIENT_ADDRESS, signed.client_address.to_string()),
        (SIGNATURE, key.sign(signed)),
    ]
}

/// Whether an answer is a point of presence's refusal of this Worker. Then no core has seen the request: nothing was done,
/// and nothing is said about the shopper.
#[must_use]
pub fn refuses_us(status: u16, body: &[u8]) -> bool {
    let kind = ProblemKind::UplinkRefused;
    status == kind.status() && serde_json::from_slice(body).is_ok_and(|problem: Problem| problem.is(kind))
}

#[cfg(test)]
mod tests {
    use shared::uplink::verify;

    use super::*;

    #[test]
    fn a_url_falls_into_its_parts() {
        assert_eq!(path_and_query("https://shop.example/p/red?x=1&y=%2f#z"), ("/p/red", "x=1&y=%2f"));
        assert_eq!(path_and_query("https://shop.example"), ("/", ""));
        assert_eq!(authority("http://127.0.0.1:8787/cart?x"), "127.0.0.1:8787");
        assert_eq!(authority("https://shop.example?x"), "shop.example");
    }

    #[test]
    fn nobody_outside_says_who_he_is() {
        for name in [
            "x-forwarded-for",
            "forwarded",
            "cf-connecting-ip",
            "meridian-client-address",
            "x-user-id",
            "expect",
            "host",
        ] {
            assert!(!comes_in(&HeaderName::from_static(name)), "{name}");
        }
        for name in ["cookie", "origin", "sec-fetch-site", "accept", "authorization", "idempotency-key", "content-type"]
        {
            assert!(comes_in(&HeaderName::from_static(name)), "{name}");
        }
    }

    #[test]
    fn a_point_of_presence_can_check_the_signature() {
        let key = UplinkKey::parse(&format!("k1:{}", "ab".repeat(32))).unwrap();
        let signed = Signed {
            method: "POST",
            path_and_query: "/v1/orders",
            body: b"{}",
            timestamp: 1_800_000_000,
            client_address: client_address(Some("203.0.113.7")),
        };
        let [timestamp, address, signature] = signature(&key, &signed);
        assert_eq!((timestamp.1.as_str(), address.1.as_str()), ("1800000000", "203.0.113.7"));
        assert_eq!(verify(&[key], &signature.1, &signed, 1_800_000_010), Ok(()));
    }

    #[test]
    fn a_refusal_of_the_worker_is_told_from_a_cores_answer() {
        let body = |kind: ProblemKind| Problem::new(kind).detail("the timestamp is too old").to_json();
        assert!(refuses_us(502, &body(ProblemKind::UplinkRefused)));
        assert!(!refuses_us(502, &body(ProblemKind::BadGateway)));
        assert!(!refuses_us(401, &body(ProblemKind::NotSignedIn)));
        assert!(!refuses_us(200, &body(ProblemKind::UplinkRefused)), "somebody's data");
        assert!(!refuses_us(502, b"<h1>502 Bad Gateway</h1>"));
    }

    #[test]
    fn without_cloudflare_the_client_is_this_machine() {
        assert!(client_address(None).is_loopback() && client_address(Some("nonsense")).is_loopback());
    }
}
