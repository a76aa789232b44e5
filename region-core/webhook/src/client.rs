//! HTTP to receivers.

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, Request};
use region_core_outbound::Outbound;
use region_core_outbound::target::Guard;
use shared_clock::Clock;

use crate::rules::{Answer, Outcome, retry_after};
use crate::signature;

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
    outbound: Outbound,
    clock: Clock,
}

impl Http {
    /// # Errors
    /// If TLS cannot be set up.
    pub(crate) fn new(guard: Guard, clock: Clock) -> Result<Self, rustls::Error> {
        Ok(Self { outbound: Outbound::new(guard)?, clock })
    }

    /// Posts it, and is done with it `within` that time whatever the receiver does.
    pub(crate) async fn send(&self, post: Post, within: Duration) -> Outcome {
        let request = match request(post) {
            Ok(request) => request,
            Err(error) => return Outcome::Lost(format!("no request: {error}")),
        };
        let (head, beginning) = match self.outbound.send(request, within).await {
            Ok(answer) => answer.into_parts(),
            Err(why) => return Outcome::Lost(why.to_string()),
        };
        let wished = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Outcome::Answered(Answer {
            status: head.status.as_u16(),
            retry_after: wished.and_then(|value| retry_after(value, self.clock.now())),
            beginning: String::from_utf8_lossy(&beginning).into_owned(),
        })
    }
}

fn request(post: Post) -> http::Result<Request<Vec<u8>>> {
    Request::post(post.url)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, "Meridian-Webhooks/1")
        .header(HeaderName::from_static(signature::ID), post.id)
        .header(HeaderName::from_static(signature::TIMESTAMP), post.unix_seconds)
        .header(HeaderName::from_static(signature::SIGNATURE), post.signature)
        .body(post.body)
}
