//! Byte streams: each connection is two, and in each direction pieces wait their time in order.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::link::{Lane, Lanes};

/// Longest piece.
const PIECE: usize = 16 * 1024;
/// Pieces that wait in one direction; then the sender is no longer read.
const MOST_WAITING: usize = 64;

/// Pause when no connection can be taken, for want of descriptors.
const REST: Duration = Duration::from_millis(10);

/// Bytes, and when they arrive.
type Piece = (Instant, Vec<u8>);

pub(crate) async fn open(
    listen: SocketAddr,
    target: SocketAddr,
    lanes: Lanes,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    Ok((address, tokio::spawn(accept(listener, target, lanes))))
}

async fn accept(listener: TcpListener, target: SocketAddr, lanes: Lanes) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(connections.spawn(connection(client, target, lanes.clone()))),
                Err(_) => tokio::time::sleep(REST).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection until both sides have ended, or it is thrown out.
async fn connection(client: TcpStream, target: SocketAddr, lanes: Lanes) {
    let Lanes { mut forward, backward, mut resets } = lanes;
    resets.mark_unchanged();
    let carry = async {
        if !forward.open().await {
            return;
        }
        // A target that refuses is one that hangs up, for those in front.
        let Ok(server) = TcpStream::connect(target).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(pass(from_client, to_server, forward), pass(from_server, to_client, backward));
    };
    tokio::select! {
        () = carry => {}
        Ok(()) = resets.changed() => {}
    }
}

/// Carries one direction to its end.
async fn pass(from: OwnedReadHalf, to: OwnedWriteHalf, lane: Lane) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    tokio::join!(read(from, sender, lane.clone()), write(to, receiver, lane));
}

async fn read(mut from: OwnedReadHalf, pieces: mpsc::Sender<Piece>, lane: Lane) {
    let (mut buffer, mut last) = (vec![0; PIECE], Instant::now());
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        lane.tally.take();
        // Order is kept: what follows a late piece is late too.
        last = last.max(Instant::now() + lane.conditions().piece(&lane.dice));
        if pieces.send((last, buffer[..length].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn write(mut to: OwnedWriteHalf, mut pieces: mpsc::Receiver<Piece>, mut lane: Lane) {
    while let Some((due, bytes)) = pieces.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        if !lane.open().await || to.write_all(&bytes).await.is_err() {
            return;
        }
        lane.tally.deliver();
    }
    let _ = to.shutdown().await;
}
