//! What is taken off requests before anything else reads them, and off answers before they leave.

use http::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use shared_clock::Entropy;

use crate::rules;

/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Names of headers by which something in front could say who asks, from where, or for what. From most there is nothing
/// in front of us; of a TLS terminator only the address is believed, and it is read before these are dropped.
const CLAIMED: [HeaderName; 8] = [
    FORWARDED,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-method-override"),
];

/// Beginnings of such names; `meridian-` is our own.
const CLAIMED_PREFIXES: [&str; 6] = ["x-forwarded-", "x-original-", "x-user-", "x-auth-", "cf-", "meridian-"];

/// Headers of one hop (RFC 9110 section 7.6.1), and the length, which is counted anew.
const ONE_HOP: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Drops every header that claims an identity or an address.
pub fn drop_claims(headers: &mut HeaderMap) {
    let claimed = |name: &HeaderName| {
        CLAIMED.contains(name) || CLAIMED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
    };
    let names: Vec<HeaderName> = headers.keys().filter(|name| claimed(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Drops the headers of one hop, those that `Connection` names among them.
pub fn drop_hop(headers: &mut HeaderMap) {
    let listed = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        listed.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in named.into_iter().chain(ONE_HOP) {
        headers.remove(name);
    }
}

/// Sees to it that the request belongs to a trace: keeps a well-formed parent, else starts one.
pub fn ensure_trace(headers: &mut HeaderMap, entropy: &Entropy) {
    let given = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    if given.is_some_and(rules::is_trace_parent) {
        return;
    }
    let parent = format!("00-{}-{}-01", hex::encode(entropy.bytes::<16>()), hex::encode(entropy.bytes::<8>()));
    if let Ok(parent) = HeaderValue::try_from(parent) {
        headers.insert(TRACEPARENT, parent);
    }
    headers.remove("tracestate");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(names: &[&'static str]) -> HeaderMap {
        names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("x"))).collect()
    }

    #[test]
    fn nobody_outside_says_who_or_where_he_is() {
        let mut all = headers(&[
            "x-forwarded-for",
            "x-forwarded-host",
            "forwarded",
            "x-real-ip",
            "x-user-id",
            "cf-connecting-ip",
            "meridian-client-address",
            "meridian-signature",
            "x-original-url",
            "accept",
            "authorization",
        ]);
        drop_claims(&mut all);
        let mut kept: Vec<&str> = all.keys().map(HeaderName::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["accept", "authorization"]);
    }

    #[test]
    fn headers_of_one_hop_go_no_further() {
        let mut all = headers(&["keep-alive", "transfer-encoding", "x-secret", "etag", "content-length"]);
        all.insert(CONNECTION, HeaderValue::from_static("close, X-Secret"));
        drop_hop(&mut all);
        assert_eq!(all.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["etag"]);
    }

    #[test]
    fn every_request_belongs_to_a_trace() {
        let entropy = Entropy::seeded(1);
        let mut none = HeaderMap::new();
        ensure_trace(&mut none, &entropy);
        let made = none[TRACEPARENT].to_str().unwrap().to_owned();
        assert!(rules::is_trace_parent(&made), "{made}");
        ensure_trace(&mut none, &entropy);
        assert_eq!(none[TRACEPARENT], made, "a trace that is there is kept");
        let mut forged = headers(&["traceparent", "tracestate"]);
        ensure_trace(&mut forged, &entropy);
        assert!(rules::is_trace_parent(forged[TRACEPARENT].to_str().unwrap()));
        assert!(!forged.contains_key("tracestate"));
    }
}
