//! HTTP to strangers, named by whoever wants to be told: every address is judged before it is connected to, answers are read
//! to their beginning alone, no redirects, no proxy, no connection kept.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;

use crate::chain;
use crate::http::connector;
use crate::resolver::Resolver;
use crate::target::{Guard, LONGEST};

/// How much of an answer is read.
const ANSWER_BYTES: usize = 1024;

/// There was no answer; why, for an operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// A client for all of them. Cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    guard: Guard,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Outbound {
    /// One that reaches what `guard` allows.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(guard: Guard) -> Result<Self, rustls::Error> {
        let tcp = HttpConnector::new_with_resolver(Resolver(guard));
        // A connection that was kept would lead where its name led then.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector(tcp)?);
        Ok(Self { client, guard })
    }

    /// Sends it and returns the answer with its first kibibyte; it is done `within` that time whatever the receiver does.
    ///
    /// # Errors
    /// [`NoAnswer`], if it may not be sent there too.
    pub async fn send(&self, request: Request<Vec<u8>>, within: Duration) -> Result<Response<Vec<u8>>, NoAnswer> {
        // Once more: the URL was taken when more was allowed, and a written address is never resolved.
        if let Err(bad) = self.guard.target_within(&request.uri().to_string(), LONGEST) {
            return Err(NoAnswer(format!("the URL is not posted to: {bad}")));
        }
        let until = Instant::now() + within;
        let request = request.map(|body| Full::new(body.into()));
        let (head, mut body) = match tokio::time::timeout_at(until, self.client.request(request)).await {
            Err(_) => return Err(NoAnswer(format!("no answer within {} s", within.as_secs_f64()))),
            Ok(Err(error)) => return Err(NoAnswer(chain(&error))),
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
        Ok(Response::from_parts(head, beginning))
    }
}
