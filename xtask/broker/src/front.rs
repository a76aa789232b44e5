//! A door in front of a broker: closed, it refuses everybody and ends what goes through it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Connections at a time; more wait to be let in.
const MOST_CONNECTIONS: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Front {
    address: SocketAddr,
    behind: SocketAddr,
    door: Option<JoinHandle<()>>,
}

impl Front {
    /// Opens one at that address, or at any port if it names none. A port that was used a moment ago is no hindrance.
    pub(crate) async fn open(address: SocketAddr, behind: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { address, behind, door: Some(tokio::spawn(let_in(listener, behind))) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port is free then.
    pub(crate) async fn close(&mut self) {
        if let Some(door) = self.door.take() {
            door.abort();
            let _ = door.await;
        }
    }

    pub(crate) async fn reopen(&mut self) -> io::Result<()> {
        if self.door.is_none() {
            *self = Self::open(self.address, self.behind).await?;
        }
        Ok(())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(door) = self.door.take() {
            door.abort();
        }
    }
}

/// For ever; all connections end with it.
async fn let_in(listener: TcpListener, behind: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                match accepted {
                    Ok((client, _)) => { connections.spawn(pass_on(client, behind)); }
                    // The machine has no connection to give: it is asked again.
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        }
    }
}

/// Until either side ends it. A broker that is not there ends it at once, and the client tries again.
async fn pass_on(mut client: TcpStream, behind: SocketAddr) {
    if let Ok(mut broker) = TcpStream::connect(behind).await {
        let _ = (client.set_nodelay(true), broker.set_nodelay(true));
        let _ = copy_bidirectional(&mut client, &mut broker).await;
    }
}

/// An address of this machine where nobody listens.
pub(crate) async fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()
}
