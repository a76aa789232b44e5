//! EasyPost as a carrier: a broker of many, by its API v2 (<https://docs.easypost.com>).
//!
//! | here | there |
//! | --- | --- |
//! | create | `POST /v2/shipments` with our id as `reference`: it shows rates and costs nothing |
//! | buy | `POST /v2/shipments/:id/buy` with a rate: a shipment has one postage label |
//! | void | `POST /v2/shipments/:id/refund` |
//! | track | `GET /v2/shipments/:id`, which shows the tracker |
//! | find | `GET /v2/shipments/:reference`: references stand for ids, and are not said to be unique |
//!
//! **No key makes a request happen once** there. That a reference may name two shipments is harmless: one of them is committed here
//! before anything is paid, and only that one is bought. A shipment that is bought refuses to be bought again.
//!
//! `region-core-carrier-sandbox` speaks the same shape, so that this adapter is the one that tests and `up` run. What EasyPost itself
//! does beyond that shape was read in its documentation and not tried.
//!
//! Deliberately absent: customs papers, insurance, batches, and any belief in what an event says beyond which shipment it is about.

mod answer;
mod signature;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use region_core_outbound::http::Http;
use region_core_outbound::resolver::Resolver;
use region_core_outbound::target::{Guard, LONGEST};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use shared::ShipmentId;
use shared::api::order::Address;
use url::{Host, Url};

use crate::carrier::{Carrier, CarrierError, CarrierParcel, Consignment, Postage, Rate, Shown};
use crate::client::{DEADLINES, Deadlines, client, guarded};
use crate::notice::{Notice, NoticeError};

/// Where EasyPost is.
pub const EASYPOST_URL: &str = "https://api.easypost.com";
/// Longest answer read: every rate of every carrier is in it.
const ANSWER_BYTES: usize = 512 * 1024;
/// Longest label taken; the shard's own bound is the same.
const PDF_BYTES: usize = 1024 * 1024;
/// Secrets of events that are live at a time: two while one is rotated.
const MOST_WEBHOOK_SECRETS: usize = 2;
/// EasyPost weighs in ounces.
const GRAMS_PER_OUNCE: f64 = 28.349_523_125;

/// Why EasyPost cannot be asked in that way; names the key of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum EasyPostError {
    /// Not an origin that a secret may be sent to.
    #[error("shipping.url {0:?} is not an https origin; http is taken on loopback only")]
    Url(String),
    /// Empty, or not of this alphabet.
    #[error("shipping.api_key is empty or has other characters than ASCII's")]
    ApiKey,
    /// None, too many, or one that would be signed with otherwise than it is written.
    #[error("shipping.webhook_secrets: one, or two while they are rotated, of ASCII characters, none of them empty")]
    WebhookSecrets,
    /// The HTTP client could not be made.
    #[error("the HTTP client: {0}")]
    Client(#[from] rustls::Error),
}

/// An account at EasyPost.
#[derive(Clone, Debug)]
pub struct Account {
    /// Where the API is.
    pub url: String,
    /// The key.
    pub api_key: SecretString,
    /// The live secrets of the webhook.
    pub webhook_secrets: Vec<SecretString>,
    /// Where parcels leave from.
    pub from: Address,
}

/// EasyPost, for one account.
#[derive(Clone, Debug)]
pub struct EasyPost {
    base: Url,
    /// Marked as sensitive: its `Debug` does not show it.
    authorization: HeaderValue,
    webhook_secrets: Vec<SecretString>,
    from: Address,
    http: Http,
    /// Where labels may lie: the carrier's answer says where, and is not believed.
    guard: Guard,
    labels: Http<Resolver>,
}

impl EasyPost {
    /// The account, within the usual deadlines.
    ///
    /// # Errors
    /// [`EasyPostError`].
    pub fn new(account: &Account) -> Result<Self, EasyPostError> {
        Self::within(account, DEADLINES)
    }

