//! A request's body as it arrives.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::server::RequestStream;
use http_body::{Body, Frame, SizeHint};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The stream was reset, or the connection lost.
    #[error("the request's body broke off: {0}")]
    Stream(#[from] h3::error::StreamError),
    /// More or fewer bytes than `Content-Length` said (RFC 9114 section 4.1.2).
    #[error("the request's body is not as long as its Content-Length")]
    Length,
}

/// The receiving half of a request's stream, held to its `Content-Length`.
pub(super) struct RequestBody {
    stream: RequestStream<h3_quinn::RecvStream, Bytes>,
    /// Bytes that must still come, if the head said how many.
    left: Option<u64>,
    ended: bool,
    malformed: Malformed,
}

/// Set once a body broke the rules, so that the request is refused whatever the handler made of it.
#[derive(Clone, Default)]
pub(super) struct Malformed(Arc<AtomicBool>);

impl Malformed {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl RequestBody {
    pub(super) fn new(
        stream: RequestStream<h3_quinn::RecvStream, Bytes>,
        length: Option<u64>,
        malformed: Malformed,
    ) -> Self {
        Self { stream, left: length, ended: false, malformed }
    }

    fn wrong_length(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended = true;
        self.malformed.set();
        Poll::Ready(Some(Err(BodyError::Length)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let data = match ready!(self.stream.poll_recv_data(cx)) {
            Ok(Some(mut data)) => data.copy_to_bytes(data.remaining()),
            Ok(None) if self.left.unwrap_or(0) > 0 => return self.wrong_length(),
            Ok(None) => {
                self.ended = true;
                return Poll::Ready(None);
            }
            Err(error) => {
                self.ended = true;
                return Poll::Ready(Some(Err(error.into())));
            }
        };
        let length = data.len() as u64;
        match self.left.map(|left| left.checked_sub(length)) {
            Some(None) => self.wrong_length(),
            left => {
                self.left = left.flatten();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
