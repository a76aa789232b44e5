//! A link that is open: where it listens, what the weather is, what has passed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shared_clock::Entropy;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::rules::{Conditions, Weather};
use crate::{tcp, udp};

/// What a link carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Datagrams.
    Udp,
    /// Byte streams.
    Tcp,
}

/// A proxy in front of a target. Dropping it closes it.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Counts how often what is connected was to be thrown out.
    resets: watch::Sender<u64>,
    tallies: [Arc<Tally>; 2],
    task: JoinHandle<()>,
}

/// What became of datagrams, or of pieces of streams, in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// That came in.
    pub taken: u64,
    /// That went out; repeats count twice.
    pub delivered: u64,
    /// That were lost.
    pub lost: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    taken: AtomicU64,
    delivered: AtomicU64,
    lost: AtomicU64,
}

impl Tally {
    pub(crate) fn take(&self) {
        self.taken.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn deliver(&self) {
        self.delivered.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::SeqCst);
    }

    fn counts(&self) -> Counts {
        let load = |count: &AtomicU64| count.load(Ordering::SeqCst);
        Counts { taken: load(&self.taken), delivered: load(&self.delivered), lost: load(&self.lost) }
    }
}

/// One direction's weather, dice and tally.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    weather: watch::Receiver<Weather>,
    choose: fn(&Weather) -> Conditions,
    pub(crate) dice: Entropy,
    pub(crate) tally: Arc<Tally>,
}

impl Lane {
    pub(crate) fn conditions(&self) -> Conditions {
        (self.choose)(&self.weather.borrow())
    }

    /// Waits until something may pass. False if the link was closed.
    pub(crate) async fn open(&mut self) -> bool {
        let choose = self.choose;
        self.weather.wait_for(|weather| !choose(weather).cut).await.is_ok()
    }
}

/// Both directions of a link, and when to throw out.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    pub(crate) forward: Lane,
    pub(crate) backward: Lane,
    pub(crate) resets: watch::Receiver<u64>,
}

impl Link {
    /// Listens at `listen`, where port 0 takes a free one, and passes on to `target`, which need not be there yet. In fair
    /// weather until told otherwise.
    ///
    /// # Errors
    /// If nobody can listen there.
    pub async fn open(kind: Kind, listen: SocketAddr, target: SocketAddr, seed: u64) -> io::Result<Self> {
        let (weather, seen) = watch::channel(Weather::default());
        let (resets, reset) = watch::channel(0);
        let tallies = [Arc::<Tally>::default(), Arc::default()];
        let lane = |choose, side: u64| Lane {
            weather: seen.clone(),
            choose,
            // Neighbouring seeds give unrelated dice.
            dice: Entropy::seeded(seed.wrapping_mul(2).wrapping_add(side)),
            tally: Arc::clone(&tallies[usize::from(side == 1)]),
        };
        let lanes = Lanes {
            forward: lane(|weather| weather.forward, 0),
            backward: lane(|weather| weather.backward, 1),
            resets: reset,
        };
        let (address, task) = match kind {
            Kind::Udp => udp::open(listen, target, lanes).await?,
            Kind::Tcp => tcp::open(listen, target, lanes).await?,
        };
        Ok(Self { address, weather, resets, tallies, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather for all that comes in from now on, and for what is held by a cut.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Fair weather again.
    pub fn calm(&self) {
        self.set(Weather::default());
    }

    /// Breaks every TCP connection that passes through, as a firewall that forgot them.
    pub fn reset(&self) {
        self.resets.send_modify(|count| *count += 1);
    }

    /// What passed towards the target, and what passed back.
    #[must_use]
    pub fn counts(&self) -> (Counts, Counts) {
        (self.tallies[0].counts(), self.tallies[1].counts())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}
