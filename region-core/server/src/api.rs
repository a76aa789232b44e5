//! `GET /v1/openapi.json`: what the API is, for programs (OpenAPI 3.1).
//!
//! Each service describes its routes beside them; here they are put together, with what holds for all of them.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use http::header::{ETAG, IF_NONE_MATCH};
use region_core_catalog::cacheable;
use region_core_web::{IfNoneMatch, PREFER, PREFERENCE_APPLIED};
use serde_json::value::RawValue;
use shared::idempotency::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};
use shared::problem::PROBLEM_JSON;
use shared::{Problem, ProblemKind};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, Content, Header, Object, OpenApi as Document, Ref, RefOr, ResponseBuilder, Schema, Type,
};
use utoipa::{Modify, OpenApi};

use crate::directory;

/// Every part of the API, and what the parts share.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Meridian",
        description = "An open-source store that sells near its shoppers and never sells what it does not have. \
            Money is in the currency's smallest unit. Instants are RFC 3339. \
            What is not possible is answered with a problem (RFC 9457).",
    ),
    paths(document),
    components(schemas(Problem)),
    modifiers(&Everywhere),
)]
struct Whole;

/// What holds for every route.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, whole: &mut Document) {
        for part in parts() {
            whole.merge(part);
        }
        let components = whole.components.get_or_insert_with(Components::new);
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").description(Some(
            "An access token: of `POST /v1/guests`, `/v1/accounts` or `/v1/sessions`. Where roles are named, the user must have one.",
        ));
        components.add_security_scheme("bearer", SecurityScheme::Http(token.build()));
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        let problem = ResponseBuilder::new().description(kinds_of_problem()).content(PROBLEM_JSON, content);
        let problem = problem
            .header("retry-after", said("Seconds after which the same request may succeed: of what passes by itself."));
        components.responses.insert("Problem".to_owned(), problem.build().into());
        for path in whole.paths.paths.values_mut() {
            let operations = [&mut path.get, &mut path.post, &mut path.patch, &mut path.delete];
            operations.into_iter().flatten().for_each(complete);
        }
    }
}

/// Says what an operation need not say by itself: how it fails, and what comes with a key, a preference or a tag.
fn complete(operation: &mut Operation) {
    let problem = RefOr::Ref(Ref::from_response_name("Problem"));
    operation.responses.responses.insert("default".to_owned(), problem);
    if takes(operation, IF_NONE_MATCH.as_str()) {
        let same = ResponseBuilder::new().description("Nothing has changed, as If-None-Match says.").build();
        operation.responses.responses.insert("304".to_owned(), same.into());
    }
    let known = [
        (IF_NONE_MATCH.as_str(), ETAG.as_str(), "Names what is told: for If-None-Match."),
        (PREFER, PREFERENCE_APPLIED, "`wait=N` if the wait was heeded."),
        (IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED, "`true` if it is known that an earlier request under the key made it."),
    ];
    let known: Vec<_> = known.into_iter().filter(|(asked, ..)| takes(operation, asked)).collect();
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        for (_, name, about) in known.iter().filter(|_| status.starts_with('2')) {
            response.headers.insert((*name).to_owned(), said(about));
        }
    }
    // A body that may be left out is not `null`.
    for content in operation.request_body.iter_mut().flat_map(|body| body.content.values_mut()) {
        if let Some(RefOr::T(Schema::OneOf(either))) = &content.schema {
            let shape = either.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned();
            content.schema = shape.or_else(|| content.schema.clone());
        }
    }
}

/// Whether it takes that header.
fn takes(operation: &Operation, header: &str) -> bool {
    let mut parameters = operation.parameters.iter().flatten();
    parameters.any(|one| matches!(one.parameter_in, ParameterIn::Header) && one.name == header)
}

fn said(about: &str) -> Header {
    HeaderBuilder::new().schema(Object::with_type(Type::String)).description(Some(about)).build()
}

fn parts() -> impl Iterator<Item = Document> {
    [
        region_core_catalog::Api::openapi(),
        region_core_search::Api::openapi(),
        region_core_inventory::Api::openapi(),
        region_core_inventory::ledger::Api::openapi(),
        region_core_account::Api::openapi(),
        region_core_cart::Api::openapi(),
        region_core_order::Api::openapi(),
        region_core_payment::Api::openapi(),
        region_core_shipping::Api::openapi(),
        region_core_notification::Api::openapi(),
        region_core_webhook::Api::openapi(),
        directory::Api::openapi(),
    ]
    .into_iter()
}

/// Every `type` there is, as Markdown.
fn kinds_of_problem() -> String {
    let line = |kind: &ProblemKind| format!("\n- `{}` ({}): {}", kind.uri(), kind.status(), kind.about());
    ProblemKind::ALL.iter().map(line).fold("What was not possible, by `type`:\n".to_owned(), |text, line| text + &line)
}

/// The document's text, and the tag that names it.
#[derive(Clone)]
pub(crate) struct Written {
    text: Arc<RawValue>,
    tag: Arc<str>,
}

impl Written {
    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn new() -> serde_json::Result<Self> {
        let text = serde_json::value::to_raw_value(&Whole::openapi())?;
        // The same in each process that says the same.
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(text.get());
        Ok(Self { text: text.into(), tag: format!("\"openapi-{hash:016x}\"").into() })
    }
}

/// Prints it to standard output.
pub(crate) fn print() -> anyhow::Result<()> {
    println!("{}", Whole::openapi().to_pretty_json()?);
    Ok(())
}

/// The document's route.
pub(crate) fn router(written: Written) -> Router {
    Router::new().route("/v1/openapi.json", get(document)).with_state(written)
}

/// This document.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "get_openapi", tag = "directory",
    params(IfNoneMatch),
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
async fn document(State(Written { text, tag }): State<Written>, headers: HeaderMap) -> Result<Response, Problem> {
    cacheable(&headers, &tag, "openapi", || text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn written() -> Value {
        serde_json::to_value(Whole::openapi()).unwrap()
    }

    fn operations(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
        let paths = document["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| item.as_object().unwrap().values().map(move |operation| (path, operation)))
    }

    /// Every `$ref` in there.
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn whatever_the_document_refers_to_is_in_it() {
        let document = written();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 50, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn operations_have_names_of_their_own_and_say_what_they_are_for_and_how_they_fail() {
        let document = written();
        let mut names = BTreeSet::new();
        for (path, operation) in operations(&document) {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "{name} twice");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{name}");
            assert_eq!(operation["responses"]["default"]["$ref"], "#/components/responses/Problem", "{name}");
            let named = operation["parameters"].as_array().into_iter().flatten();
            let named: BTreeSet<_> =
                named.filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap()).collect();
            assert_eq!(named.len(), path.matches('{').count(), "{path}: {named:?}");
        }
        assert!(names.len() > 60, "{names:?}");
    }

    #[test]
    fn schemas_of_different_services_have_different_names() {
        let named = |document: &Document| document.components.clone().unwrap_or_default().schemas;
        let mut all = std::collections::BTreeMap::new();
        for part in parts() {
            for (name, schema) in named(&part) {
                let schema = serde_json::to_value(schema).unwrap();
                let known = all.entry(name.clone()).or_insert_with(|| schema.clone());
                assert_eq!(*known, schema, "{name} are two");
            }
        }
    }
}
