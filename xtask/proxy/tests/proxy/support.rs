//! What the tests have in common.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use xtask_proxy::{Kind, Link};

/// Any free port of this machine.
pub(crate) const FREE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// A test that hangs has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn socket() -> UdpSocket {
    UdpSocket::bind(FREE).await.unwrap()
}

pub(crate) async fn link(kind: Kind, target: SocketAddr, seed: u64) -> Link {
    Link::open(kind, FREE, target, seed).await.unwrap()
}

/// A socket that talks to the link alone.
pub(crate) async fn client(link: &Link) -> UdpSocket {
    let client = socket().await;
    client.connect(link.address()).await.unwrap();
    client
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

/// Lets others run until it is so.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    soon(async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The next datagram as text.
pub(crate) async fn hear(socket: &UdpSocket) -> String {
    let mut buffer = [0; 64];
    let length = soon(socket.recv(&mut buffer)).await.unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}
