//! Request bodies in memory: each has a bound, and so have all of them together.
//!
//! Room is taken as bytes arrive, not as they are announced: an announcement costs its sender nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use shared::api::MAX_BODY_BYTES;
use shared::{Problem, ProblemKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Time for a body to arrive.
const ARRIVAL: Duration = Duration::from_secs(15);

/// Room for the request bodies of the whole process. Clones share it.
#[derive(Clone)]
pub struct Bodies(Arc<Semaphore>);

/// A whole body and the room it has. The room is free again once this is dropped.
#[derive(Debug)]
pub struct Buffered {
    /// The body.
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// The whole body.
    ///
    /// # Errors
    /// 413 when it is longer than any route takes, 503 when there is no room for it now, 504 when it does not arrive in
    /// time, and 400 when it breaks off.
    pub async fn read(&self, body: Body) -> Result<Buffered, Problem> {
        tokio::time::timeout(ARRIVAL, self.gather(body)).await.map_err(|_| Problem::new(ProblemKind::Timeout))?
    }

    async fn gather(&self, mut body: Body) -> Result<Buffered, Problem> {
        let (mut bytes, mut room) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            let broken = |_| Problem::new(ProblemKind::Malformed).detail("the body broke off");
            // Trailers mean nothing here.
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if bytes.len() + data.remaining() > MAX_BODY_BYTES {
                return Err(Problem::new(ProblemKind::BodyTooLarge));
            }
            self.take(data.remaining(), &mut room)?;
            bytes.extend_from_slice(&data);
        }
        Ok(Buffered { bytes: bytes.freeze(), _room: room })
    }

    /// Takes room for so many more bytes. Never waits: those who wait hold what others wait for.
    fn take(&self, bytes: usize, room: &mut Option<OwnedSemaphorePermit>) -> Result<(), Problem> {
        let full = || {
            metrics::counter!("pop_bodies_refused_total").increment(1);
            Problem::new(ProblemKind::Unavailable)
        };
        let more = u32::try_from(bytes).ok().and_then(|bytes| Arc::clone(&self.0).try_acquire_many_owned(bytes).ok());
        let more = more.ok_or_else(full)?;
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body::HttpBody;
    use hyper::body::Frame;

    use super::*;

    /// A body that sends this and then nothing, not even its end.
    struct Stuck(Option<Bytes>);

    impl HttpBody for Stuck {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
        }
    }

    async fn kind(bodies: &Bodies, length: usize) -> Result<usize, u16> {
        let read = bodies.read(Body::from(vec![b'x'; length])).await;
        read.map(|body| body.bytes.len()).map_err(|problem| problem.status)
    }

    #[tokio::test]
    async fn all_bodies_together_have_a_bound_and_room_comes_back() {
        let bodies = Bodies::new(100);
        let held = bodies.read(Body::from(vec![b'x'; 60])).await.unwrap();
        assert_eq!(kind(&bodies, 40).await, Ok(40));
        assert_eq!(kind(&bodies, 41).await, Err(503));
        assert_eq!(kind(&bodies, 0).await, Ok(0));
        drop(held);
        assert_eq!(kind(&bodies, 100).await, Ok(100));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_arrived_of_a_stuck_body_has_room_until_it_is_given_up() {
        let bodies = Bodies::new(100);
        let mut stuck = Box::pin(bodies.read(Body::new(Stuck(Some(vec![b'x'; 60].into())))));
        assert!(tokio::time::timeout(Duration::ZERO, &mut stuck).await.is_err());
        assert_eq!(kind(&bodies, 41).await, Err(503));
        assert_eq!(stuck.await.unwrap_err().status, 504);
        assert_eq!(kind(&bodies, 100).await, Ok(100));
    }

    #[tokio::test]
    async fn a_body_has_a_bound_of_its_own() {
        let bodies = Bodies::new(2 * MAX_BODY_BYTES);
        assert_eq!(kind(&bodies, MAX_BODY_BYTES).await, Ok(MAX_BODY_BYTES));
        assert_eq!(kind(&bodies, MAX_BODY_BYTES + 1).await, Err(413));
    }
}
