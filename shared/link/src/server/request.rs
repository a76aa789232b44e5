//! One request: head, handler, answer. Whatever goes wrong is this stream's alone.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use h3::error::{Code, StreamError};
use h3::quic::SendStream as _;
use h3::server::{RequestResolver, RequestStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, Method, Request};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use shared::{Problem, ProblemKind};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::ServerOptions;
use super::body::{Malformed, RequestBody};
use crate::peer::Peer;

/// Time for a request's head to arrive once its stream is open.
const HEAD: Duration = Duration::from_secs(5);

type Resolver = RequestResolver<h3_quinn::Connection, Bytes>;
type Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// What every request of a connection shares.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) router: Router,
    pub(super) options: ServerOptions,
    pub(super) permits: Arc<Semaphore>,
    pub(super) quic: quinn::Connection,
    pub(super) peer: Peer,
}

/// Serves one request.
pub(super) async fn serve(resolver: Resolver, context: Context) {
    let kind = if context.peer.name.is_core() { "core" } else { "pop" };
    let outcome = match resolve(resolver).await {
        Some((head, stream)) => match answer(head, stream, &context).await {
            Ok(()) => "answered",
            Err(error) => {
                tracing::debug!(%error, peer.name = %context.peer.name, "an answer was not taken");
                "not_taken"
            }
        },
        None => "malformed",
    };
    metrics::counter!("link_server_requests_total", "peer" => kind, "outcome" => outcome).increment(1);
}

/// The head, in time and well-formed; otherwise the stream is reset.
async fn resolve(mut resolver: Resolver) -> Option<(Request<()>, Stream)> {
    let frame = std::future::poll_fn(|cx| resolver.frame_stream.poll_next(cx));
    let Ok(frame) = tokio::time::timeout(HEAD, frame).await else {
        resolver.frame_stream.reset(Code::H3_REQUEST_INCOMPLETE.value());
        return None;
    };
    let resolved = resolver.accept_with_frame(frame).ok()?.resolve().await;
    resolved.inspect_err(|error| tracing::debug!(%error, "a request's head was refused")).ok()
}

async fn answer(head: Request<()>, stream: Stream, context: &Context) -> Result<(), StreamError> {
    let (send, recv) = stream.split();
    let mut answer = Answer { stream: send, bodiless: false, finished: false };
    let Ok(length) = content_length(head.headers()) else {
        answer.reset(Code::H3_MESSAGE_ERROR);
        return Ok(());
    };
    let malformed = Malformed::default();
    let limit = context.options.max_body_bytes;
    answer.bodiless = head.method() == Method::HEAD;
    let response = if length.is_some_and(|length| length > limit as u64) {
        Problem::from(ProblemKind::BodyTooLarge).into_response()
    } else {
        let body = Limited::new(RequestBody::new(recv, length, malformed.clone()), limit);
        tokio::select! {
            response = handle(head.map(|()| Body::new(body)), context) => response,
            // Nobody is left to answer; the stream went with the connection.
            _ = context.quic.closed() => return Ok(()),
        }
    };
    if malformed.is_set() {
        answer.reset(Code::H3_MESSAGE_ERROR);
        return Ok(());
    }
    match tokio::time::timeout(context.options.request_deadline, answer.send(response)).await {
        Ok(sent) => sent,
        Err(_) => Ok(()), // dropping the answer resets its stream
    }
}

async fn handle(mut request: Request<Body>, context: &Context) -> Response {
    let Ok(_permit) = context.permits.try_acquire() else {
        return Problem::from(ProblemKind::Unavailable).into_response();
    };
    request.extensions_mut().insert(context.peer.clone());
    match tokio::time::timeout(context.options.request_deadline, context.router.clone().oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => Problem::from(ProblemKind::Timeout).into_response(),
    }
}

/// What `Content-Length` says, if it is said, once, and nothing of HTTP/1.1's framing is (RFC 9114 section 4.2).
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Malformation> {
    const FORBIDDEN: [HeaderName; 5] = [
        CONNECTION,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    let te_fits = headers.get_all(TE).iter().all(|value| value == "trailers");
    if !te_fits || FORBIDDEN.iter().any(|name| headers.contains_key(name)) {
        return Err(Malformation);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(None),
        (Some(length), None) => {
            let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|text| text.parse().ok()).map(Some).ok_or(Malformation)
        }
        (Some(_), Some(_)) => Err(Malformation),
    }
}

/// A head that HTTP/3 does not allow.
#[derive(Debug, PartialEq, Eq)]
struct Malformation;

/// The sending half of a stream, which is reset unless the answer was sent whole: a stream that merely ended would
/// pass off a part for the whole, or, without a head, cost the peer its connection.
struct Answer {
    stream: RequestStream<h3_quinn::SendStream<Bytes>, Bytes>,
    /// An answer to HEAD, whose length is not its body's.
    bodiless: bool,
    finished: bool,
}

impl Answer {
    async fn send(&mut self, response: Response) -> Result<(), StreamError> {
        let (mut head, mut body) = response.into_parts();
        let lengthless = self.bodiless || matches!(head.status.as_u16(), 204 | 304);
        if let (Some(length), false) = (body.size_hint().exact(), lengthless) {
            head.headers.entry(CONTENT_LENGTH).or_insert(length.into());
        }
        self.stream.send_response(http::Response::from_parts(head, ())).await?;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Ok(()) };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => self.stream.send_data(data).await?,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.stream.send_trailers(trailers).await?;
                    }
                }
            }
        }
        self.stream.finish().await?;
        self.finished = true;
        Ok(())
    }

    fn reset(&mut self, code: Code) {
        self.stream.stop_stream(code);
        self.finished = true;
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.finished {
            self.stream.stop_stream(Code::H3_INTERNAL_ERROR);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn length_of(headers: &[(&'static str, &'static str)]) -> Result<Option<u64>, Malformation> {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut map = HeaderMap::new();
        headers.iter().map(pair).for_each(|(name, value)| {
            map.append(name, value);
        });
        content_length(&map)
    }

    #[test]
    fn a_length_is_said_once_and_in_digits() {
        assert_eq!(length_of(&[]), Ok(None));
        assert_eq!(length_of(&[("content-length", "17")]), Ok(Some(17)));
        for bad in ["", "+1", "-1", "1, 1", "0x1", "99999999999999999999"] {
            assert_eq!(length_of(&[("content-length", bad)]), Err(Malformation), "{bad:?} was taken");
        }
        assert_eq!(length_of(&[("content-length", "1"), ("content-length", "1")]), Err(Malformation));
    }

    #[test]
    fn framing_of_older_http_is_refused() {
        for name in ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"] {
            assert_eq!(length_of(&[(name, "x")]), Err(Malformation), "{name} was taken");
        }
        assert_eq!(length_of(&[("te", "trailers")]), Ok(None));
        assert_eq!(length_of(&[("te", "gzip")]), Err(Malformation));
    }
}
