//! One HTTP/1.1 connection to the store, kept alive: as little work a request as can be, for it is done on the same cores.

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use shared::idempotency::IDEMPOTENCY_KEY;
use std::time::Duration;
use tokio::net::TcpStream;

/// An open connection. It closes when it is dropped.
#[derive(Debug)]
pub(crate) struct Door {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// What a request carries beside its path.
#[derive(Debug, Default)]
pub(crate) struct Asked<'a> {
    /// `Bearer …`.
    pub(crate) token: Option<&'a HeaderValue>,
    pub(crate) key: Option<&'a str>,
    /// JSON.
    pub(crate) body: Bytes,
}

impl Door {
    /// Connects to an origin such as `http://127.0.0.1:7101`.
    pub(crate) async fn open(origin: &str) -> anyhow::Result<Self> {
        let address = origin.trim_start_matches("http://");
        let stream = TcpStream::connect(address).await.with_context(|| format!("{address} does not answer"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its end is told to the next request as well.
        tokio::spawn(async move { connection.await.is_ok() });
        Ok(Self { sender, host: HeaderValue::try_from(address)? })
    }

    /// Asks and waits for the whole answer. After an error the connection is of no use.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, asked: Asked<'_>) -> anyhow::Result<Answered> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        if !asked.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = asked.token {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(key) = asked.key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::new(asked.body))?).await?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answered { status, retry_after: retry_after.map(Duration::from_secs), body })
    }
}
