//! Datagrams: one socket in front, and behind it one for each sender, so that answers find their way back.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::link::{Lane, Lanes};

/// Longest datagram; QUIC's are shorter.
const LONGEST: usize = 65_535;
/// Senders remembered; beyond, who was silent longest is forgotten.
const MOST_FLOWS: usize = 1_024;
/// Datagrams under way in one direction; more are lost, as in a router's full queue.
const MOST_UNDER_WAY: usize = 16_384;

pub(crate) async fn open(
    listen: SocketAddr,
    target: SocketAddr,
    lanes: Lanes,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let front = Arc::new(UdpSocket::bind(listen).await?);
    let address = front.local_addr()?;
    let Lanes { forward, backward, .. } = lanes;
    let flows =
        Flows { front: Arc::clone(&front), target, backward, known: HashMap::new(), tasks: JoinSet::new(), now: 0 };
    Ok((address, tokio::spawn(pass_forward(front, flows, forward))))
}

/// Who sends through the link. Dropping this ends the tasks that carry answers.
struct Flows {
    front: Arc<UdpSocket>,
    target: SocketAddr,
    backward: Lane,
    known: HashMap<SocketAddr, Flow>,
    tasks: JoinSet<()>,
    /// Counts datagrams: the flows' age.
    now: u64,
}

struct Flow {
    back: Arc<UdpSocket>,
    answers: AbortHandle,
    used: u64,
}

impl Flows {
    /// The socket behind the link for this sender.
    async fn of(&mut self, sender: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        self.now += 1;
        if let Some(flow) = self.known.get_mut(&sender) {
            flow.used = self.now;
            return Ok(Arc::clone(&flow.back));
        }
        self.make_room();
        let back = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        back.connect(self.target).await?;
        let answers = pass_backward(Arc::clone(&back), Arc::clone(&self.front), sender, self.backward.clone());
        let flow = Flow { back: Arc::clone(&back), answers: self.tasks.spawn(answers), used: self.now };
        self.known.insert(sender, flow);
        Ok(back)
    }

    fn make_room(&mut self) {
        if self.known.len() < MOST_FLOWS {
            return;
        }
        let silent = self.known.iter().min_by_key(|(_, flow)| flow.used).map(|(sender, _)| *sender);
        if let Some(flow) = silent.and_then(|sender| self.known.remove(&sender)) {
            flow.answers.abort();
        }
    }
}

async fn pass_forward(front: Arc<UdpSocket>, mut flows: Flows, lane: Lane) {
    let (mut buffer, mut under_way) = (vec![0; LONGEST], UnderWay::<Arc<UdpSocket>>::default());
    loop {
        tokio::select! {
            // What is due goes first: fates depend on the order of arrival alone, never on which branch is polled.
            biased;
            (back, datagram) = under_way.next() => {
                // A target that is not there answers by ICMP, which is an error here and no concern of the link's.
                let _ = back.send(&datagram).await;
                lane.tally.deliver();
            }
            received = front.recv_from(&mut buffer) => {
                let Ok((length, sender)) = received else { continue };
                if let Ok(back) = flows.of(sender).await {
                    under_way.take(&lane, back, &buffer[..length]);
                }
            }
        }
    }
}

async fn pass_backward(back: Arc<UdpSocket>, front: Arc<UdpSocket>, sender: SocketAddr, lane: Lane) {
    let (mut buffer, mut under_way) = (vec![0; LONGEST], UnderWay::default());
    loop {
        tokio::select! {
            biased;
            ((), datagram) = under_way.next() => {
                let _ = front.send_to(&datagram, sender).await;
                lane.tally.deliver();
            }
            received = back.recv(&mut buffer) => {
                // An error stands for one datagram that found nobody; by being read it is gone.
                let Ok(length) = received else { continue };
                under_way.take(&lane, (), &buffer[..length]);
            }
        }
    }
}

/// Datagrams that are yet to be delivered, by time and then by arrival.
struct UnderWay<T> {
    queue: BinaryHeap<Reverse<Due<T>>>,
    count: u64,
}

struct Due<T> {
    at: (Instant, u64),
    to: T,
    datagram: Vec<u8>,
}

impl<T> Default for UnderWay<T> {
    fn default() -> Self {
        Self { queue: BinaryHeap::new(), count: 0 }
    }
}

impl<T: Clone> UnderWay<T> {
    fn take(&mut self, lane: &Lane, to: T, datagram: &[u8]) {
        let arrivals = lane.conditions().datagram(&lane.dice);
        lane.tally.take();
        if arrivals[0].is_none() || self.queue.len() >= MOST_UNDER_WAY {
            return lane.tally.lose();
        }
        let now = Instant::now();
        for after in arrivals.into_iter().flatten() {
            self.count += 1;
            let due = Due { at: (now + after, self.count), to: to.clone(), datagram: datagram.to_vec() };
            self.queue.push(Reverse(due));
        }
    }

    /// Waits for the next that is due; for ever if none is under way. Dropping the future loses nothing.
    async fn next(&mut self) -> (T, Vec<u8>) {
        let Some(Reverse(first)) = self.queue.peek() else { return std::future::pending().await };
        let due = first.at.0;
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        match self.queue.pop() {
            Some(Reverse(due)) => (due.to, due.datagram),
            None => std::future::pending().await,
        }
    }
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<T> Eq for Due<T> {}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
