//! HTTP to a payment provider: deadlines, bounded answers, a bounded pool of idle connections, no redirects, no proxy.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::provider::ProviderError;

/// Longest answer read: an order at PayPal shows all of its refunds.
const ANSWER_BYTES: usize = 256 * 1024;
/// Idle connections kept: as many as the exchanges of some shards at once, or they are opened and closed all the time.
const IDLE_CONNECTIONS: usize = 256;
/// How long a connection is kept idle.
const IDLE: Duration = Duration::from_secs(60);

/// How long the provider may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// To be reached.
    pub connect: Duration,
    /// For the whole exchange.
    pub total: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), total: Duration::from_secs(5) }
    }
}

/// A client for one provider. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    total: Duration,
}

impl Http {
    /// # Errors
    /// If TLS cannot be set up.
    pub(crate) fn new(deadlines: Deadlines) -> Result<Self, rustls::Error> {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(deadlines.connect));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Ok(Self { client, total: deadlines.total })
    }

    /// The whole answer, if it comes in time and is not too long.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ProviderError> {
        let late = |_| ProviderError::Unknown(format!("no answer within {} ms", self.total.as_millis()));
        tokio::time::timeout(self.total, self.exchange(request)).await.map_err(late)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ProviderError> {
        let (head, body) = self.client.request(request).await.map_err(|error| unknown(&error))?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| unread(&*error))?;
        Ok((head.status, body.to_bytes()))
    }
}

/// A request with a body, or an error that no request of ours has: its parts are checked before.
pub(crate) fn request(
    builder: http::request::Builder,
    body: impl Into<Bytes>,
) -> Result<Request<Full<Bytes>>, ProviderError> {
    builder.body(Full::new(body.into())).map_err(|error| ProviderError::Refused(format!("no request: {error}")))
}

fn unread(error: &(dyn Error + 'static)) -> ProviderError {
    if error.is::<LengthLimitError>() {
        ProviderError::Unknown("the answer is too long".to_owned())
    } else {
        unknown(error)
    }
}

/// The chain in one line.
fn unknown(error: &(dyn Error + 'static)) -> ProviderError {
    let chain = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    ProviderError::Unknown(chain.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What comes of one request to a server that says `answer` and then nothing more.
    async fn answered(answer: Vec<u8>, total: Duration) -> Result<(StatusCode, Bytes), ProviderError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).await.unwrap();
            let _ = stream.write_all(&answer).await;
            std::future::pending::<()>().await;
        });
        let http = Http::new(Deadlines { connect: total, total }).unwrap();
        let answer = http.send(request(Request::get(uri), "").unwrap()).await;
        server.abort();
        answer
    }

    #[tokio::test]
    async fn an_answer_too_long_or_never_ending_says_nothing_about_the_payment() {
        let endless = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{".to_vec();
        let ended = answered(endless, Duration::from_millis(200)).await.unwrap_err();
        assert!(matches!(&ended, ProviderError::Unknown(cause) if cause.contains("200 ms")), "{ended}");
        let mut long = b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n".to_vec();
        long.resize(long.len() + 300_000, b' ');
        let ended = answered(long, Duration::from_secs(30)).await.unwrap_err();
        assert!(matches!(&ended, ProviderError::Unknown(cause) if cause.contains("too long")), "{ended}");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let moved = b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec();
        let (status, _) = answered(moved, Duration::from_secs(30)).await.unwrap();
        assert_eq!(status, StatusCode::TEMPORARY_REDIRECT);
    }
}
