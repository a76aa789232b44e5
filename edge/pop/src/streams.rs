//! Answers that go on for minutes: so many at once, a few of one reader, and none for longer than they may, once its reader takes
//! nothing more or once this process stops.
//!
//! Each is made by a task of its own, so that its end does not depend on a peer who takes nothing.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use edge_app::{LONGEST_STREAM, MOST_STREAMS_OF_ONE, NoPlace};
use futures_util::stream::{self, Stream, StreamExt};
use shared::UserId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Such answers at once.
const MAX_STREAMS: usize = 1_000;
/// How long a reader may leave an event lying that he is sent; then he has gone, or holds a place for nothing.
const STALLED: Duration = Duration::from_secs(30);
/// Longest that one goes on here: the app ends its own a little earlier, and in better order.
pub(crate) const LONGEST: Duration = LONGEST_STREAM.saturating_add(Duration::from_secs(60));

/// The answers that go on. Clones share the bound.
#[derive(Clone, Debug)]
pub struct Streams {
    places: Arc<Semaphore>,
    readers: Readers,
    stop: CancellationToken,
}

/// How many answers each reader has; no more readers than places.
type Readers = Arc<Mutex<HashMap<UserId, usize>>>;

/// One reader's place. Dropping it frees the place.
struct Place {
    readers: Readers,
    reader: UserId,
}

impl Place {
    /// `None` when he has as many as he may.
    fn take(readers: &Readers, reader: UserId) -> Option<Self> {
        let mut taken = readers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(reader).or_default();
        (*count < MOST_STREAMS_OF_ONE).then(|| {
            *count += 1;
            Self { readers: Arc::clone(readers), reader }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.reader) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.reader);
            }
        }
    }
}

impl Streams {
    /// None yet; all end with `stop`.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_STREAMS)), readers: Readers::default(), stop }
    }

    /// A body of these events for that reader.
    ///
    /// # Errors
    /// If there are too many such bodies, or too many of his.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn open(&self, reader: UserId, events: impl Stream<Item = Bytes> + Send + 'static) -> Result<Body, NoPlace> {
        let places =
            self.places(reader).inspect_err(|_| metrics::counter!("pop_streams_refused_total").increment(1))?;
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
            drop(places);
        });
        let next =
            |mut chunks: mpsc::Receiver<Bytes>| async { Some((Ok::<_, Infallible>(chunks.recv().await?), chunks)) };
        Ok(Body::from_stream(stream::unfold(chunks, next)))
    }

    /// A place here, and one of the reader's.
    fn places(&self, reader: UserId) -> Result<(OwnedSemaphorePermit, Place), NoPlace> {
        let here = Arc::clone(&self.places).try_acquire_owned().map_err(|_| NoPlace::Full)?;
        Ok((here, Place::take(&self.readers, reader).ok_or(NoPlace::ReaderHasMost)?))
    }
}

async fn pass_on(events: impl Stream<Item = Bytes>, sender: &mpsc::Sender<Bytes>) {
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        if !matches!(tokio::time::timeout(STALLED, sender.send(event)).await, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use shared::id::{Slot, USER_EPOCH_MS};

    use super::*;

    fn endless() -> impl Stream<Item = Bytes> + Send + 'static {
        stream::iter([Bytes::from_static(b"begun")]).chain(stream::pending())
    }

    fn reader(number: usize) -> UserId {
        let slot = Slot::new(u16::try_from(number / 1024).unwrap()).unwrap();
        UserId::mint(USER_EPOCH_MS + 1, slot, u16::try_from(number % 1024).unwrap()).unwrap()
    }

    async fn whole(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_body_is_its_events_and_ends_with_them() {
        let streams = Streams::new(CancellationToken::new());
        let body = streams.open(reader(1), stream::iter([Bytes::from_static(b"a"), Bytes::from_static(b"b")])).unwrap();
        assert_eq!(whole(body).await, "ab");
    }

    #[tokio::test(start_paused = true)]
    async fn no_stream_outlives_its_time_or_the_process() {
        let stop = CancellationToken::new();
        let streams = Streams::new(stop.clone());
        assert_eq!(whole(streams.open(reader(1), endless()).unwrap()).await, "begun", "its time is over");
        let mut read = streams.open(reader(1), endless()).unwrap();
        assert_eq!(read.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
        stop.cancel();
        assert!(read.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_as_many_as_they_are_and_come_back() {
        let streams = Streams::new(CancellationToken::new());
        let mut bodies: Vec<_> =
            (0..MAX_STREAMS).map_while(|number| streams.open(reader(number), endless()).ok()).collect();
        assert_eq!(bodies.len(), MAX_STREAMS);
        assert_eq!(streams.open(reader(MAX_STREAMS), endless()).err(), Some(NoPlace::Full));
        // One reader goes, the others never read.
        bodies.pop();
        let again = Arc::clone(&streams.places).acquire_owned().await;
        drop(again);
        assert!(streams.open(reader(MAX_STREAMS), endless()).is_ok());
        tokio::time::sleep(LONGEST * 2).await;
        assert_eq!(streams.places.available_permits(), MAX_STREAMS, "who takes nothing keeps no place");
    }

    #[tokio::test(start_paused = true)]
    async fn one_reader_has_a_few_and_others_have_theirs() {
        let streams = Streams::new(CancellationToken::new());
        let mut own: Vec<_> = (0..MOST_STREAMS_OF_ONE).map(|_| streams.open(reader(1), endless()).unwrap()).collect();
        assert_eq!(streams.open(reader(1), endless()).err(), Some(NoPlace::ReaderHasMost));
        assert!(streams.open(reader(2), endless()).is_ok());
        // A page of his is closed.
        own.pop();
        while streams.readers.lock().unwrap()[&reader(1)] == MOST_STREAMS_OF_ONE {
            tokio::task::yield_now().await;
        }
        own.push(streams.open(reader(1), endless()).unwrap());
        drop(own);
        while !streams.readers.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(streams.places.available_permits(), MAX_STREAMS);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_an_event_lying_loses_his_place_and_who_reads_slowly_does_not() {
        let streams = Streams::new(CancellationToken::new());
        let chatty = || stream::repeat(Bytes::from_static(b":\n\n"));
        let mut slow = streams.open(reader(1), chatty()).unwrap();
        let began = tokio::time::Instant::now();
        let _stalled = streams.open(reader(2), chatty()).unwrap();
        while streams.readers.lock().unwrap().contains_key(&reader(2)) {
            tokio::time::sleep(STALLED / 3).await;
            assert!(slow.frame().await.unwrap().is_ok());
        }
        assert!(began.elapsed() <= STALLED * 2, "{:?}", began.elapsed());
        assert!(streams.readers.lock().unwrap().contains_key(&reader(1)));
    }
}
