//! The three cookies: all `__Host-`, `HttpOnly`, `Secure`, `SameSite=Lax`, `Path=/`, no `Domain`.

use http::header::{COOKIE, HeaderMap, HeaderValue};
use shared::CartId;

/// The access token.
pub(crate) const SESSION: &str = "__Host-session";
/// The refresh token.
pub(crate) const REFRESH: &str = "__Host-refresh";
/// `cart_id:min_version`: the lowest version of the cart that this shopper may be shown.
pub(crate) const CART: &str = "__Host-cart";

/// Seconds that a cart cookie lasts: 30 days.
pub(crate) const CART_SECONDS: u32 = 30 * 24 * 3600;

/// The first cookie of that name; a value that is not plain token text is none.
pub(crate) fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let value = pairs.find(|(own, _)| *own == name)?.1;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'~' | b'=');
    (!value.is_empty() && value.len() <= 4096 && value.bytes().all(plain)).then_some(value)
}

/// `Set-Cookie` for `seconds`.
pub(crate) fn set(name: &str, value: &str, seconds: u32) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Lax")).ok()
}

/// `Set-Cookie` that ends a cookie.
pub(crate) fn clear(name: &str) -> Option<HeaderValue> {
    set(name, "", 0)
}

/// What the cart cookie says, if it is one of ours.
pub(crate) fn cart(headers: &HeaderMap) -> Option<(CartId, u64)> {
    let (id, version) = read(headers, CART)?.split_once(':')?;
    let version = version.parse().ok().filter(|version| *version <= i64::MAX.cast_unsigned())?;
    Some((id.parse().ok()?, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn every_cookie_is_locked_to_this_host_and_hidden_from_scripts() {
        for cookie in [set(SESSION, "x", 60), clear(REFRESH), set(CART, "a:1", 5)] {
            let text = cookie.unwrap().to_str().unwrap().to_owned();
            assert!(text.starts_with("__Host-") && !text.contains("Domain"), "{text}");
            assert!(
                text.contains("; Path=/; Max-Age=") && text.ends_with("; HttpOnly; Secure; SameSite=Lax"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name_in_any_line() {
        let map = headers(&["x__Host-session=a; other=b", "__Host-session=tok.en; __Host-session=second"]);
        assert_eq!(read(&map, SESSION), Some("tok.en"));
        assert_eq!(read(&headers(&["__Host-session=a b", "__Host-refresh="]), SESSION), None);
        assert_eq!(set(SESSION, "a\nb", 1), None);
    }

    #[test]
    fn a_cart_cookie_is_an_id_and_a_version() {
        let id = "0195b1c4-0000-7abc-8def-000000000001";
        let line: &'static str = Box::leak(format!("__Host-cart={id}:17").into_boxed_str());
        assert_eq!(cart(&headers(&[line])), Some((id.parse().unwrap(), 17)));
        assert_eq!(cart(&headers(&["__Host-cart=17"])), None);
        assert_eq!(cart(&headers(&["__Host-cart=0195b1c4-0000-7abc-8def-000000000001:-1"])), None);
    }
}
