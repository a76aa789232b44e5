//! A merchant's system: an HTTP server that does as the path says and remembers what it was sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

/// A request as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        &self.headers[name]
    }
}

struct State {
    seen: Mutex<Vec<Seen>>,
    /// How many requests under `/twice` are still to be refused.
    refusals: Mutex<u32>,
    came: Notify,
    /// What hangs goes on once this is given.
    release: Semaphore,
}

/// It, until it is dropped.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            seen: Mutex::default(),
            refusals: Mutex::new(2),
            came: Notify::new(),
            release: Semaphore::new(0),
        });
        let own = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&own)));
            }
        });
        Self { port, state, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.state.seen.lock().unwrap().iter().filter(|seen| seen.path == path).cloned().collect()
    }

    /// Until so many requests have come to that path.
    pub(crate) async fn until(&self, path: &str, count: usize) {
        let came = async {
            loop {
                let notified = self.state.came.notified();
                if self.seen(path).len() >= count {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), came).await.unwrap();
    }

    /// Lets what hangs end.
    pub(crate) fn release(&self) {
        self.state.release.add_permits(1000);
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) -> Option<()> {
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
    state.seen.lock().unwrap().push(Seen { path: path.clone(), headers, body });
    state.came.notify_waiters();
    let answer = match path.as_str() {
        "/well" => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "/gone" => "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n",
        "/moved" => "HTTP/1.1 307 Moved\r\nlocation: /well\r\ncontent-length: 0\r\n\r\n",
        "/broken" => "HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\nno\r\n",
        "/busy" => "HTTP/1.1 503 Busy\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n",
        "/twice" => {
            let mut refusals = state.refusals.lock().unwrap();
            if *refusals == 0 {
                "HTTP/1.1 204 OK\r\n\r\n"
            } else {
                *refusals -= 1;
                "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"
            }
        }
        "/endless" => return endless(stream).await,
        "/silent" => {
            state.release.acquire().await.ok()?.forget();
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        }
        _ => "HTTP/1.1 404 What\r\ncontent-length: 0\r\n\r\n",
    };
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

/// Says yes, and goes on talking for as long as anybody listens.
async fn endless(mut stream: BufReader<TcpStream>) -> Option<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    loop {
        stream.write_all(&[b'x'; 4096]).await.ok()?;
    }
}
