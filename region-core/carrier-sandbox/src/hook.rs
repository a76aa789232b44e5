//! Telling of parcels: signed as EasyPost signs, tried a few times, one after the other.

use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Notices that may wait; more are lost, as if nobody had heard them.
const QUEUE: usize = 256;
/// How often one is sent at most.
const TRIES: u32 = 6;
/// How long the shop may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is told.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Where.
    pub url: String,
    /// What notices are signed with.
    pub secret: SecretString,
}

/// Where notices wait.
#[derive(Clone, Debug)]
pub(crate) struct Teller(Option<mpsc::Sender<Value>>);

impl Teller {
    /// Starts telling, if somebody is to be told.
    pub(crate) fn start(hook: Option<Hook>, shutdown: CancellationToken) -> Self {
        let Some(hook) = hook else { return Self(None) };
        let (sender, mut waiting) = mpsc::channel::<Value>(QUEUE);
        tokio::spawn(async move {
            let client = Client::builder(TokioExecutor::new()).build_http();
            while let Some(Some(event)) = shutdown.run_until_cancelled(waiting.recv()).await {
                shutdown.run_until_cancelled(hook.tell(&client, &event)).await;
            }
        });
        Self(Some(sender))
    }

    /// Tells of a tracker, soon.
    pub(crate) fn tell(&self, event_id: &str, description: &str, tracker: Value) {
        let event =
            json!({ "id": event_id, "object": "Event", "mode": "test", "description": description, "result": tracker });
        if self.0.as_ref().is_some_and(|sender| sender.try_send(event).is_err()) {
            tracing::warn!("a notice is lost: too many wait");
        }
    }
}

impl Hook {
    async fn tell(&self, client: &Client<HttpConnector, Full<Bytes>>, event: &Value) {
        let body = Bytes::from(event.to_string());
        for attempt in 0..TRIES {
            match self.send(client, body.clone()).await {
                Ok(()) => return,
                Err(cause) => tracing::info!(cause, attempt, "the shop did not take a notice"),
            }
            tokio::time::sleep(Duration::from_millis(200) * 2_u32.pow(attempt)).await;
        }
    }

    async fn send(&self, client: &Client<HttpConnector, Full<Bytes>>, body: Bytes) -> Result<(), String> {
        let signature = format!("hmac-sha256-hex={}", hex::encode(self.sign(&body)));
        let request = axum::http::Request::post(&self.url)
            .header("content-type", "application/json")
            .header("x-hmac-signature", signature)
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(PATIENCE, client.request(request)).await;
        let answer = answer.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
    }

    fn sign(&self, body: &[u8]) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 section 3)")]
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.secret.expose_secret().as_bytes()).expect("a key of any length");
        mac.update(body);
        mac.finalize().into_bytes().to_vec()
    }
}
