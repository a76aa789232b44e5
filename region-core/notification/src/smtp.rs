//! One mail server, reached by SMTP (RFC 5321): in clear on this machine alone, elsewhere over TLS.
//!
//! The commands are given one by one, for what a 5xx means depends on which of them it answers. Connections are used
//! again while they are fresh.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::mail::Mail;
use crate::rules::{Outcome, Stage};

/// How long a connection may take to be made, or to show that it still stands.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// How long an unused connection is kept: less than the shortest patience of common servers.
const IDLE: Duration = Duration::from_secs(20);
/// Most unused connections kept.
const MOST_IDLE: usize = 16;

/// A mail server and how to speak to it.
pub struct Smtp {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
    hello: ClientId,
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

/// How a connection is protected.
enum Security {
    /// Not at all.
    None,
    /// It turns to TLS before anything is said, or ends (RFC 3207).
    StartTls(TlsParameters),
    /// TLS from its first byte (RFC 8314).
    Tls(TlsParameters),
}

/// Why a URL does not name a mail server. Never the URL itself, for it holds a password.
#[derive(Debug, thiserror::Error)]
pub enum SmtpUrlError {
    /// Not a URL of that form.
    #[error("not of the form smtp://HOST or smtps://HOST, with USER:PASSWORD@ and :PORT if need be")]
    Form,
    /// A query that is not known.
    #[error("after the question mark only tls=none is known")]
    Query,
    /// A password would be sent in clear.
    #[error("tls=none and a password do not go together")]
    PasswordInClear,
    /// The authority's certificate, or the server's name, cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] Error),
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Smtp {
    /// The server at `url`, to which we are `hello`, a domain. `smtps://` is TLS, from port 465 on unless another is named;
    /// `smtp://` is STARTTLS at port 587, but in clear at port 25 if the host is this machine or the query says `tls=none`.
    /// `authority` is a certificate in PEM that is trusted beside the machine's own.
    ///
    /// # Errors
    /// [`SmtpUrlError`].
    pub fn new(url: &SecretString, hello: &str, authority: Option<&[u8]>) -> Result<Self, SmtpUrlError> {
        let url = Url::parse(url.expose_secret()).map_err(|_| SmtpUrlError::Form)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(SmtpUrlError::Form)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(SmtpUrlError::Form);
        }
        let credentials = credentials(&url)?;
        let tls = || tls_of(&host, authority);
        let (security, port) = match (url.scheme(), url.query()) {
            ("smtps", None) => (Security::Tls(tls()?), 465),
            ("smtp", None) if is_this_machine(&host) => (Security::None, 25),
            ("smtp", None) => (Security::StartTls(tls()?), 587),
            ("smtp", Some("tls=none")) if credentials.is_some() => return Err(SmtpUrlError::PasswordInClear),
            ("smtp", Some("tls=none")) => (Security::None, 25),
            ("smtp", Some("tls=required")) => (Security::StartTls(tls()?), 587),
            ("smtp" | "smtps", Some(_)) => return Err(SmtpUrlError::Query),
            _ => return Err(SmtpUrlError::Form),
        };
        let (port, hello) = (url.port().unwrap_or(port), ClientId::Domain(hello.to_owned()));
        Ok(Self { host, port, security, credentials, hello, idle: Mutex::default() })
    }

    /// Hands `mail` over. The caller bounds the time; a future that is dropped leaves nothing behind, but the server may have
    /// taken the mail all the same.
    pub(crate) async fn send(&self, mail: &Mail) -> Outcome {
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => return outcome(Stage::Greeting, &error),
        };
        match hand_over(&mut connection, mail).await {
            Ok(()) => {
                self.keep(connection);
                Outcome::Sent
            }
            Err(Refusal::Said(stage, error)) => {
                connection.abort().await;
                outcome(stage, &error)
            }
            Err(Refusal::Unspeakable) => {
                self.keep(connection);
                Outcome::Bounced("the mail server takes no addresses beyond ASCII".to_owned())
            }
        }
    }

    /// A connection on which nothing is under way.
    async fn connection(&self) -> Result<AsyncSmtpConnection, Error> {
        while let Some(mut connection) = self.fresh() {
            if let Ok(true) = timeout(CONNECTED_WITHIN, connection.test_connected()).await {
                return Ok(connection);
            }
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let from_the_start = match &self.security {
            Security::Tls(tls) => Some(tls.clone()),
            Security::None | Security::StartTls(_) => None,
        };
        let server = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(CONNECTED_WITHIN), &self.hello, from_the_start, None)
                .await?;
        if let Security::StartTls(tls) = &self.security {
            connection.starttls(tls.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await?;
        }
        Ok(connection)
    }

    fn fresh(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < IDLE);
        idle.pop().map(|(connection, _)| connection)
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push((connection, Instant::now()));
        }
    }
}

