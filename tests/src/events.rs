//! Server-sent events as a page's script hears them (WHATWG HTML, section 9.2), as far as this shop uses them.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// Longer than a journey takes; only a failing one meets it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A stream of events, or an answer that is none.
#[derive(Debug)]
pub struct Events {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    response: reqwest::Response,
    heard: Vec<u8>,
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// What to resume after.
    pub id: String,
    /// What it says.
    pub data: Value,
}

impl Events {
    /// Begins to listen.
    ///
    /// # Panics
    /// If there is no answer.
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.timeout(PATIENCE).send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, response, heard: Vec::new() }
    }

    /// The next event, once it comes; none at the stream's end. Comments and the like are passed over.
    ///
    /// # Panics
    /// If the stream breaks off or says nonsense.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.heard.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.heard.drain(..end + 2).collect();
                if let Some(event) = read(&String::from_utf8(block).unwrap()) {
                    return Some(event);
                }
            }
            let chunk: Option<Bytes> =
                self.response.chunk().await.unwrap_or_else(|error| panic!("broke off: {error:?}"));
            self.heard.extend_from_slice(&chunk?);
        }
    }
}

fn read(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let data = serde_json::from_str(field("data: ")?).unwrap();
    Some(Event { id: field("id: ").unwrap().to_owned(), data })
}
