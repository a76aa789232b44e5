//! HTTP to receivers, who are strangers: every address is judged before it is connected to, answers are read to their
//! beginning alone, no redirects, no proxy, no connection kept.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use region_core_outbound::resolver::Resolver;
use region_core_outbound::target::Guard;
use shared_clock::Clock;
use tokio::time::Instant;

use crate::rules::{Answer, Outcome, retry_after};
use crate::signature;

/// How much of an answer is read.
const ANSWER_BYTES: usize = 1024;

/// One attempt's request.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) url: String,
    pub(crate) id: String,
    pub(crate) unix_seconds: u64,
    pub(crate) signature: String,
    pub(crate) body: Vec<u8>,
}

/// A client for all receivers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    guard: Guard,
    clock: Clock,
}

impl Http {
    /// # Errors
    /// If TLS cannot be set up.
    pub(crate) fn new(guard: Guard, clock: Clock) -> Result<Self, rustls::Error> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver(guard));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        // A connection that was kept would lead where its name led then.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, guard, clock })
    }

    /// Posts it, and is done with it `within` that time whatever the receiver does.
    pub(crate) async fn send(&self, post: Post, within: Duration) -> Outcome {
        // Once more: the URL was taken when more was allowed, and a written address is never resolved.
        if let Err(bad) = self.guard.target(&post.url) {
            return Outcome::Lost(format!("the URL is not posted to: {bad}"));
        }
        let until = Instant::now() + within;
        let request = match request(post) {
            Ok(request) => request,
            Err(error) => return Outcome::Lost(format!("no request: {error}")),
        };
        let (head, mut body) = match tokio::time::timeout_at(until, self.client.request(request)).await {
            Err(_) => return Outcome::Lost(format!("no answer within {} s", within.as_secs_f64())),
            Ok(Err(error)) => return Outcome::Lost(chain(&error)),
            Ok(Ok(answer)) => answer.into_parts(),
        };
        let mut beginning = Vec::new();
        // What it says beside its status is for people: whatever ends it early, the status stands.
        let reading = async {
            while beginning.len() < ANSWER_BYTES
                && let Some(Ok(frame)) = body.frame().await
            {
                let data = frame.data_ref().map_or(&[][..], |data| &data[..]);
                beginning.extend_from_slice(&data[..data.len().min(ANSWER_BYTES - beginning.len())]);
            }
        };
        let _cut_short = tokio::time::timeout_at(until, reading).await;
        let wished = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Outcome::Answered(Answer {
            status: head.status.as_u16(),
            retry_after: wished.and_then(|value| retry_after(value, self.clock.now())),
            beginning: String::from_utf8_lossy(&beginning).into_owned(),
        })
    }
}

fn request(post: Post) -> http::Result<Request<Full<Bytes>>> {
    Request::post(post.url)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, "Meridian-Webhooks/1")
        .header(HeaderName::from_static(signature::ID), post.id)
        .header(HeaderName::from_static(signature::TIMESTAMP), post.unix_seconds)
        .header(HeaderName::from_static(signature::SIGNATURE), post.signature)
        .body(Full::new(post.body.into()))
}

/// The chain in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