/// Why a mail was not taken.
enum Refusal {
    /// The server said so, or nothing, at that stage.
    Said(Stage, Error),
    /// The address cannot be told to this server; it was told nothing.
    Unspeakable,
}

async fn hand_over(connection: &mut AsyncSmtpConnection, mail: &Mail) -> Result<(), Refusal> {
    let mut parameters = Vec::new();
    let addresses = mail.envelope.to().iter().chain(mail.envelope.from());
    if addresses.map(AsRef::<str>::as_ref).any(|address| !address.is_ascii()) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(Refusal::Unspeakable);
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    let said = |stage| move |error| Refusal::Said(stage, error);
    let sender = MailFrom::new(mail.envelope.from().cloned(), parameters);
    connection.command(sender).await.map_err(said(Stage::Sender))?;
    for recipient in mail.envelope.to() {
        connection.command(Rcpt::new(recipient.clone(), Vec::new())).await.map_err(said(Stage::Recipient))?;
    }
    connection.command(Data).await.map_err(said(Stage::Message))?;
    connection.message(&mail.bytes).await.map_err(said(Stage::Message))?;
    Ok(())
}

fn outcome(stage: Stage, error: &Error) -> Outcome {
    let code = error.status().map(u16::from);
    // Of an answer its own words, else what went wrong with the connection.
    let words = std::error::Error::source(error).filter(|_| code.is_some());
    stage.outcome(code, words.map_or_else(|| error.to_string(), ToString::to_string))
}

fn credentials(url: &Url) -> Result<Option<Credentials>, SmtpUrlError> {
    let decoded = |text| percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| SmtpUrlError::Form);
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        (user, Some(password)) if !user.is_empty() => Ok(Some(Credentials::new(decoded(user)?, decoded(password)?))),
        _ => Err(SmtpUrlError::Form),
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn tls_of(host: &str, authority: Option<&[u8]>) -> Result<TlsParameters, SmtpUrlError> {
    let mut tls = TlsParameters::builder(host.to_owned());
    if let Some(pem) = authority {
        tls = tls.add_root_certificate(Certificate::from_pem(pem)?);
    }
    Ok(tls.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Smtp, SmtpUrlError> {
        Smtp::new(&SecretString::from(url), "shop.example", None)
    }

    #[test]
    fn a_url_says_how_mail_is_protected() {
        let spoken = |url: &str| {
            let smtp = read(url).unwrap();
            let security = match smtp.security {
                Security::None => "clear",
                Security::StartTls(_) => "starttls",
                Security::Tls(_) => "tls",
            };
            (security, smtp.host.clone(), smtp.port, smtp.credentials.is_some())
        };
        let host = |name: &str| name.to_owned();
        assert_eq!(spoken("smtp://127.0.0.1:1025"), ("clear", host("127.0.0.1"), 1025, false));
        assert_eq!(spoken("smtp://localhost"), ("clear", host("localhost"), 25, false));
        assert_eq!(spoken("smtp://[::1]:1025/"), ("clear", host("::1"), 1025, false));
        assert_eq!(spoken("smtp://a%40b:p%3Aw@mail.example"), ("starttls", host("mail.example"), 587, true));
        assert_eq!(spoken("smtp://localhost:587?tls=required"), ("starttls", host("localhost"), 587, false));
        assert_eq!(spoken("smtps://ada:secret@mail.example"), ("tls", host("mail.example"), 465, true));
        assert_eq!(spoken("smtp://mail.internal?tls=none"), ("clear", host("mail.internal"), 25, false));
    }

    #[test]
    fn a_bad_url_is_refused_and_never_repeated() {
        for url in [
            "mail.example",
            "http://ada:secret@mail.example",
            "smtp://",
            "smtp://ada:secret@mail.example?tls=none",
            "smtp://ada:secret@mail.example?verify=no",
            "smtps://ada:secret@mail.example?tls=none",
            "smtp://:secret@mail.example",
            "smtp://ada:secret@mail.example/inbox",
        ] {
            let error = read(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{url}: {error}");
        }
        assert!(!format!("{:?}", read("smtps://ada:secret@mail.example").unwrap()).contains("secret"));
    }
}
