//! Handing payments over to the driver of this process, leased already.
//!
//! Who hears of an order and who asks the provider about its payment are mostly one process. A payment that had to be found
//! in its table again would cost a transaction and a write more for each call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::ShardId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::rules::Payment;

/// A payment that no other worker asks about while its lease lasts, and its place with its driver.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) payment: Payment,
    pub(crate) place: OwnedSemaphorePermit,
}

/// The places of one driver: for payments that wait for an exchange, are in one, or whose result is not kept yet.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    sender: mpsc::Sender<Leased>,
}

impl Places {
    /// So many free places, and where payments come in that were handed over.
    pub(crate) fn open(places: usize) -> (Self, mpsc::Receiver<Leased>) {
        // Who sends holds a place: there is always room in the queue.
        let (sender, receiver) = mpsc::channel(places.max(1));
        (Self { free: Arc::new(Semaphore::new(places)), sender }, receiver)
    }

    /// Takes as many free places as there are, at most `most`.
    pub(crate) fn take(&self, most: usize) -> Vec<OwnedSemaphorePermit> {
        (0..most).map_while(|_| self.take_one()).collect()
    }

    fn take_one(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    fn close(&self) {
        self.free.close();
    }
}

/// A place taken for a payment that is about to be leased. Free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    permit: OwnedSemaphorePermit,
    sender: mpsc::Sender<Leased>,
}

impl Place {
    /// Hands the payment over; its lease must be committed. A driver that has stopped meanwhile lets it run out.
    pub(crate) fn hand_over(self, payment: Payment) {
        drop(self.sender.try_send(Leased { payment, place: self.permit }));
    }
}

/// Where one shard's payments are handed over: nowhere while no driver of it runs in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handover(Arc<Mutex<Option<Places>>>);

impl Handover {
    /// From here on payments go to these places.
    pub(crate) fn open(&self, places: Places) {
        *self.lock() = Some(places);
    }

    /// No payment is handed over any more.
    pub(crate) fn close(&self) {
        if let Some(places) = self.lock().take() {
            places.close();
        }
    }

    /// A free place, if there is one.
    pub(crate) fn place(&self) -> Option<Place> {
        let places = self.lock();
        let places = places.as_ref()?;
        Some(Place { permit: places.take_one()?, sender: places.sender.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Places>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A [`Handover`] for each shard of the region.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handovers(Arc<BTreeMap<ShardId, Handover>>);

impl Handovers {
    /// One for each of these shards.
    pub(crate) fn new(shards: impl IntoIterator<Item = ShardId>) -> Self {
        Self(Arc::new(shards.into_iter().map(|shard| (shard, Handover::default())).collect()))
    }

    /// That shard's; one that is closed if the shard is unknown here.
    pub(crate) fn of(&self, shard: ShardId) -> Handover {
        self.0.get(&shard).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use shared::id::Slot;
    use shared::{Currency, Money, OrderId, PaymentId};

    use super::*;

    fn payment(number: u8) -> Payment {
        let slot = Slot::new(7).unwrap();
        let (payment, order) = (PaymentId::mint(1, slot, [number; 8]), OrderId::mint(1, slot, [number; 8]));
        Payment::new("bank", payment, order, Money::new(1250, Currency::GBP).unwrap(), "tok".to_owned())
    }

    #[test]
    fn no_more_are_handed_over_than_there_are_places() {
        let handover = Handover::default();
        let (places, mut handed) = Places::open(2);
        handover.open(places.clone());
        let (first, second) = (handover.place().unwrap(), handover.place().unwrap());
        assert!(handover.place().is_none() && places.take(2).is_empty());
        first.hand_over(payment(1));
        drop(second); // its transaction was undone
        let leased = handed.try_recv().unwrap();
        assert_eq!((leased.payment, places.take(2).len()), (payment(1), 1));
        drop(leased.place);
        assert_eq!(places.take(2).len(), 2);
    }

    #[test]
    fn nobody_is_handed_a_payment_before_a_driver_runs_or_after_it_stopped() {
        let handover = Handover::default();
        assert!(handover.place().is_none());
        let (places, handed) = Places::open(2);
        handover.open(places);
        let late = handover.place().unwrap();
        handover.close();
        drop(handed);
        late.hand_over(payment(1)); // its lease runs out
        assert!(handover.place().is_none());
    }
}
