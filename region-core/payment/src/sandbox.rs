//! The payment sandbox as a provider, over HTTP.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::PaymentId;
use shared::idempotency::IDEMPOTENCY_KEY;

use crate::provider::{NewPayment, Provider, ProviderError, ProviderPayment, Shown};

/// Longest answer read.
const ANSWER_BYTES: usize = 64 * 1024;
/// Idle connections kept: as many as the exchanges of some shards at once, or they are opened and closed all the time.
const IDLE_CONNECTIONS: usize = 256;

/// How long the provider may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// To be reached.
    pub connect: Duration,
    /// For the whole exchange.
    pub total: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), total: Duration::from_secs(5) }
    }
}

/// The address is not one, or no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Not an `http` origin.
    #[error("payment.url {0:?} is not an http origin such as http://127.0.0.1:7400")]
    Url(String),
    /// The HTTP client could not be made.
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// The sandbox at some origin.
#[derive(Clone, Debug)]
pub struct Sandbox {
    origin: Url,
    client: Client,
}

impl Sandbox {
    /// The sandbox at `origin`, for example `http://127.0.0.1:7400`, within the usual deadlines.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn new(origin: &str) -> Result<Self, SandboxError> {
        Self::within(origin, Deadlines::default())
    }

    /// The sandbox at `origin`, within these deadlines.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn within(origin: &str, deadlines: Deadlines) -> Result<Self, SandboxError> {
        let url = Url::parse(origin).ok().filter(|url| url.scheme() == "http" && url.path() == "/");
        let client = Client::builder()
            .connect_timeout(deadlines.connect)
            .timeout(deadlines.total)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { origin: url.ok_or_else(|| SandboxError::Url(origin.to_owned()))?, client })
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.origin.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(["v1", "payments"]).extend(path);
        }
        self.client.request(method, url)
    }

    async fn post(&self, path: &[&str], key: &str, body: Option<Value>) -> Shown {
        let request = self.request(Method::POST, path).header(IDEMPOTENCY_KEY, key);
        let request = if let Some(body) = body { request.json(&body) } else { request };
        let (status, answer) = send(request).await?;
        read(status, &answer)
    }
}

impl Provider for Sandbox {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    async fn create(&self, new: NewPayment<'_>, key: &str) -> Shown {
        let NewPayment { payment_id, amount, payment_token } = new;
        let body = json!({ "merchant_reference": payment_id, "amount": amount, "payment_token": payment_token });
        self.post(&[], key, Some(body)).await
    }

    async fn authorize(&self, reference: &str, key: &str) -> Shown {
        self.post(&[reference, "authorize"], key, None).await
    }

    async fn confirm(&self, reference: &str, challenge_id: &str, key: &str) -> Shown {
        // The sandbox has no page of its own: who comes back to us has passed.
        let body = json!({ "challenge_id": challenge_id, "passed": true });
        self.post(&[reference, "challenge"], key, Some(body)).await
    }

    async fn capture(&self, reference: &str, key: &str) -> Shown {
        self.post(&[reference, "capture"], key, None).await
    }

    async fn void(&self, reference: &str, key: &str) -> Shown {
        self.post(&[reference, "void"], key, None).await
    }

    async fn refund(&self, reference: &str, amount_minor: i64, key: &str) -> Shown {
        self.post(&[reference, "refund"], key, Some(json!({ "amount_minor": amount_minor }))).await
    }

    async fn get(&self, reference: &str) -> Shown {
        let (status, answer) = send(self.request(Method::GET, &[reference])).await?;
        read(status, &answer)
    }

    async fn find(&self, payment: PaymentId) -> Result<Option<ProviderPayment>, ProviderError> {
        let query = [("reference", payment.to_string())];
        let mut request = self.request(Method::GET, &[]).build().map_err(|error| unknown(&error))?;
        request.url_mut().query_pairs_mut().extend_pairs(query);
        let (status, answer) = send(RequestBuilder::from_parts(self.client.clone(), request)).await?;
        if status == StatusCode::NOT_FOUND { Ok(None) } else { read(status, &answer).map(Some) }
    }
}

/// The whole answer, if it comes in time and is not too long.
async fn send(request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), ProviderError> {
    let mut response = request.send().await.map_err(|error| unknown(&error))?;
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unknown(&error))? {
        if answer.len() + chunk.len() > ANSWER_BYTES {
            return Err(ProviderError::Unknown("the answer is too long".to_owned()));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok((response.status(), answer))
}

#[derive(Deserialize)]
struct Refused {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
}

/// 2xx shows the payment and 4xx is a refusal without effect; of anything else nothing is known. 408 and 429 say "not now".
fn read(status: StatusCode, answer: &[u8]) -> Shown {
    if status.is_success() {
        return serde_json::from_slice(answer).map_err(|error| ProviderError::Unknown(format!("unreadable: {error}")));
    }
    let said = serde_json::from_slice(answer).map_or_else(|_| status.to_string(), |Refused { error }| error.message);
    let not_now = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if status.is_client_error() && !not_now {
        Err(ProviderError::Refused(said))
    } else {
        Err(ProviderError::Unknown(said))
    }
}

/// The chain in one line; reqwest keeps the cause below its own words.
fn unknown(error: &reqwest::Error) -> ProviderError {
    let mut text = error.to_string();
    let mut below = std::error::Error::source(error);
    while let Some(cause) = below {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        below = cause.source();
    }
    ProviderError::Unknown(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_no_http_origin_is_refused_by_name() {
        for bad in ["", "127.0.0.1:7400", "https://pay.example", "http://127.0.0.1:7400/v1"] {
            let error = Sandbox::new(bad).unwrap_err();
            assert!(error.to_string().contains("payment.url"), "{bad}: {error}");
        }
        assert!(Sandbox::new("http://127.0.0.1:7400").is_ok());
    }

    #[test]
    fn only_a_clear_refusal_is_one() {
        let unknown = |status| matches!(read(status, b"{}"), Err(ProviderError::Unknown(_)));
        let refused = |status| matches!(read(status, b"{}"), Err(ProviderError::Refused(_)));
        assert!(unknown(StatusCode::OK) && unknown(StatusCode::INTERNAL_SERVER_ERROR));
        assert!(unknown(StatusCode::TOO_MANY_REQUESTS) && unknown(StatusCode::FOUND));
        assert!(refused(StatusCode::CONFLICT) && refused(StatusCode::UNPROCESSABLE_ENTITY));
    }
}
