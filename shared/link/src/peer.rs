//! Who is at the other end: the one DNS name in a peer's certificate.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use axum::extract::{FromRequestParts, State};
use http::request::Parts;
use rustls_pki_types::CertificateDer;
use shared::{Problem, ProblemKind, RegionName};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A machine's name, as its certificate states it: `core.<region>` or `pop.<name>`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PeerName {
    /// A core of that region.
    Core(RegionName),
    /// A point of presence: 1 to 63 of `a-z 0-9 -`.
    Pop(String),
}

/// Why a certificate names no peer of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAPeer {
    /// Not a DER certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// A peer has exactly one subject alternative name, a DNS name: with two it would be two peers.
    #[error("the certificate has no, or more than one, subject alternative name")]
    NotOneName,
    /// The name is neither `core.<region>` nor `pop.<name>`.
    #[error("{0:?} is neither core.<region> nor pop.<name>")]
    UnknownName(String),
}

impl PeerName {
    /// The name in an end-entity certificate. Says nothing about whether the certificate is to be trusted.
    ///
    /// # Errors
    /// Anything but one DNS name of a core or PoP.
    pub fn in_certificate(certificate: &CertificateDer<'_>) -> Result<Self, NotAPeer> {
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| NotAPeer::Unreadable)?;
        let names = certificate.subject_alternative_name().map_err(|_| NotAPeer::Unreadable)?;
        match names.map(|extension| extension.value.general_names.as_slice()) {
            Some([GeneralName::DNSName(name)]) => name.parse(),
            _ => Err(NotAPeer::NotOneName),
        }
    }

    /// Whether this is a core, of whichever region.
    #[must_use]
    pub fn is_core(&self) -> bool {
        matches!(self, Self::Core(_))
    }
}

impl FromStr for PeerName {
    type Err = NotAPeer;

    fn from_str(name: &str) -> Result<Self, NotAPeer> {
        let refuse = || NotAPeer::UnknownName(name.chars().take(80).collect());
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        match name.split_once('.') {
            Some(("core", region)) => region.parse().map(Self::Core).map_err(|_| refuse()),
            Some(("pop", pop)) if (1..=63).contains(&pop.len()) && pop.bytes().all(plain) => {
                Ok(Self::Pop(pop.to_owned()))
            }
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(region) => write!(f, "core.{region}"),
            Self::Pop(name) => write!(f, "pop.{name}"),
        }
    }
}

/// The machine that sent a request, proven by its certificate. In every request's extensions; an axum extractor, too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// What its certificate says.
    pub name: PeerName,
    /// Where its packets come from.
    pub address: SocketAddr,
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Problem;

    /// 403 on listeners that have no peers.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| ProblemKind::Forbidden.into())
    }
}

/// Middleware for a whole router that only cores may call: 403 for everyone else.
///
/// ```
/// use axum::{Router, middleware, routing::get};
/// let internal: Router = Router::new()
///     .route("/internal/transfers", get(|| async {}))
///     .layer(middleware::from_fn(shared_link::peer::only_cores));
/// ```
///
/// # Errors
/// Never: a refusal is an answer.
pub async fn only_cores(
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Result<axum::response::Response, Infallible> {
    let core = request.extensions().get::<Peer>().is_some_and(|peer| peer.name.is_core());
    if core {
        Ok(next.run(request).await)
    } else {
        Ok(axum::response::IntoResponse::into_response(Problem::from(ProblemKind::Forbidden)))
    }
}

/// Middleware, with the region as its state, for a router that only cores of that region may call: 403 for everyone else.
///
/// # Errors
/// Never: a refusal is an answer.
pub async fn only_cores_of(
    State(region): State<RegionName>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Result<axum::response::Response, Infallible> {
    let own = PeerName::Core(region);
    if request.extensions().get::<Peer>().is_some_and(|peer| peer.name == own) {
        Ok(next.run(request).await)
    } else {
        Ok(axum::response::IntoResponse::into_response(Problem::from(ProblemKind::Forbidden)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_core_or_pop_and_nothing_else() {
        assert_eq!("core.eu".parse(), Ok(PeerName::Core("eu".parse().unwrap())));
        assert_eq!("pop.pop-1".parse(), Ok(PeerName::Pop("pop-1".to_owned())));
        for bad in ["", "core", "core.", "core.EU", "core.eu.evil", "pop.", "pop.a.b", "*.eu", "core.*", "www.eu"] {
            assert!(bad.parse::<PeerName>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_name_survives_its_spelling() {
        for name in ["core.eu", "pop.pop-1"] {
            assert_eq!(name.parse::<PeerName>().unwrap().to_string(), name);
        }
    }
}
