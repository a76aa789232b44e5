//! Who keeps the book: one decision at a time, on disk before it is answered.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use region_core_sandbox::journal::{Journal, JournalError};
use shared_clock::{Clock, Entropy};

use crate::book::{Book, Consignment, Fact, Parcel, Record, Refusal};

/// The log's name in its folder.
const LOG: &str = "parcels.log";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing may be answered any more.
    #[error("the log cannot be written")]
    Broken,
}

/// How handlers reach the book. It is a file's speed at which they are answered, which is enough for parcels.
#[derive(Clone, Debug)]
pub(crate) struct Keeper(Arc<Mutex<Desk>>);

#[derive(Debug)]
struct Desk {
    book: Book,
    /// None once a record could not be written.
    journal: Option<Journal>,
    clock: Clock,
    entropy: Entropy,
}

impl Keeper {
    pub(crate) fn open(folder: &Path, clock: Clock, entropy: Entropy) -> Result<Self, JournalError> {
        let mut book = Book::default();
        let journal = Some(Journal::open(folder, LOG, |record: Record| book.replay(&record))?);
        Ok(Self(Arc::new(Mutex::new(Desk { book, journal, clock, entropy }))))
    }

    pub(crate) async fn create(&self, new: Consignment) -> Result<Parcel, KeepError> {
        self.work(move |desk| {
            let fact = desk.book.create(new)?;
            let id = format!("shp_{}", hex::encode(desk.entropy.bytes::<16>()));
            desk.keep(id, fact)
        })
        .await
    }

    pub(crate) async fn buy(&self, id: String, rate: String) -> Result<Parcel, KeepError> {
        self.work(move |desk| {
            let code = desk.tracking_code();
            let fact = desk.book.buy(&id, &rate, code)?;
            desk.keep(id, fact)
        })
        .await
    }

    pub(crate) async fn refund(&self, id: String) -> Result<Parcel, KeepError> {
        self.work(move |desk| match desk.book.refund(&id)? {
            Some(fact) => desk.keep(id, fact),
            None => desk.find(&id),
        })
        .await
    }

    pub(crate) async fn go_on(&self, name: String) -> Result<Parcel, KeepError> {
        self.work(move |desk| match desk.book.go_on(&name)? {
            Some(fact) => desk.keep(name, fact),
            None => desk.find(&name),
        })
        .await
    }

    pub(crate) async fn find(&self, name: String) -> Result<Parcel, KeepError> {
        self.work(move |desk| desk.find(&name)).await
    }

    pub(crate) async fn all(&self) -> Result<Vec<Parcel>, KeepError> {
        self.work(|desk| Ok(desk.book.parcels().to_vec())).await
    }

    /// Parcels that go on by themselves: those under way that have stood still since then.
    pub(crate) async fn due(&self, since_ms: u64) -> Result<Vec<String>, KeepError> {
        self.work(move |desk| Ok(desk.book.due(since_ms))).await
    }

    /// On a thread that may wait for the disk.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Desk) -> Result<T, KeepError> + Send + 'static,
    ) -> Result<T, KeepError> {
        let desk = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&mut desk.lock().unwrap_or_else(PoisonError::into_inner)));
        done.await.map_err(|_| KeepError::Broken)?
    }
}

impl Desk {
    fn find(&self, name: &str) -> Result<Parcel, KeepError> {
        Ok(self.book.find(name).ok_or(Refusal::Unknown)?.clone())
    }

    fn keep(&mut self, name: String, fact: Fact) -> Result<Parcel, KeepError> {
        let id = self.book.find(&name).map_or(name, |parcel| parcel.id.clone());
        let record = self.book.record(id.clone(), fact, self.clock.unix_ms());
        let mut journal = self.journal.take().ok_or(KeepError::Broken)?;
        if let Err(error) = journal.append(std::slice::from_ref(&record)) {
            tracing::error!(%error, "the log could not be written; nothing is answered any more");
            return Err(KeepError::Broken);
        }
        self.journal = Some(journal);
        // The same way in as at the next start, so that both books are equal.
        self.book.replay(&record).map_err(|_| KeepError::Broken)?;
        self.find(&id)
    }

    /// As a postal service writes them: two letters, ten digits, two letters.
    fn tracking_code(&self) -> String {
        let digits: String =
            (0..10).map(|_| char::from(b'0' + u8::try_from(self.entropy.below(10)).unwrap_or(0))).collect();
        format!("SB{digits}GB")
    }
}
