//! Form posts come from our own pages or not at all.
//!
//! A browser names the page that posts in `Origin`, and newer ones say `Sec-Fetch-Site` too; both must say "here". There is
//! no token in the page, because public pages are the same for everybody.

use http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use http::request::Parts;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a state-changing request may be believed to come from a page of ours.
pub(crate) fn from_our_pages(parts: &Parts) -> bool {
    let host = parts.uri.authority().map(http::uri::Authority::as_str).or_else(|| text(&parts.headers, &HOST));
    same_origin(host, text(&parts.headers, &ORIGIN), text(&parts.headers, &SEC_FETCH_SITE))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok();
    if values.next().is_some() { None } else { value }
}

fn same_origin(host: Option<&str>, origin: Option<&str>, fetch_site: Option<&str>) -> bool {
    let (Some(host), Some(origin)) = (host, origin) else { return false };
    let here = match origin.split_once("://") {
        Some(("https", authority)) => authority.eq_ignore_ascii_case(host),
        // Plain HTTP only where browsers call it trustworthy: elsewhere a meddler on the line could have made the page.
        Some(("http", authority)) => authority.eq_ignore_ascii_case(host) && is_loopback(host),
        _ => false,
    };
    here && fetch_site.is_none_or(|site| site == "same-origin")
}

fn is_loopback(host: &str) -> bool {
    let name = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
    matches!(name, Some("localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::same_origin;

    #[test]
    fn our_own_pages_may_post() {
        for (host, origin) in [
            ("shop.example", "https://shop.example"),
            ("Shop.example:8443", "https://shop.example:8443"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("localhost:8787", "http://localhost:8787"),
            ("[::1]:1", "http://[::1]:1"),
        ] {
            assert!(same_origin(Some(host), Some(origin), Some("same-origin")), "{origin}");
            assert!(same_origin(Some(host), Some(origin), None), "{origin}");
        }
    }

    #[test]
    fn nobody_else_may() {
        let host = Some("shop.example");
        for origin in [
            None,
            Some("null"),
            Some(""),
            Some("https://evil.example"),
            Some("https://shop.example.evil.example"),
            Some("https://shop.example:444"),
            Some("http://shop.example"),
            Some("https://user@shop.example"),
            Some("shop.example"),
        ] {
            assert!(!same_origin(host, origin, Some("same-origin")), "{origin:?}");
            assert!(!same_origin(host, origin, None), "{origin:?}");
        }
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!same_origin(host, Some("https://shop.example"), Some(site)), "{site}");
        }
        assert!(!same_origin(None, Some("https://shop.example"), None));
    }
}
