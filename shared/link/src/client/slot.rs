//! A place for one connection, and the connection in it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::watch;

use crate::server::NO_ERROR;

/// Sends requests on one connection; each request has a clone.
pub(super) type Sender = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

/// A connection that takes requests.
pub(super) struct Live {
    pub(super) sender: Sender,
    pub(super) quic: quinn::Connection,
    busy: AtomicUsize,
}

/// One request under way on a connection.
pub(super) struct Busy(Arc<Live>);

impl Live {
    pub(super) fn new(sender: Sender, quic: quinn::Connection) -> Self {
        Self { sender, quic, busy: AtomicUsize::new(0) }
    }

    /// Requests under way.
    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    pub(super) fn begin(self: Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }
}

impl Drop for Live {
    /// Nobody can send on it any more and the last answer is read: a core that is draining need not wait for us.
    fn drop(&mut self) {
        self.quic.close(NO_ERROR, b"no longer needed");
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a connection could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct DialFailure {
    pub(super) reason: String,
    /// A certificate was not accepted, by either side.
    pub(super) unauthenticated: bool,
}

/// What is in a slot.
#[derive(Clone)]
pub(super) enum Status {
    /// A connection is being made for the first time, or in place of one that ended.
    Connecting,
    /// A connection that takes requests.
    Up(Arc<Live>),
    /// The last attempt failed; the next follows after a pause.
    Down(Arc<DialFailure>),
}

/// A place for one connection to one core.
pub(super) struct Slot {
    status: RwLock<Status>,
    changes: watch::Sender<()>,
}

impl Slot {
    pub(super) fn new(changes: watch::Sender<()>) -> Self {
        Self { status: RwLock::new(Status::Connecting), changes }
    }

    pub(super) fn status(&self) -> Status {
        self.status.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, status: Status) {
        *self.status.write().unwrap_or_else(PoisonError::into_inner) = status;
        self.changes.send_replace(());
    }

    /// The connection, unless it is closed already and its keeper is yet to hear of it.
    pub(super) fn live(&self) -> Option<Arc<Live>> {
        match &*self.status.read().unwrap_or_else(PoisonError::into_inner) {
            Status::Up(live) if live.quic.close_reason().is_none() => Some(Arc::clone(live)),
            Status::Up(_) | Status::Connecting | Status::Down(_) => None,
        }
    }
}
