//! The payment sandbox as a provider, over HTTP.

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use region_core_outbound::http::Http;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::api::order::PaymentMethod;
use shared::idempotency::IDEMPOTENCY_KEY;
use shared::{Money, PaymentId, RefundId};
use url::Url;

use crate::client::{DEADLINES, Deadlines, client};
use crate::provider::{
    NewPayment, NewRefund, Provider, ProviderError, ProviderPayment, ProviderRefund, RefundStanding, Shown,
};

/// Paid on the sandbox's own page.
const HOSTED: &str = "tok_hosted";
/// What its pretend bank can do: token, name, description.
const METHODS: [(&str, &str, &str); 6] = [
    ("tok_success", "The bank says yes", "The usual case: paid within a moment."),
    (HOSTED, "You pay on the bank's own page", "We send you there, and it leads you back."),
    ("tok_challenge", "The bank asks you to confirm", "You confirm on the next page."),
    ("tok_decline", "The bank says no", "The order is cancelled and the items go back."),
    ("tok_timeout", "The bank does not answer", "We keep asking until it is certain."),
    ("tok_late", "The bank answers late", "It takes some seconds; the items stay held for you."),
];

/// The address is not one, or no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Not an `http` origin.
    #[error("payment.url {0:?} is not an http origin such as http://127.0.0.1:7400")]
    Url(String),
    /// The HTTP client could not be made.
    #[error("the HTTP client: {0}")]
    Client(#[from] rustls::Error),
}

/// The sandbox at some origin.
#[derive(Clone, Debug)]
pub struct Sandbox {
    origin: Url,
    http: Http,
}

impl Sandbox {
    /// The sandbox at `origin`, for example `http://127.0.0.1:7400`, within the usual deadlines.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn new(origin: &str) -> Result<Self, SandboxError> {
        Self::within(origin, DEADLINES)
    }

    /// The sandbox at `origin`, within these deadlines.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn within(origin: &str, deadlines: Deadlines) -> Result<Self, SandboxError> {
        let url = Url::parse(origin).ok().filter(|url| url.scheme() == "http" && url.path() == "/");
        Ok(Self { origin: url.ok_or_else(|| SandboxError::Url(origin.to_owned()))?, http: client(deadlines)? })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.origin.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(["v1", "payments"]).extend(path);
        }
        url
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        key: &str,
        body: Option<Value>,
    ) -> Result<T, ProviderError> {
        let builder = http::Request::post(self.url(path).as_str()).header(IDEMPOTENCY_KEY, key);
        let (status, answer) = match body {
            Some(body) => self.http.send(builder.header(CONTENT_TYPE, "application/json"), body.to_string()).await?,
            None => self.http.send(builder, Bytes::new()).await?,
        };
        read(status, &answer)
    }

    async fn fetch(&self, url: &Url) -> Result<(StatusCode, Bytes), ProviderError> {
        Ok(self.http.send(http::Request::get(url.as_str()), Bytes::new()).await?)
    }
}

impl Provider for Sandbox {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    fn is_local(&self) -> bool {
        true
    }

    fn payment_methods(&self, returns: bool) -> Vec<PaymentMethod> {
        let offered = |(token, _, _): &&(&str, &str, &str)| returns || *token != HOSTED;
        let method = |&(token, name, description): &(&str, &str, &str)| PaymentMethod {
            token: token.to_owned(),
            name: name.to_owned(),
            description: description.to_owned(),
        };
        METHODS.iter().filter(offered).map(method).collect()
    }

    async fn create(&self, new: NewPayment<'_>, key: &str) -> Shown {
        let NewPayment { payment_id, amount, payment_token, return_url } = new;
        let body = json!({
            "merchant_reference": payment_id, "amount": amount, "payment_token": payment_token, "return_url": return_url,
        });
        self.post(&[], key, Some(body)).await
    }

    async fn authorize(&self, reference: &str, key: &str) -> Shown {
        self.post(&[reference, "authorize"], key, None).await
    }

    async fn confirm(&self, reference: &str, challenge_id: &str, key: &str) -> Shown {
        // Of a question without a page of its own: who says that he answered has passed.
        let body = json!({ "challenge_id": challenge_id, "passed": true });
        self.post(&[reference, "challenge"], key, Some(body)).await
    }

    async fn capture(&self, reference: &str, key: &str) -> Shown {
        self.post(&[reference, "capture"], key, None).await
    }

    async fn void(&self, reference: &str, key: &str) -> Shown {
        self.post(&[reference, "void"], key, None).await
    }

    async fn refund(&self, reference: &str, amount: Money, key: &str) -> Shown {
        self.post(&[reference, "refund"], key, Some(json!({ "amount_minor": amount.minor() }))).await
    }

    async fn give_back(&self, reference: &str, new: NewRefund, key: &str) -> Result<ProviderRefund, ProviderError> {
        let body = json!({ "amount_minor": new.amount.minor(), "refund_reference": new.refund_id });
        let shown: WithRefunds = self.post(&[reference, "refund"], key, Some(body)).await?;
        let named = || ProviderError::Unknown("the sandbox shows no such refund".to_owned());
        shown.find(new.refund_id)?.ok_or_else(named)
    }

    async fn find_refund(&self, reference: &str, refund: RefundId) -> Result<Option<ProviderRefund>, ProviderError> {
        let (status, answer) = self.fetch(&self.url(&[reference])).await?;
        read::<WithRefunds>(status, &answer)?.find(refund)
    }

    async fn get(&self, reference: &str) -> Shown {
        let (status, answer) = self.fetch(&self.url(&[reference])).await?;
        read(status, &answer)
    }

    async fn find(&self, payment: PaymentId) -> Result<Option<ProviderPayment>, ProviderError> {
        let mut url = self.url(&[]);
        url.query_pairs_mut().append_pair("reference", &payment.to_string());
        let (status, answer) = self.fetch(&url).await?;
        if status == StatusCode::NOT_FOUND { Ok(None) } else { read(status, &answer).map(Some) }
    }
}

/// A payment, as far as what was given back of it goes.
#[derive(Deserialize)]
struct WithRefunds {
    amount: Money,
    refunds: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    refund_reference: String,
    amount_minor: i64,
}

impl WithRefunds {
    fn find(&self, refund: RefundId) -> Result<Option<ProviderRefund>, ProviderError> {
        let name = refund.to_string();
        let Some(named) = self.refunds.iter().find(|named| named.refund_reference == name) else { return Ok(None) };
        let amount = Money::new(named.amount_minor, self.amount.currency());
        let amount = amount.map_err(|error| ProviderError::Unknown(error.to_string()))?;
        Ok(Some(ProviderRefund { amount, standing: RefundStanding::Done }))
    }
}

#[derive(Deserialize)]
struct Refused {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
}

/// 2xx shows what was asked about and 4xx is a refusal without effect; of anything else nothing is known. 408 and 429 say "not now".
fn read<T: DeserializeOwned>(status: StatusCode, answer: &[u8]) -> Result<T, ProviderError> {
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
        let read = |status| read::<ProviderPayment>(status, b"{}");
        let unknown = |status| matches!(read(status), Err(ProviderError::Unknown(_)));
        let refused = |status| matches!(read(status), Err(ProviderError::Refused(_)));
        assert!(unknown(StatusCode::OK) && unknown(StatusCode::INTERNAL_SERVER_ERROR));
        assert!(unknown(StatusCode::TOO_MANY_REQUESTS) && unknown(StatusCode::FOUND));
        assert!(refused(StatusCode::CONFLICT) && refused(StatusCode::UNPROCESSABLE_ENTITY));
    }
}