    /// The account, within these deadlines.
    ///
    /// # Errors
    /// [`EasyPostError`].
    pub fn within(account: &Account, deadlines: Deadlines) -> Result<Self, EasyPostError> {
        let secrets = &account.webhook_secrets;
        // EasyPost signs with the secret's NFKD form, which of ASCII is itself.
        let odd = |secret: &SecretString| secret.expose_secret().is_empty() || !secret.expose_secret().is_ascii();
        if secrets.iter().any(odd) || !(1..=MOST_WEBHOOK_SECRETS).contains(&secrets.len()) {
            return Err(EasyPostError::WebhookSecrets);
        }
        let base = base(&account.url).ok_or_else(|| EasyPostError::Url(account.url.clone()))?;
        // A sandbox on this machine has its labels there, too.
        let guard = Guard { loopback: is_loopback(&base) };
        Ok(Self {
            base,
            authorization: authorization(&account.api_key).ok_or(EasyPostError::ApiKey)?,
            webhook_secrets: secrets.clone(),
            from: account.from.clone(),
            http: client(deadlines, ANSWER_BYTES)?,
            guard,
            labels: guarded(guard, deadlines, PDF_BYTES)?,
        })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["v2", "shipments"]).extend(path);
        }
        url
    }

    async fn get(&self, name: &str) -> Result<(StatusCode, Bytes), CarrierError> {
        self.send(Request::get(self.url(&[name]).as_str()), Bytes::new()).await
    }

    async fn post(&self, path: &[&str], body: &Value) -> Shown {
        let builder = Request::post(self.url(path).as_str()).header(CONTENT_TYPE, "application/json");
        let (status, answer) = self.send(builder, Bytes::from(body.to_string())).await?;
        answer::read(status, &answer)
    }

    async fn send(&self, builder: http::request::Builder, body: Bytes) -> Result<(StatusCode, Bytes), CarrierError> {
        let builder = builder.header(AUTHORIZATION, &self.authorization).header(ACCEPT, "application/json");
        Ok(self.http.send(builder, body).await?)
    }
}

impl Carrier for EasyPost {
    async fn create(&self, new: Consignment<'_>) -> Shown {
        let Consignment { shipment_id, to, weight_grams } = new;
        let ounces = (f64::from(weight_grams) / GRAMS_PER_OUNCE * 10.0).ceil() / 10.0;
        let shipment = json!({ "shipment": {
            "reference": shipment_id.to_string(),
            "to_address": address(to),
            "from_address": address(&self.from),
            "parcel": { "weight": ounces },
            "options": { "label_format": "PDF", "label_size": "4x6" },
        } });
        self.post(&[], &shipment).await
    }

    async fn buy(&self, reference: &str, rate: &Rate) -> Shown {
        self.post(&[reference, "buy"], &json!({ "rate": { "id": rate.id } })).await
    }

    async fn void(&self, reference: &str) -> Shown {
        self.post(&[reference, "refund"], &json!({})).await
    }

    async fn track(&self, reference: &str) -> Shown {
        let (status, answer) = self.get(reference).await?;
        answer::read(status, &answer)
    }

    async fn find(&self, shipment: ShipmentId) -> Result<Option<CarrierParcel>, CarrierError> {
        let name = shipment.to_string();
        let (status, answer) = self.get(&name).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(answer::read(status, &answer)?).filter(|parcel| parcel.our_reference.as_deref() == Some(&name)))
    }

    /// Without the key: labels lie elsewhere, under addresses that nobody guesses.
    async fn pdf(&self, postage: &Postage) -> Result<Bytes, CarrierError> {
        // Signed, hence long.
        let url = self.guard.target_within(&postage.pdf_url, LONGEST);
        let url =
            url.map_err(|bad| CarrierError::Unknown(format!("the label lies where none is fetched from: {bad}")))?;
        let (status, pdf) = self.labels.send(Request::get(url.as_str()), Bytes::new()).await?;
        if !status.is_success() || !pdf.starts_with(b"%PDF-") {
            return Err(CarrierError::Unknown(format!("{status} and no PDF where the label should be")));
        }
        Ok(pdf)
    }

    fn notice(&self, headers: &HeaderMap, body: &[u8]) -> Result<Option<Notice>, NoticeError> {
        let header = headers.get(signature::HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        signature::verify(&self.webhook_secrets, header, body)
            .map_err(|forged| NoticeError::Forged(forged.to_string()))?;
        answer::event(body)
    }
}

fn address(address: &Address) -> Value {
    let Address { name, line1, line2, city, region, postal_code, country } = address;
    json!({
        "name": name, "street1": line1, "street2": line2, "city": city, "state": region, "zip": postal_code,
        "country": country,
    })
}

