//! One request and its answer on one connection.
//!
//! The exchange runs in a task of its own, because a half-sent head must not be dropped: quinn ends a dropped stream
//! as if it were whole, and a head cut short costs the connection (RFC 9114 section 7.1). A caller that goes away has
//! the stream reset instead.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use h3::client::RequestStream;
use h3::error::{Code, StreamError};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, Method, Request, Response, StatusCode, Uri};
use shared::RegionName;
use shared::idempotency::IDEMPOTENCY_KEY;
use tokio::sync::oneshot;

use super::Safe;
use super::slot::Live;
use crate::error::LinkError;
use crate::peer::PeerName;

/// Headers that belong to one hop (RFC 9110 section 7.6.1) or to HTTP/1.1.
const ONE_HOP: [HeaderName; 10] = [
    CONNECTION,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    EXPECT,
    CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A request ready to be sent, more than once if need be.
#[derive(Clone)]
pub(super) struct Outgoing {
    head: Request<()>,
    body: Bytes,
    safe: bool,
}

impl Outgoing {
    /// `None` when path and query do not make a URI of the region's.
    pub(super) fn new(request: Request<Bytes>, region: &RegionName) -> Option<Self> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = PeerName::Core(region.clone()).to_string();
        head.uri = Uri::builder().scheme("https").authority(authority).path_and_query(path).build().ok()?;
        for name in ONE_HOP {
            head.headers.remove(name);
        }
        let bodiless = matches!(head.method, Method::GET | Method::HEAD) && body.is_empty();
        if !bodiless {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let safe = head.method.is_safe() || head.extensions.get::<Safe>().is_some();
        // Extensions are this process's own; h3 would read some of them as protocols.
        head.extensions.clear();
        Some(Self { head: Request::from_parts(head, ()), body, safe })
    }

    /// Whether the request asks for no change.
    pub(super) fn is_safe(&self) -> bool {
        self.safe
    }

    /// Whether the request may arrive twice.
    pub(super) fn is_repeatable(&self) -> bool {
        self.safe || self.head.headers().contains_key(IDEMPOTENCY_KEY)
    }
}

/// Why an attempt has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The core certainly did not act on the request.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The core may have acted on it.
    #[error("lost: {0}")]
    Lost(String),
    /// Another attempt would not help.
    #[error(transparent)]
    Final(#[from] LinkError),
}

impl Failure {
    pub(super) fn may_be_repeated(&self, repeatable: bool) -> bool {
        match self {
            Self::NotSent(_) => true,
            Self::Lost(_) => repeatable,
            Self::Final(_) => false,
        }
    }

    /// What is known after this failure and then `again`, the outcome of the repetition.
    ///
    /// After a loss, a repetition that nobody acted on leaves a write where it was: unknown. That is so of one that was
    /// not delivered, and of an answer by which a core says that it did nothing.
    pub(super) fn then(self, again: Result<Response<Bytes>, Self>, is_safe: bool) -> Result<Response<Bytes>, Self> {
        let Self::Lost(reason) = self else { return again };
        match again {
            Err(again) if again.is_undelivered() => Err(Self::Lost(format!("{reason}; then {again}"))),
            Ok(answer) if !is_safe && says_nothing_was_done(answer.status()) => {
                Err(Self::Lost(format!("{reason}; then a core answered {}", answer.status())))
            }
            again => again,
        }
    }

    /// Whether no core can have acted on this attempt.
    fn is_undelivered(&self) -> bool {
        match self {
            Self::NotSent(_) => true,
            Self::Lost(_) => false,
            Self::Final(error) => match error {
                LinkError::Overloaded { .. }
                | LinkError::Unreachable { .. }
                | LinkError::Unauthenticated { .. }
                | LinkError::TooLarge => true,
                LinkError::Lost { .. } | LinkError::Deadline | LinkError::BadAnswer { .. } => false,
            },
        }
    }

    pub(super) fn into_error(self, region: &RegionName) -> LinkError {
        match self {
            Self::NotSent(reason) => LinkError::Unreachable { region: region.to_string(), reason },
            Self::Lost(reason) => LinkError::Lost { reason },
            Self::Final(error) => error,
        }
    }

    fn of(error: &StreamError) -> Self {
        match error {
            StreamError::RemoteClosing => Self::NotSent(error.to_string()),
            // The core's word that it did not look at the request (RFC 9114 section 4.1.1).
            StreamError::RemoteTerminate { code: Code::H3_REQUEST_REJECTED } => Self::NotSent(error.to_string()),
            StreamError::RemoteTerminate { code: Code::H3_MESSAGE_ERROR } => {
                bad_answer("it calls our request malformed")
            }
            StreamError::StreamError { .. } => bad_answer(error),
            StreamError::HeaderTooBig { .. } => bad_answer(error),
            StreamError::RemoteTerminate { .. } | StreamError::ConnectionError(_) | StreamError::Undefined(_) => {
                Self::Lost(error.to_string())
            }
            other => Self::Lost(other.to_string()),
        }
    }
}

/// Statuses by which a core refuses a request before it acts on it.
fn says_nothing_was_done(status: StatusCode) -> bool {
    matches!(status, StatusCode::MISDIRECTED_REQUEST | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

fn bad_answer(reason: impl ToString) -> Failure {
    Failure::Final(LinkError::BadAnswer { reason: reason.to_string() })
}

/// Sends the request and reads an answer of at most `limit` bytes. Dropping the receiver cancels both.
pub(super) fn start(
    live: Arc<Live>,
    outgoing: Outgoing,
    limit: usize,
) -> oneshot::Receiver<Result<Response<Bytes>, Failure>> {
    let (mut caller, answer) = oneshot::channel();
    tokio::spawn(async move {
        let _busy = Arc::clone(&live).begin();
        let mut exchange = match open(&live, outgoing.head.clone()).await {
            Ok(stream) => Exchange { stream, finished: false },
            Err(failure) => return drop(caller.send(Err(failure))),
        };
        tokio::select! {
            outcome = exchange.run(outgoing, limit) => drop(caller.send(outcome)),
            () = caller.closed() => {}
        }
    });
    answer
}

type Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

async fn open(live: &Live, head: Request<()>) -> Result<Stream, Failure> {
    if let Some(reason) = live.quic.close_reason() {
        return Err(Failure::NotSent(reason.to_string()));
    }
    live.sender.clone().send_request(head).await.map_err(|error| match error {
        StreamError::HeaderTooBig { .. } => Failure::Final(LinkError::TooLarge),
        error => Failure::of(&error),
    })
}

struct Exchange {
    stream: Stream,
    finished: bool,
}

impl Exchange {
    async fn run(&mut self, outgoing: Outgoing, limit: usize) -> Result<Response<Bytes>, Failure> {
        let method = outgoing.head.method().clone();
        match self.send(outgoing.body).await {
            // The core has answered without reading on: its answer is what counts.
            Ok(()) | Err(StreamError::RemoteTerminate { .. }) => {}
            Err(error) => return Err(Failure::of(&error)),
        }
        let head = self.stream.recv_response().await.map_err(|error| Failure::of(&error))?;
        let body = self.receive(&head, &method, limit).await?;
        self.finished = true;
        Ok(head.map(|()| body))
    }

    async fn send(&mut self, body: Bytes) -> Result<(), StreamError> {
        if !body.is_empty() {
            self.stream.send_data(body).await?;
        }
        self.stream.finish().await
    }

    async fn receive(&mut self, head: &Response<()>, method: &Method, limit: usize) -> Result<Bytes, Failure> {
        let length = expected_length(head, method)?;
        if length.is_some_and(|length| length > limit as u64) {
            return Err(bad_answer(format!("more than {limit} bytes")));
        }
        let mut body = BytesMut::new();
        while let Some(mut data) = self.stream.recv_data().await.map_err(|error| Failure::of(&error))? {
            if body.len() + data.remaining() > limit {
                return Err(bad_answer(format!("more than {limit} bytes")));
            }
            body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        if length.is_some_and(|length| length != body.len() as u64) {
            return Err(bad_answer("it is not as long as its Content-Length"));
        }
        Ok(body.freeze())
    }
}

/// The body's length as the head states it; HEAD, 204 and 304 have none whatever they state (RFC 9110 section 8.6).
fn expected_length(head: &Response<()>, method: &Method) -> Result<Option<u64>, Failure> {
    if *method == Method::HEAD || matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Some(0));
    }
    let stated = head.headers().get(CONTENT_LENGTH);
    let length = stated.map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
    length.map(|length| length.ok_or_else(|| bad_answer("its Content-Length is no number"))).transpose()
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.finished {
            // The other direction ends with the stream that is dropped; h3-quinn panics if it is told to stop while it is read.
            self.stream.stop_stream(Code::H3_REQUEST_CANCELLED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Result<Response<Bytes>, Failure> {
        Ok(Response::builder().status(status).body(Bytes::new()).unwrap())
    }

    fn undelivered() -> [Failure; 4] {
        let (region, reason) = ("eu".to_owned(), "down".to_owned());
        [
            Failure::NotSent("closed".to_owned()),
            Failure::Final(LinkError::Overloaded { limit: 1 }),
            Failure::Final(LinkError::Unreachable { region: region.clone(), reason: reason.clone() }),
            Failure::Final(LinkError::Unauthenticated { region, reason }),
        ]
    }

    fn lost() -> Failure {
        Failure::Lost("killed".to_owned())
    }

    #[test]
    fn a_lost_request_stays_lost_while_nothing_settles_it() {
        for again in undelivered() {
            let outcome = lost().then(Err(again), false);
            assert!(matches!(outcome, Err(Failure::Lost(_))), "{outcome:?}");
        }
        for status in [421, 429, 503] {
            assert!(matches!(lost().then(answer(status), false), Err(Failure::Lost(_))), "{status}");
            assert!(lost().then(answer(status), true).is_ok(), "a read has nothing to settle");
        }
        for status in [200, 201, 409, 500] {
            assert!(lost().then(answer(status), false).is_ok(), "{status}");
        }
    }

    #[test]
    fn a_request_never_delivered_is_known_not_to_be_done() {
        for again in undelivered() {
            let outcome = Failure::NotSent("closed".to_owned()).then(Err(again), false);
            assert!(!matches!(outcome, Err(Failure::Lost(_))), "{outcome:?}");
        }
        assert!(Failure::NotSent("closed".to_owned()).then(answer(503), false).is_ok());
    }
}
