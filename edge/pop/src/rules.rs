//! Where a request belongs: the pure part of routing.

use std::net::IpAddr;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};
use shared::{OrderId, Slot, token};

/// The slot that a request is about: of the id in its path, else of the user its bearer token claims to be.
///
/// The claim is not verified: it only picks the region, whose core checks the token and owns the slot or says 421.
#[must_use]
pub fn slot_of(uri: &Uri, headers: &HeaderMap) -> Option<Slot> {
    slot_in_path(uri.path()).or_else(|| slot_in_token(headers))
}

fn slot_in_path(path: &str) -> Option<Slot> {
    let id = path.strip_prefix("/v1/orders/")?.split('/').next()?;
    id.parse().ok().map(OrderId::slot)
}

fn slot_in_token(headers: &HeaderMap) -> Option<Slot> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let bearer = scheme.eq_ignore_ascii_case("bearer");
    bearer.then(|| token::parse(token.trim()).ok()).flatten().map(|token| token.claimed_subject().slot())
}

/// The address that the machine next to us gives: the last of `X-Forwarded-For`. All before it is hearsay.
///
/// Only to be believed of a TLS terminator of our own. `None` when there is none, or it is no address.
#[must_use]
pub fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    let address: IpAddr = last.rsplit(',').next()?.trim().parse().ok()?;
    Some(address.to_canonical())
}

/// Seconds that a request asks its answer to be held (`Prefer: wait=N`, RFC 7240 section 4.3), 30 at most.
#[must_use]
pub fn wait_seconds(headers: &HeaderMap) -> u64 {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let preferences = values.flat_map(|value| value.split([',', ';'])).map(str::trim);
    let waits = preferences.filter_map(|preference| preference.strip_prefix("wait=")?.parse().ok());
    waits.max().unwrap_or(0_u64).min(30)
}

/// Whether `value` is a W3C trace parent of version 00 that names a trace.
#[must_use]
pub fn is_trace_parent(value: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let named = |part: &str| part.bytes().any(|byte| byte != b'0');
    match value.split('-').collect::<Vec<_>>()[..] {
        ["00", trace, parent, flags] => {
            hex(trace, 32) && hex(parent, 16) && hex(flags, 2) && named(trace) && named(parent)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use shared::id::USER_EPOCH_MS;
    use shared::token::{Claims, KeyId, Role};
    use shared::{SessionId, UserId};

    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).unwrap()
    }

    fn bearer(slot: Slot) -> HeaderMap {
        let claims = Claims {
            iss: "meridian".to_owned(),
            aud: "meridian-store".to_owned(),
            sub: UserId::mint(USER_EPOCH_MS, slot, 1).unwrap(),
            sid: SessionId::mint(USER_EPOCH_MS, slot, [1; 8]),
            roles: vec![Role::Guest],
            epoch: 0,
            iat: 1,
            nbf: 1,
            exp: 600,
        };
        let token = token::finish(&token::signing_input(&KeyId("k".to_owned()), &claims), &[0; 64]);
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap())])
    }

    #[test]
    fn an_id_in_the_path_says_more_than_the_token() {
        let order = OrderId::mint(USER_EPOCH_MS, slot(77), [1; 8]);
        let confirm: Uri = format!("/v1/orders/{order}/payment/confirm").parse().unwrap();
        assert_eq!(slot_of(&confirm, &bearer(slot(5))), Some(slot(77)));
        assert_eq!(slot_of(&format!("/v1/orders/{order}").parse().unwrap(), &HeaderMap::new()), Some(slot(77)));
        assert_eq!(slot_of(&"/v1/orders?limit=1".parse().unwrap(), &bearer(slot(5))), Some(slot(5)));
        assert_eq!(slot_of(&"/v1/orders/nonsense".parse().unwrap(), &bearer(slot(5))), Some(slot(5)));
    }

    #[test]
    fn without_either_a_request_has_no_slot() {
        let uri = "/v1/guests".parse().unwrap();
        assert_eq!(slot_of(&uri, &HeaderMap::new()), None);
        for odd in ["Bearer", "Bearer x.y.z", "Basic dXNlcjpwYXNz", "bearer ", "Bearer \u{e9}"] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_bytes(odd.as_bytes()).unwrap())]);
            assert_eq!(slot_of(&uri, &headers), None, "{odd:?}");
        }
    }

    #[test]
    fn of_those_a_request_came_through_only_the_last_is_named_by_a_neighbour() {
        let name = |values: &[&'static str]| {
            let values =
                values.iter().map(|value| ("x-forwarded-for".parse().unwrap(), HeaderValue::from_static(value)));
            forwarded_for(&values.collect::<HeaderMap>()).map(|address| address.to_string())
        };
        assert_eq!(name(&["203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(name(&["6.6.6.6, 203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(name(&["203.0.113.7", "2001:db8::1"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(name(&["::ffff:203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        for none in [&[][..], &[""], &["203.0.113.7,"], &["203.0.113.7", "unknown"]] {
            assert_eq!(name(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_wait_is_read_and_bounded() {
        let wait =
            |value| wait_seconds(&HeaderMap::from_iter([("prefer".parse().unwrap(), HeaderValue::from_static(value))]));
        assert_eq!(wait("wait=5"), 5);
        assert_eq!(wait("respond-async, wait=10"), 10);
        assert_eq!(wait("wait=9999"), 30);
        assert_eq!(wait("wait=-1"), 0);
        assert_eq!(wait_seconds(&HeaderMap::new()), 0);
    }

    #[test]
    fn only_well_formed_traces_are_carried_on() {
        assert!(is_trace_parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert!(!is_trace_parent(bad), "{bad:?} was taken");
        }
    }
}
