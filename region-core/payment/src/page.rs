//! The provider's own page, where a shopper agrees or answers his bank: which addresses he may be sent to, and which one leads him
//! back.

use shared::OrderId;
use url::{Host, Url};

/// Longest address of a page; the longest that Stripe documents.
const LONGEST_URL: usize = 5_000;

/// Whether a shopper may be sent to `url`: an `https` page; with `plain`, an `http` page of this machine too.
pub(crate) fn is_page(url: &str, plain: bool) -> bool {
    let Some(parsed) = Url::parse(url).ok().filter(|_| url.len() <= LONGEST_URL) else { return false };
    let anonymous = parsed.username().is_empty() && parsed.password().is_none();
    match parsed.scheme() {
        "https" => anonymous && url.starts_with("https://"),
        "http" => plain && anonymous && url.starts_with("http://") && is_loopback(&parsed),
        _ => false,
    }
}

/// Whether the address is on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The shop's origin, if shoppers can be led back to `public_url`, such as `https://shop.example`; plain HTTP is of this machine alone.
#[must_use]
pub fn shop_origin(public_url: &str) -> Option<String> {
    let url = Url::parse(public_url).ok()?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    (bare && is_page(public_url, true)).then(|| url.origin().ascii_serialization())
}

/// The order's page of the shop at that origin, which then looks how the shopper answered.
pub(crate) fn return_url(shop: &str, order: OrderId) -> String {
    format!("{shop}/orders/{order}?notice=back")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shoppers_are_sent_to_https_pages_and_in_practice_to_this_machine() {
        assert!(is_page("https://checkout.example/c/pay/cs_1#fid", false));
        assert!(is_page("http://127.0.0.1:7400/hosted/pay_1", true) && is_page("http://[::1]:1/", true));
        let endless = format!("https://a.example/{}", "a".repeat(LONGEST_URL));
        let bad = [
            "http://checkout.example/",
            "https://me:secret@checkout.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "//checkout.example/",
            "https:checkout.example",
            " https://checkout.example/",
            "/orders",
            "",
            &endless,
        ];
        for url in bad {
            assert!(!is_page(url, true), "{url}");
        }
        assert!(!is_page("http://127.0.0.1:7400/", false));
    }

    #[test]
    fn shoppers_come_back_to_the_shops_own_origin() {
        let order = OrderId::from_uuid("00000000-0000-7000-8000-000000000001".parse().unwrap());
        let shop = shop_origin("https://Shop.example/").unwrap();
        let back = return_url(&shop, order);
        assert_eq!(back, "https://shop.example/orders/00000000-0000-7000-8000-000000000001?notice=back");
        for bad in ["", "shop.example", "http://shop.example", "https://shop.example/de", "https://shop.example/?a"] {
            assert_eq!(shop_origin(bad), None, "{bad}");
        }
    }
}
