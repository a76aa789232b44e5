//! Through which push services browsers are told. Whoever subscribes names one, so a core posts to those alone that its shop has
//! named. No I/O.

use percent_encoding::percent_decode_str;
use region_core_outbound::target::{BadTarget, Guard, LONGEST, is_here};
use shared::text::holds_card_number;
use url::{Host, Url};

use super::PushError;

/// The push services that messages go through.
#[derive(Clone, Debug)]
pub struct Services {
    /// Names of hosts; with a dot before it, of all hosts below it.
    names: Vec<String>,
    guard: Guard,
}

/// Why nothing is pushed to an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BadEndpoint {
    #[error(transparent)]
    Target(#[from] BadTarget),
    #[error("at no push service that this store knows")]
    Stranger,
    #[error("this looks like a card number")]
    CardNumber,
}

impl Services {
    /// Those of browsers that are widely used: Chrome's, Firefox's, Safari's and Edge's.
    pub const USUAL: [&str; 4] =
        ["fcm.googleapis.com", "updates.push.services.mozilla.com", ".push.apple.com", ".notify.windows.com"];

    /// Hosts of these names, or below them where a name begins with a dot; and this machine, if `guard` allows it.
    ///
    /// # Errors
    /// [`PushError::Service`] with what is no such name.
    pub fn new(names: &[String], guard: Guard) -> Result<Self, PushError> {
        let is_name = |name: &String| {
            let host = name.strip_prefix('.').unwrap_or(name);
            let has_parts = host.contains('.') && host.split('.').all(|part| !part.is_empty());
            has_parts && Host::parse(host).is_ok_and(|parsed| parsed == Host::Domain(host.to_owned()))
        };
        match names.iter().find(|name| !is_name(name)) {
            Some(bad) => Err(PushError::Service(bad.clone())),
            None => Ok(Self { names: names.to_vec(), guard }),
        }
    }

    /// What must be true of every address as well that a host turns out to have.
    pub(super) const fn guard(&self) -> Guard {
        self.guard
    }

    /// The endpoint, if messages may be posted to it.
    pub(super) fn endpoint(&self, text: &str) -> Result<Url, BadEndpoint> {
        let url = self.guard.target_within(text, LONGEST)?;
        let host = url.host().ok_or(BadTarget::NotAUrl)?;
        // A developer's own stands at any port.
        let own = self.guard.loopback && is_here(&host);
        let known = matches!(host, Host::Domain(host) if url.port().is_none() && self.knows(host));
        if !own && !known {
            return Err(BadEndpoint::Stranger);
        }
        let read = percent_decode_str(url.as_str()).decode_utf8_lossy().replace('+', " ");
        if holds_card_number(url.as_str()) || holds_card_number(&read) { Err(BadEndpoint::CardNumber) } else { Ok(url) }
    }

    fn knows(&self, host: &str) -> bool {
        self.names.iter().any(|name| if name.starts_with('.') { host.ends_with(name.as_str()) } else { host == name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(loopback: bool) -> Services {
        Services::new(&Services::USUAL.map(ToOwned::to_owned), Guard { loopback }).unwrap()
    }

    #[test]
    fn a_core_posts_to_the_push_services_that_it_knows_and_to_nobody_else() {
        let seen = |url: &str| usual(false).endpoint(url).map(|url| url.to_string());
        for good in [
            "https://fcm.googleapis.com/fcm/send/dX-4:APA91b_4-0",
            "https://FCM.googleapis.com:443/fcm/send/1",
            "https://updates.push.services.mozilla.com/wpush/v2/gAAAA",
            "https://web.push.apple.com/QGq",
            "https://db5p.notify.windows.com/w/?token=BQYAAAB%2f4%2b0%3d",
        ] {
            assert!(seen(good).is_ok(), "{good}: {:?}", seen(good));
        }
        for stranger in [
            "https://push.example/1",
            "https://googleapis.com/1",
            "https://evil-fcm.googleapis.com/1",
            "https://fcm.googleapis.com.evil.example/1",
            "https://fcm.googleapis.com./1",
            "https://evilpush.apple.com/1",
            "https://push.apple.com/1",
            "https://fcm.googleapis.com:8443/1",
            "https://8.8.8.8/1",
        ] {
            assert_eq!(seen(stranger), Err(BadEndpoint::Stranger), "{stranger}");
        }
        let inside = "https://127.0.0.1/1";
        assert_eq!(seen(inside), Err(BadEndpoint::Target(BadTarget::NotPublic)));
        for here in [inside, "http://localhost:9/1"] {
            assert!(usual(true).endpoint(here).is_ok(), "{here}");
        }
        assert_eq!(usual(true).endpoint("https://push.example/1"), Err(BadEndpoint::Stranger));
    }

    #[test]
    fn a_card_number_is_no_part_of_an_endpoint_however_it_is_written() {
        for card in ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "4111+1111%201111+1111"] {
            for endpoint in
                [format!("https://web.push.apple.com/{card}"), format!("https://web.push.apple.com/?a={card}")]
            {
                assert_eq!(usual(false).endpoint(&endpoint), Err(BadEndpoint::CardNumber), "{endpoint}");
            }
        }
    }

    #[test]
    fn what_names_no_host_is_refused() {
        let of = |name: &str| Services::new(&[name.to_owned()], Guard { loopback: false });
        for bad in
            ["", ".", "..example", "example", "https://push.example", "push.example:443", "10.0.0.1", "Push.example"]
        {
            let refused = of(bad).unwrap_err().to_string();
            assert!(refused.starts_with("push.services: "), "{bad}: {refused}");
        }
        assert!(of("push.example").is_ok() && of(".push.example").is_ok());
    }
}