/// A secret goes over TLS, or stays on this machine.
fn base(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let safe = url.has_host() && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)));
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    (safe && plain).then_some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The key is the name, and there is no password.
fn authorization(key: &SecretString) -> Option<HeaderValue> {
    let key = key.expose_secret();
    let good = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(format!("{key}:")))).ok();
    if let Some(value) = &mut value {
        value.set_sensitive(true);
    }
    value.filter(|_| good)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn account(url: &str, key: &str, secrets: &[&str]) -> Account {
        let secret = |text: &str| SecretString::from(text.to_owned());
        let from = Address {
            name: "Meridian".into(),
            line1: "1 Quay".into(),
            line2: None,
            city: "Hull".into(),
            region: None,
            postal_code: Some("HU1 1AA".into()),
            country: "GB".into(),
        };
        let webhook_secrets = secrets.iter().copied().map(secret).collect();
        Account { url: url.to_owned(), api_key: secret(key), webhook_secrets, from }
    }

    #[test]
    fn what_is_wrong_with_an_account_is_named_and_no_secret_shows() {
        let cases = [
            (account("http://api.easypost.com", "EZTK1", &["s"]), "shipping.url"),
            (account("https://me:secret@api.easypost.com", "EZTK1", &["s"]), "shipping.url"),
            (account(EASYPOST_URL, "", &["s"]), "shipping.api_key"),
            (account(EASYPOST_URL, "EZTK1\n", &["s"]), "shipping.api_key"),
            (account(EASYPOST_URL, "EZTK1", &[]), "shipping.webhook_secrets"),
            (account(EASYPOST_URL, "EZTK1", &["käse"]), "shipping.webhook_secrets"),
            (account(EASYPOST_URL, "EZTK1", &["a", "b", "c"]), "shipping.webhook_secrets"),
        ];
        for (account, named) in cases {
            let error = EasyPost::new(&account).unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("EZTK1"), "{named}: {error}");
        }
        let good = account("http://127.0.0.1:7411", "EZTK123", &["swordfish"]);
        let shown = format!("{good:?} {:?}", EasyPost::new(&good).unwrap());
        assert!(!shown.contains("EZTK123") && !shown.contains("swordfish"), "{shown}");
    }

    #[tokio::test]
    async fn a_label_is_fetched_from_the_public_internet_alone_unless_the_carrier_is_a_sandbox_here() {
        let postage = |pdf_url: &str| Postage {
            carrier: "RoyalMail".to_owned(),
            tracking_code: "RM1".to_owned(),
            tracking_url: None,
            pdf_url: pdf_url.to_owned(),
            cost: None,
        };
        let said = async |base: &str, at: &str| {
            let deadlines = Deadlines { connect: Duration::from_secs(1), total: Duration::from_secs(2) };
            let carrier = EasyPost::within(&account(base, "k", &["s"]), deadlines).unwrap();
            carrier.pdf(&postage(at)).await.unwrap_err().to_string()
        };
        for inside in [
            "https://169.254.169.254/1.pdf",
            "http://127.0.0.1:1/1.pdf",
            "https://[::1]/1.pdf",
            "http://files.example/1.pdf",
        ] {
            let error = said(EASYPOST_URL, inside).await;
            assert!(error.contains("where none is fetched from"), "{inside}: {error}");
        }
        let error = said("http://127.0.0.1:7411", "http://127.0.0.1:1/1.pdf").await;
        assert!(!error.contains("where none is fetched from"), "{error}");
        let signed = |length: usize| format!("http://127.0.0.1:1/1.pdf?X-Amz-Signature={}", "f".repeat(length));
        let error = said("http://127.0.0.1:7411", &signed(1500)).await;
        assert!(!error.contains("where none is fetched from"), "{error}");
        let error = said("http://127.0.0.1:7411", &signed(2000)).await;
        assert!(error.contains("where none is fetched from"), "{error}");
        let error = said("http://127.0.0.1:7411", "https://10.0.0.1/1.pdf").await;
        assert!(error.contains("where none is fetched from"), "{error}");
    }

    #[test]
    fn names_stay_within_their_segment() {
        let carrier = EasyPost::new(&account("http://127.0.0.1:1", "k", &["s"])).unwrap();
        assert_eq!(carrier.url(&["../x", "buy"]).as_str(), "http://127.0.0.1:1/v2/shipments/..%2Fx/buy");
    }
}
