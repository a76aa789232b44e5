//! Answers that go on for minutes: so many at once, and none for longer than they may or once this process stops.
//!
//! Each is made by a task of its own, so that its end does not depend on a peer who takes nothing.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use edge_app::LONGEST_STREAM;
use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Such answers at once.
const MAX_STREAMS: usize = 1_000;
/// Longest that one goes on here: the app ends its own a little earlier, and in better order.
pub(crate) const LONGEST: Duration = LONGEST_STREAM.saturating_add(Duration::from_secs(60));

/// The answers that go on. Clones share the bound.
#[derive(Clone, Debug)]
pub struct Streams {
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Streams {
    /// None yet; all end with `stop`.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_STREAMS)), stop }
    }

    /// A body of these events, or `None` if there are too many such bodies.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn open(&self, events: impl Stream<Item = Bytes> + Send + 'static) -> Option<Body> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            metrics::counter!("pop_streams_refused_total").increment(1);
            return None;
        };
        let (sender, chunks) = mpsc::channel(1);
        let stop = self.stop.clone();
        tokio::spawn(async move {
            metrics::gauge!("pop_streams").increment(1.0);
            tokio::select! {
                () = pass_on(events, &sender) => {}
                // Its reader has gone.
                () = sender.closed() => {}
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LONGEST) => {}
            }
            metrics::gauge!("pop_streams").decrement(1.0);
            drop(place);
        });
        let next =
            |mut chunks: mpsc::Receiver<Bytes>| async { Some((Ok::<_, Infallible>(chunks.recv().await?), chunks)) };
        Some(Body::from_stream(stream::unfold(chunks, next)))
    }
}

async fn pass_on(events: impl Stream<Item = Bytes>, sender: &mpsc::Sender<Bytes>) {
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        if sender.send(event).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn endless() -> impl Stream<Item = Bytes> + Send + 'static {
        stream::iter([Bytes::from_static(b"begun")]).chain(stream::pending())
    }

    async fn whole(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_body_is_its_events_and_ends_with_them() {
        let streams = Streams::new(CancellationToken::new());
        let body = streams.open(stream::iter([Bytes::from_static(b"a"), Bytes::from_static(b"b")])).unwrap();
        assert_eq!(whole(body).await, "ab");
    }

    #[tokio::test(start_paused = true)]
    async fn no_stream_outlives_its_time_or_the_process() {
        let stop = CancellationToken::new();
        let streams = Streams::new(stop.clone());
        assert_eq!(whole(streams.open(endless()).unwrap()).await, "begun", "its time is over");
        let mut read = streams.open(endless()).unwrap();
        assert_eq!(read.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
        stop.cancel();
        assert!(read.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_as_many_as_they_are_and_come_back() {
        let streams = Streams::new(CancellationToken::new());
        let mut bodies: Vec<_> = (0..MAX_STREAMS).map_while(|_| streams.open(endless())).collect();
        assert_eq!(bodies.len(), MAX_STREAMS);
        assert!(streams.open(endless()).is_none());
        // One reader goes, the others never read.
        bodies.pop();
        let again = Arc::clone(&streams.places).acquire_owned().await;
        drop(again);
        assert!(streams.open(endless()).is_some());
        tokio::time::sleep(LONGEST * 2).await;
        assert_eq!(streams.places.available_permits(), MAX_STREAMS, "who takes nothing keeps no place");
    }
}
