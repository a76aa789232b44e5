//! Who is asking: the subject of a verified bearer token, and nothing else.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use shared::token::{Claims, Role};
use shared::{Problem, ProblemKind, UserId};

use crate::Verifier;

/// A caller whose bearer token verified; guests too. 401 otherwise.
///
/// `Option<SignedIn>` is `None` without an `Authorization` header; one that does not verify is 401 all the same.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// What the token says.
    pub claims: Claims,
}

impl SignedIn {
    /// The caller.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.claims.sub
    }

    /// Whether the caller keeps the store: a merchant or an operator.
    #[must_use]
    pub fn keeps_store(&self) -> bool {
        self.claims.keeps_store()
    }
}

/// A caller who keeps the store, a merchant or an operator: 401 without a token that verifies, 403 for everybody else,
/// before anything else of the request is looked at if it stands first.
#[derive(Clone, Debug)]
pub struct StoreKeeper {
    /// What the token says.
    pub claims: Claims,
}

impl<S: Send + Sync> FromRequestParts<S> for StoreKeeper {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = <SignedIn as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        if caller.keeps_store() {
            Ok(Self { claims: caller.claims })
        } else {
            Err(Problem::new(ProblemKind::Forbidden).detail("only merchants and operators keep the store"))
        }
    }
}

/// A caller who runs the store, an operator: as [`StoreKeeper`], and 403 for merchants too.
#[derive(Clone, Debug)]
pub struct Operator {
    /// What the token says.
    pub claims: Claims,
}

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = <SignedIn as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        if caller.claims.has(Role::Operator) {
            Ok(Self { claims: caller.claims })
        } else {
            Err(Problem::new(ProblemKind::Forbidden).detail("only operators do this"))
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let verifier = verifier_of(parts)?;
        let token = bearer(&parts.headers)?.ok_or_else(|| Problem::new(ProblemKind::NotSignedIn))?;
        let claims = verifier.verify_or_look(token).await;
        let claims = claims.map_err(|error| Problem::new(ProblemKind::NotSignedIn).detail(error))?;
        Ok(Self { claims })
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Problem> {
        if !parts.headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        <Self as FromRequestParts<S>>::from_request_parts(parts, state).await.map(Some)
    }
}

fn verifier_of(parts: &Parts) -> Result<Verifier, Problem> {
    parts.extensions.get().cloned().ok_or_else(|| {
        tracing::error!("a route asks who is signed in, but Front::wrap was not called on its router");
        Problem::new(ProblemKind::Internal)
    })
}

/// The bearer token (RFC 6750 section 2.1), if there is an `Authorization` header at all.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let refuse = || Problem::new(ProblemKind::NotSignedIn).detail("send one Authorization header: Bearer and a token");
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(refuse)?;
    let fits = scheme.eq_ignore_ascii_case("bearer") && values.next().is_none();
    if fits { Ok(Some(token.trim())) } else { Err(refuse()) }
}
