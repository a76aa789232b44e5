//! The token that PayPal's API asks for: one for all calls, fetched once when it is missing and again before it ends.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use region_core_outbound::http::Http;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::provider::ProviderError;

/// How long before its end a token is no longer used, if it lives that long twice.
const MARGIN: Duration = Duration::from_secs(60);
/// Longest life of a token that is believed: PayPal's live some nine hours.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Who fetches tokens, and the one that is good now. Whoever finds none fetches one while the others wait for it.
#[derive(Debug)]
pub(super) struct Tokens {
    url: String,
    /// Marked as sensitive, as the token's own is.
    client: HeaderValue,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    authorization: HeaderValue,
    /// From then on it is fetched anew.
    until: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    expires_in: u64,
}

impl Tokens {
    /// Those of a client of the API; `None` if its names cannot be sent.
    pub(super) fn new(url: String, client_id: &str, secret: &SecretString) -> Option<Self> {
        let pair = format!("{client_id}:{}", secret.expose_secret());
        Some(Self { url, client: sensitive("Basic", &BASE64_STANDARD.encode(pair))?, kept: Mutex::new(None) })
    }

    /// What to send as `Authorization`. The caller bounds how long it waits.
    pub(super) async fn get(&self, http: &Http) -> Result<HeaderValue, ProviderError> {
        let mut kept = self.kept.lock().await;
        if let Some(Kept { authorization, until }) = &*kept
            && Instant::now() < *until
        {
            return Ok(authorization.clone());
        }
        let (granted, asked_at) = (self.fetch(http), Instant::now());
        let Granted { access_token, expires_in } = granted.await?;
        let life = Duration::from_secs(expires_in).min(LONGEST_LIFE);
        let authorization = sensitive("Bearer", access_token.expose_secret()).ok_or_else(|| no_token(&"it is none"))?;
        *kept = Some(Kept { authorization: authorization.clone(), until: asked_at + life - MARGIN.min(life / 2) });
        Ok(authorization)
    }

    /// That one is refused: it is not used again. One that was fetched meanwhile stays.
    pub(super) async fn forget(&self, refused: &HeaderValue) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.authorization == refused) {
            *kept = None;
        }
    }

    async fn fetch(&self, http: &Http) -> Result<Granted, ProviderError> {
        let builder = http::Request::post(&self.url)
            .header(AUTHORIZATION, &self.client)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let (status, answer) = http.send(builder, "grant_type=client_credentials").await?;
        if !status.is_success() {
            return Err(no_token(&status));
        }
        // What is wrong with an answer that holds a secret is not quoted.
        serde_json::from_slice(&answer).map_err(|_| no_token(&"the answer cannot be read"))
    }
}

/// No order's fault: whatever was to be asked is asked again.
fn no_token(cause: &dyn fmt::Display) -> ProviderError {
    ProviderError::Unknown(format!("PayPal gives no token: {cause}"))
}

fn sensitive(scheme: &str, secret: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {secret}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}
