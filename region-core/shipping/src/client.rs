//! HTTP to a carrier: deadlines, bounded answers, a bounded pool of idle connections, no redirects, no proxy.

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
use region_core_outbound::resolver::Resolver;
use region_core_outbound::target::Guard;

use crate::carrier::CarrierError;

/// Idle connections kept.
const IDLE_CONNECTIONS: usize = 16;
/// How long a connection is kept idle.
const IDLE: Duration = Duration::from_secs(60);

/// How long the carrier may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// To be reached.
    pub connect: Duration,
    /// For the whole exchange: brokers ask carriers in turn, and are slow.
    pub total: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), total: Duration::from_secs(20) }
    }
}

/// A client for one carrier. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Http<R = GaiResolver> {
    client: Client<HttpsConnector<HttpConnector<R>>, Full<Bytes>>,
    total: Duration,
}

impl Http {
    /// # Errors
    /// If TLS cannot be set up.
    pub(crate) fn new(deadlines: Deadlines) -> Result<Self, rustls::Error> {
        Self::over(HttpConnector::new(), deadlines, IDLE_CONNECTIONS)
    }
}

impl Http<Resolver> {
    /// Leads to what the guard allows and nowhere else; a connection that was kept would lead where its name led then. Written
    /// addresses are for whoever calls to judge.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub(crate) fn guarded(guard: Guard, deadlines: Deadlines) -> Result<Self, rustls::Error> {
        Self::over(HttpConnector::new_with_resolver(Resolver(guard)), deadlines, 0)
    }
}

impl<R> Http<R>
where
    R: Clone,
    HttpsConnector<HttpConnector<R>>: Connect + Clone + Send + Sync + 'static,
{
    fn over(mut tcp: HttpConnector<R>, deadlines: Deadlines, idle: usize) -> Result<Self, rustls::Error> {
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
            .pool_max_idle_per_host(idle)
            .build(connector);
        Ok(Self { client, total: deadlines.total })
    }

    /// The whole answer, if it comes in time and has at most `most_bytes`.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        most_bytes: usize,
    ) -> Result<(StatusCode, Bytes), CarrierError> {
        let late = |_| CarrierError::Unknown(format!("no answer within {} ms", self.total.as_millis()));
        tokio::time::timeout(self.total, self.exchange(request, most_bytes)).await.map_err(late)?
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        most_bytes: usize,
    ) -> Result<(StatusCode, Bytes), CarrierError> {
        let (head, body) = self.client.request(request).await.map_err(|error| unknown(&error))?.into_parts();
        let body = Limited::new(body, most_bytes).collect().await.map_err(|error| unread(&*error))?;
        Ok((head.status, body.to_bytes()))
    }
}

fn unread(error: &(dyn Error + 'static)) -> CarrierError {
    if error.is::<LengthLimitError>() {
        CarrierError::Unknown("the answer is too long".to_owned())
    } else {
        unknown(error)
    }
}

/// The chain in one line.
fn unknown(error: &(dyn Error + 'static)) -> CarrierError {
    let chain = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    CarrierError::Unknown(chain.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}
