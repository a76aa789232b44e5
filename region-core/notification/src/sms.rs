//! Texts, by Twilio's API or one of its shape: `POST /2010-04-01/Accounts/{sid}/Messages.json`, a form under Basic
//! authentication (<https://www.twilio.com/docs/messaging/api/message-resource>).
//!
//! The API knows no idempotency keys: a text whose answer was lost is sent again, so that one may come twice. Whoever answers
//! STOP is kept from further texts by the provider, which then says so.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode};
use region_core_outbound::Outbound;
use region_core_outbound::target::Guard;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::letter::Letter;
use crate::rules::{Channel, Outcome};
use crate::way::{Told, Way};

/// How long the provider may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// Most characters of the shop's name that stand in a text.
const MOST_OF_NAME: usize = 30;

/// An account at a provider of texts.
#[derive(Clone, Debug)]
pub struct SmsAccount {
    /// `https://api.twilio.com`.
    pub url: String,
    /// Names the account.
    pub account_sid: String,
    /// Its password.
    pub auth_token: SecretString,
    /// Who texts: a number of the account, or a name that it may send as.
    pub from: String,
}

/// Why an account cannot be used: names the key that is wrong, never its secret.
#[derive(Debug, thiserror::Error)]
pub enum SmsError {
    /// Not an origin that may be reached.
    #[error("sms.url: an https origin on the public Internet, such as https://api.twilio.com")]
    Url,
    /// Not a name that can stand in a path.
    #[error("sms.account_sid: letters and digits")]
    Sid,
    /// Nobody.
    #[error("sms.from: 1 to 20 characters")]
    From,
    /// TLS cannot be set up.
    #[error("sms: {0}")]
    Tls(#[from] rustls::Error),
}

/// Sends texts.
pub struct Sms {
    outbound: Outbound,
    messages: String,
    authorization: SecretString,
    from: String,
    within: Duration,
}

impl std::fmt::Debug for Sms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sms").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl Sms {
    /// Texts through `account`; `guard` says whether that may be on this machine.
    ///
    /// # Errors
    /// [`SmsError`].
    pub fn new(account: &SmsAccount, guard: Guard) -> Result<Self, SmsError> {
        let SmsAccount { url, account_sid, auth_token, from } = account;
        let url: Url = guard.target(url).map_err(|_| SmsError::Url)?;
        if url.path() != "/" || url.query().is_some() {
            return Err(SmsError::Url);
        }
        if account_sid.is_empty() || !account_sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(SmsError::Sid);
        }
        if !(1..=20).contains(&from.chars().count()) || from.contains(char::is_control) {
            return Err(SmsError::From);
        }
        let credentials = STANDARD.encode(format!("{account_sid}:{}", auth_token.expose_secret()));
        Ok(Self {
            outbound: Outbound::new(guard)?,
            messages: format!("{url}2010-04-01/Accounts/{account_sid}/Messages.json"),
            authorization: format!("Basic {credentials}").into(),
            from: from.clone(),
            within: ANSWERS_WITHIN,
        })
    }

    /// The same with another deadline.
    #[must_use]
    pub fn answered_within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    async fn send(&self, to: &str, text: &str) -> Outcome {
        let form = [("To", to), ("From", &self.from), ("Body", text)];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = Request::post(&self.messages)
            .header(AUTHORIZATION, self.authorization.expose_secret())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(USER_AGENT, "Meridian/1")
            .body(body.into_bytes());
        let request = match request {
            Ok(request) => request,
            Err(error) => return Outcome::Deferred(format!("no request: {error}")),
        };
        match self.outbound.send(request, self.within).await {
            Ok(answer) => outcome(answer.status(), answer.body()),
            Err(why) => Outcome::Deferred(why.to_string()),
        }
    }
}

impl Way for Sms {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn tell<'a>(&'a self, told: Told<'a>) -> BoxFuture<'a, Outcome> {
        async move { self.send(&told.leased.recipient, &text(&told.letter)).await }.boxed()
    }
}

/// The letter in a line: what it is about, and where to read on.
fn text(letter: &Letter) -> String {
    let name: String = letter.store.chars().take(MOST_OF_NAME).collect();
    format!("{name}: {}. {}", letter.subject, letter.link)
}

/// A refusal, as the provider words it.
#[derive(Deserialize)]
struct Refusal {
    code: u32,
}

/// What an answer means (<https://www.twilio.com/docs/api/errors>). Only a 400 speaks of this text; whatever else goes wrong is
/// the provider's fault, or that of our account, which may be mended.
fn outcome(status: StatusCode, beginning: &[u8]) -> Outcome {
    if status.is_success() {
        return Outcome::Sent;
    }
    let said = format!("{}: {}", status.as_u16(), String::from_utf8_lossy(beginning));
    let code = serde_json::from_slice(beginning).ok().map(|Refusal { code }| code);
    match (status, code) {
        // Answered STOP.
        (StatusCode::BAD_REQUEST, Some(21610)) => Outcome::Unwanted,
        // Not a number, not one that is reached, not one that takes texts.
        (StatusCode::BAD_REQUEST, Some(21211 | 21214 | 21217 | 21614)) => Outcome::Bounced(said),
        (StatusCode::BAD_REQUEST, _) => Outcome::Refused(said),
        _ => Outcome::Deferred(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(url: &str) -> SmsAccount {
        SmsAccount {
            url: url.to_owned(),
            account_sid: "AC5ef8732a3c49700934481addd5ce1659".to_owned(),
            auth_token: SecretString::from("swordfish"),
            from: "+15017122661".to_owned(),
        }
    }

    #[test]
    fn an_answer_is_about_the_text_the_number_or_the_moment() {
        let answered = |status: u16, body: &str| outcome(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!(answered(201, r#"{"sid":"SM1","status":"queued"}"#), Outcome::Sent);
        assert_eq!(answered(400, r#"{"code":21610,"message":"unsubscribed"}"#), Outcome::Unwanted);
        for code in [21211, 21614] {
            let answer = answered(400, &format!("{{\"code\":{code}}}"));
            assert!(matches!(answer, Outcome::Bounced(_)), "{answer:?}");
        }
        for body in ["", "{}", r#"{"code":21617}"#] {
            assert!(matches!(answered(400, body), Outcome::Refused(_)), "{body}");
        }
        for status in [301, 401, 403, 404, 429, 500, 503] {
            assert!(matches!(answered(status, "{}"), Outcome::Deferred(_)), "{status}");
        }
    }

    #[test]
    fn a_bad_account_is_named_and_its_secret_is_not_shown() {
        let (outside, here) = (Guard { loopback: false }, Guard { loopback: true });
        let sms = Sms::new(&account("https://api.twilio.com"), outside).unwrap();
        let path = "https://api.twilio.com/2010-04-01/Accounts/AC5ef8732a3c49700934481addd5ce1659/Messages.json";
        assert_eq!(sms.messages, path);
        assert!(!format!("{sms:?} {:?}", account("x")).contains("swordfish"));
        assert!(Sms::new(&account("http://127.0.0.1:9"), here).is_ok());
        let good = || account("https://api.twilio.com");
        for (bad, key) in [
            (account("http://api.twilio.com"), "sms.url"),
            (account("https://127.0.0.1"), "sms.url"),
            (account("https://api.twilio.com/v1"), "sms.url"),
            (SmsAccount { account_sid: "AC/..".to_owned(), ..good() }, "sms.account_sid"),
            (SmsAccount { from: String::new(), ..good() }, "sms.from"),
        ] {
            assert!(Sms::new(&bad, outside).unwrap_err().to_string().starts_with(key), "{key}");
        }
    }
}
