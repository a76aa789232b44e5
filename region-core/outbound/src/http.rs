//! HTTP to an outside party: deadlines, bounded answers, a bounded pool of idle connections, no redirects, no proxy.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::chain;
use crate::resolver::Resolver;
use crate::target::Guard;

/// How long a connection is kept idle.
const IDLE: Duration = Duration::from_secs(60);

/// How long a party may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// To be reached.
    pub connect: Duration,
    /// For the whole exchange.
    pub total: Duration,
}

/// What one party may take of us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Time.
    pub deadlines: Deadlines,
    /// Longest answer read.
    pub answer_bytes: usize,
    /// Idle connections kept.
    pub idle_connections: usize,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unanswered {
    /// It was never asked: no request can be made of this.
    #[error("no request: {0}")]
    NotSent(String),
    /// Nobody knows what it did: no connection, no answer in time, or none that ends.
    #[error("{0}")]
    Unknown(String),
}

/// A client for one party. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Http<R = GaiResolver> {
    client: Client<HttpsConnector<HttpConnector<R>>, Full<Bytes>>,
    total: Duration,
    answer_bytes: usize,
}

impl Http {
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(bounds: Bounds) -> Result<Self, rustls::Error> {
        Self::over(HttpConnector::new(), bounds)
    }
}

impl Http<Resolver> {
    /// Leads to what the guard allows and nowhere else. A connection that is kept leads where its name led then, so none should be
    /// (`idle_connections` 0); written addresses are for whoever calls to judge ([`Guard::target`]).
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn guarded(guard: Guard, bounds: Bounds) -> Result<Self, rustls::Error> {
        Self::over(HttpConnector::new_with_resolver(Resolver(guard)), bounds)
    }
}

impl<R> Http<R>
where
    R: Clone,
    HttpsConnector<HttpConnector<R>>: Connect + Clone + Send + Sync + 'static,
{
    fn over(mut tcp: HttpConnector<R>, bounds: Bounds) -> Result<Self, rustls::Error> {
        let Bounds { deadlines: Deadlines { connect, total }, answer_bytes, idle_connections } = bounds;
        tcp.set_connect_timeout(Some(connect));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(idle_connections)
            .build(connector(tcp)?);
        Ok(Self { client, total, answer_bytes })
    }

    /// The whole answer, if it comes in time and is not too long.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn send(
        &self,
        builder: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Result<(StatusCode, Bytes), Unanswered> {
        let request = builder.body(Full::new(body.into())).map_err(|error| Unanswered::NotSent(error.to_string()))?;
        let late = |_| Unanswered::Unknown(format!("no answer within {} ms", self.total.as_millis()));
        tokio::time::timeout(self.total, self.exchange(request)).await.map_err(late)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Unanswered> {
        let (head, body) =
            self.client.request(request).await.map_err(|error| Unanswered::Unknown(chain(&error)))?.into_parts();
        let body = Limited::new(body, self.answer_bytes).collect().await.map_err(|error| unread(&*error))?;
        Ok((head.status, body.to_bytes()))
    }
}

fn unread(error: &(dyn Error + 'static)) -> Unanswered {
    if error.is::<LengthLimitError>() {
        Unanswered::Unknown("the answer is too long".to_owned())
    } else {
        Unanswered::Unknown(chain(error))
    }
}

/// Over TLS or without, whatever a URL says; HTTP/1.1.
pub(crate) fn connector<R>(mut tcp: HttpConnector<R>) -> Result<HttpsConnector<HttpConnector<R>>, rustls::Error> {
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let tls = HttpsConnectorBuilder::new().with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?;
    Ok(tls.https_or_http().enable_http1().wrap_connector(tcp))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What comes of one request to a server that says `answer` and then nothing more.
    async fn answered(answer: Vec<u8>, total: Duration) -> Result<(StatusCode, Bytes), Unanswered> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).await.unwrap();
            let _ = stream.write_all(&answer).await;
            std::future::pending::<()>().await;
        });
        let deadlines = Deadlines { connect: total, total };
        let http = Http::new(Bounds { deadlines, answer_bytes: 65_536, idle_connections: 1 }).unwrap();
        let answer = http.send(Request::get(uri), Bytes::new()).await;
        server.abort();
        answer
    }

    #[tokio::test]
    async fn an_answer_too_long_or_never_ending_says_nothing_about_what_was_done() {
        let endless = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{".to_vec();
        let ended = answered(endless, Duration::from_millis(200)).await.unwrap_err();
        assert!(matches!(&ended, Unanswered::Unknown(cause) if cause.contains("200 ms")), "{ended}");
        let mut long = b"HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n".to_vec();
        long.resize(long.len() + 70_000, b' ');
        let ended = answered(long, Duration::from_secs(30)).await.unwrap_err();
        assert!(matches!(&ended, Unanswered::Unknown(cause) if cause.contains("too long")), "{ended}");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let moved = b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec();
        let (status, _) = answered(moved, Duration::from_secs(30)).await.unwrap();
        assert_eq!(status, StatusCode::TEMPORARY_REDIRECT);
    }

    #[tokio::test]
    async fn what_is_no_request_was_never_sent() {
        let deadlines = Deadlines { connect: Duration::from_secs(1), total: Duration::from_secs(1) };
        let http = Http::new(Bounds { deadlines, answer_bytes: 1, idle_connections: 1 }).unwrap();
        let refused = http.send(Request::get("http://127.0.0.1/").header("x", "\n"), Bytes::new()).await.unwrap_err();
        assert!(matches!(refused, Unanswered::NotSent(_)), "{refused}");
    }
}
