//! Path and query parameters.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path as AxumPath};
use http::request::Parts;
use serde::de::DeserializeOwned;
use shared::{Problem, ProblemKind};

use crate::body::shape_problem;

/// Query parameters, percent-decoded. 422 names the parameter that does not fit.
///
/// A repeated parameter (`sku=A&sku=B`) is read as `Query<Vec<(String, String)>>`.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(
    /// The parameters.
    pub T,
);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let reader = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(reader).map_err(|error| shape_problem(&error.path().to_string(), error.inner()))
}

/// Path parameters. A parameter that cannot be one is 404: nothing is there.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(
    /// The parameters.
    pub T,
);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match AxumPath::from_request_parts(parts, state).await {
            Ok(AxumPath(value)) => Ok(Self(value)),
            Err(rejection) => Err(path_problem(&rejection)),
        }
    }
}

fn path_problem(rejection: &PathRejection) -> Problem {
    let not_found = |detail: &str| Problem::not_found().detail(detail);
    match rejection {
        PathRejection::FailedToDeserializePathParams(failed) => match failed.kind() {
            ErrorKind::ParseErrorAtKey { key, .. } => not_found("the path does not name one").field(key),
            ErrorKind::InvalidUtf8InPathParam { key } => {
                Problem::new(ProblemKind::Malformed).detail("the path is not UTF-8").field(key)
            }
            // The rest of what a caller can cause reads the same; a wrong tuple or type is caught by the route's test.
            _ => not_found("the path does not name one"),
        },
        _ => Problem::new(ProblemKind::Internal),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Paging {
        limit: u8,
        cursor: Option<String>,
    }

    #[test]
    fn a_parameter_that_does_not_fit_is_named() {
        let field = |query: &str| parse_query::<Paging>(query).unwrap_err().members["field"].clone();
        assert_eq!(field("limit=many"), "limit");
        assert_eq!(field("cursor=x"), "limit");
        assert_eq!(field("limit=1&offset=2"), "offset");
    }

    #[test]
    fn parameters_are_decoded() {
        let Paging { limit, cursor } = parse_query("limit=7&cursor=a%20b%2Bc").unwrap();
        assert_eq!((limit, cursor.as_deref()), (7, Some("a b+c")));
    }
}
