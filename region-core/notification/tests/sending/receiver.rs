//! An HTTP server that answers as it was told and remembers what it was sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What it does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// Status and body.
    Says(u16, &'static str),
    /// Hangs up without a word.
    HangsUp,
    /// Keeps the connection and says nothing.
    Hangs,
}

/// A request as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// It, until the test's runtime ends. The n-th request gets the n-th answer, later ones the last.
#[derive(Clone)]
pub(crate) struct Receiver {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Receiver {
    pub(crate) async fn start(answers: &'static [Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let own = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(stream, answers));
            }
        });
        receiver
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    async fn serve(self, stream: TcpStream, answers: &'static [Answer]) -> Option<()> {
        let mut stream = BufReader::new(stream);
        let (mut line, mut headers) = (String::new(), BTreeMap::new());
        stream.read_line(&mut line).await.ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        loop {
            line.clear();
            stream.read_line(&mut line).await.ok()?;
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        stream.read_exact(&mut body).await.ok()?;
        let turn = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(Seen { path, headers, body });
            seen.len() - 1
        };
        match answers[turn.min(answers.len() - 1)] {
            Answer::Says(status, body) => {
                let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.ok()?;
                stream.shutdown().await.ok()
            }
            Answer::HangsUp => None,
            Answer::Hangs => std::future::pending().await,
        }
    }
}
