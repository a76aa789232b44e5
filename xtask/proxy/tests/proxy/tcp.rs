//! Byte streams.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use xtask_proxy::{Conditions, Kind, Link, Weather};

use crate::support::{FREE, link, soon, until};

/// Both ends of a connection through a link.
async fn connected() -> (Link, TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind(FREE).await.unwrap();
    let link = link(Kind::Tcp, listener.local_addr().unwrap(), 1).await;
    let client = TcpStream::connect(link.address()).await.unwrap();
    let (server, _) = soon(listener.accept()).await.unwrap();
    (link, listener, client, server)
}

async fn heard(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    soon(stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

#[tokio::test]
async fn bytes_pass_both_ways_in_order_and_so_does_the_end() {
    let (_link, _listener, mut client, mut server) = connected().await;
    let sent: Vec<u8> = (0..=u8::MAX).cycle().take(300_000).collect();
    let (written, received) = tokio::join!(client.write_all(&sent), heard(&mut server, sent.len()));
    written.unwrap();
    assert!(received == sent, "the bytes were changed on the way");
    server.write_all(b"thanks").await.unwrap();
    assert_eq!(heard(&mut client, 6).await, b"thanks");
    client.shutdown().await.unwrap();
    assert_eq!(soon(server.read(&mut [0; 1])).await.unwrap(), 0, "the end was not passed on");
}

#[tokio::test]
async fn a_cut_holds_bytes_back_until_it_is_mended_and_loses_none() {
    let (link, _listener, mut client, mut server) = connected().await;
    link.set(Weather { forward: Conditions::CUT, ..Weather::default() });
    client.write_all(b"held").await.unwrap();
    until(|| link.counts().0.taken == 1).await;
    server.write_all(b"other way").await.unwrap();
    assert_eq!(heard(&mut client, 9).await, b"other way");
    assert_eq!(link.counts().0.delivered, 0);
    link.calm();
    assert_eq!(heard(&mut server, 4).await, b"held");
}

#[tokio::test]
async fn a_reset_breaks_what_is_connected_and_lets_new_ones_in() {
    let (link, listener, mut client, _server) = connected().await;
    link.reset();
    let broken = soon(client.read(&mut [0; 1])).await;
    assert!(matches!(broken, Ok(0) | Err(_)), "{broken:?}");
    let mut again = TcpStream::connect(link.address()).await.unwrap();
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    again.write_all(b"again").await.unwrap();
    assert_eq!(heard(&mut server, 5).await, b"again");
}

#[tokio::test]
async fn a_target_that_refuses_hangs_up_on_the_client() {
    let listener = TcpListener::bind(FREE).await.unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let link = link(Kind::Tcp, target, 1).await;
    let mut client = TcpStream::connect(link.address()).await.unwrap();
    let ended = soon(client.read(&mut [0; 1])).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}
