//! HTTP as tests see it: whole answers, and the promises that hold for each of them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde::de::DeserializeOwned;
use shared::Problem;
use shared_clock::Entropy;

use crate::contract::{Contract, Exchange};

/// Longer than any deadline of the edge, shorter than a test's patience.
const PATIENCE: Duration = Duration::from_secs(30);

/// One caller of the edge, at an address of its own.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// `http://host:port`.
    pub origin: String,
}

impl Client {
    /// A caller in an address block that no other is likely to have: limits by address count callers apart.
    ///
    /// # Panics
    /// If no HTTP client can be made.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        let [a, b, c] = Entropy::system().bytes::<3>();
        let own = IpAddr::V4(Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254)));
        let http = reqwest::Client::builder()
            .no_proxy()
            .local_address(own)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build();
        Self { http: http.unwrap(), origin: origin.to_owned() }
    }

    /// A request to a path here.
    pub fn request(&self, method: http::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.origin))
    }

    /// `GET` of a path here.
    ///
    /// # Panics
    /// As [`send`].
    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(http::Method::GET, path)).await
    }
}

/// Sends a request to the edge and checks what holds for all of its answers.
///
/// # Panics
/// If there is no answer, or it breaks such a promise.
pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap_or_else(|error| panic!("no request: {error:?}"));
    let (method, url) = (request.method().clone(), request.url().clone());
    let sent = request.body().and_then(|body| body.as_bytes()).map(<[u8]>::to_vec);
    let answered = async { Answer::read(client.execute(request).await?).await };
    let answer = answered.await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
    answer.keeps_promises();
    if url.path().starts_with("/v1/") {
        let exchange = Exchange {
            method: &method,
            path: url.path(),
            query: url.query().unwrap_or_default(),
            request: sent.as_deref(),
            status: answer.status,
            content_type: answer.header("content-type"),
            body: &answer.body,
        };
        if let Err(difference) = Contract::of_the_cores().check(&exchange) {
            panic!("{method} {url}: {difference}: {}", answer.text());
        }
    }
    answer
}

/// Sends a request to anybody.
///
/// # Errors
/// If there is no whole answer.
pub async fn try_send(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    Answer::read(request.send().await?).await
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was asked.
    pub url: String,
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    async fn read(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let (url, status) = (response.url().to_string(), response.status().as_u16());
        let headers = response.headers().clone();
        Ok(Self { url, status, headers, body: response.bytes().await? })
    }

    /// The value of a header that is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The answer, which must have this status.
    ///
    /// # Panics
    /// If it has another.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.url, self.text().chars().take(600).collect::<String>());
        self
    }

    /// The body as JSON of that shape.
    ///
    /// # Panics
    /// If it is anything else.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{}: {error} in {}", self.url, self.text()))
    }

    /// The body as a problem (RFC 9457).
    ///
    /// # Panics
    /// If it is none, or disagrees with the status.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let kind = self.header("content-type").unwrap_or_default();
        assert_eq!(kind, shared::problem::PROBLEM_JSON, "{} {}: {}", self.url, self.status, self.text());
        let problem: Problem = self.json();
        assert_eq!(problem.status, self.status, "{}", self.url);
        problem
    }

    fn keeps_promises(&self) {
        let told = self.header("cache-status").is_some();
        assert!(told, "{} {}: no Cache-Status in {:?}", self.url, self.status, self.headers);
        let shared = self.header("cache-control").is_some_and(|value| value.contains("public"));
        assert!(!(shared && self.headers.contains_key("set-cookie")), "{}: a public answer sets a cookie", self.url);
        if self.status == 503 || self.status == 429 {
            assert!(self.header("retry-after").is_some(), "{} {}: no Retry-After", self.url, self.status);
        }
    }
}
