//! What the API does against what its document says (OpenAPI): every call of a test is held against it.

use std::collections::{BTreeSet, HashMap};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};

use http::Method;
use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::place;

/// A call of the API and its answer.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// How it was called.
    pub method: &'a Method,
    /// The path, as on the wire.
    pub path: &'a str,
    /// The query, as on the wire.
    pub query: &'a str,
    /// What was sent.
    pub request: Option<&'a [u8]>,
    /// What came back.
    pub status: u16,
    /// Of which media type.
    pub content_type: Option<&'a str>,
    /// What it says.
    pub body: &'a [u8],
}

/// A document that calls are held against.
#[derive(Debug)]
pub struct Contract {
    document: Value,
    /// Of schemas, by where they stand in the document.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Contract {
    /// What the cores under test say that their API is.
    ///
    /// # Panics
    /// If they cannot say.
    pub fn of_the_cores() -> &'static Self {
        static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
            let said = Command::new(place::program("region-core")).arg("openapi").output().unwrap();
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
            Contract::new(serde_json::from_slice(&said.stdout).unwrap())
        });
        &CONTRACT
    }

    /// A contract of that document, read strictly: what it does not name is not there.
    #[must_use]
    pub fn new(mut document: Value) -> Self {
        let mut parts = BTreeSet::new();
        parts_of_others(&document, &mut parts);
        let schemas = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
        for (name, schema) in schemas.into_iter().flatten() {
            // A part of another cannot say that there is no more; problems have members of their own.
            let open = parts.contains(name) || name == "Problem";
            let object = ["properties", "allOf", "oneOf"].iter().any(|key| schema.get(key).is_some());
            if object && !open && schema.get("additionalProperties").is_none() {
                schema["unevaluatedProperties"] = json!(false);
            }
        }
        Self { document, validators: Mutex::default() }
    }

    /// `METHOD path` and what is said of it, for each operation.
    ///
    /// # Panics
    /// If the document has no paths.
    pub fn operations(&self) -> impl Iterator<Item = (String, &Value)> {
        let paths = self.document["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| {
            let operations = item.as_object().unwrap().iter();
            operations.map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
        })
    }

    /// Holds a call against the document.
    ///
    /// # Errors
    /// In what they differ.
    pub fn check(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        let Exchange { method, path, status, .. } = exchange;
        let problem = exchange.content_type == Some(shared::problem::PROBLEM_JSON);
        let Some((template, operation)) = self.find(method, path) else {
            return if problem { Ok(()) } else { Err(format!("{method} {path} is not in the document: {status}")) };
        };
        let at = format!("/paths/{}/{}", escaped(template), method.as_str().to_lowercase());
        let said = if problem { "default".to_owned() } else { status.to_string() };
        let response = operation["responses"].get(&said);
        let response = response.ok_or_else(|| format!("{method} {template} does not say that it answers {status}"))?;
        let at_response = match response["$ref"].as_str() {
            Some(elsewhere) => elsewhere.trim_start_matches('#').to_owned(),
            None => format!("{at}/responses/{said}"),
        };
        self.fits(&at_response, exchange.content_type, exchange.body, "the answer")?;
        if (200..300).contains(status) {
            self.was_asked_for(&at, operation, exchange)?;
        }
        Ok(())
    }

    /// Whether what was sent, and was not refused, is what is said to be taken.
    fn was_asked_for(&self, at: &str, operation: &Value, exchange: &Exchange<'_>) -> Result<(), String> {
        let named = operation["parameters"].as_array().into_iter().flatten();
        let mut needed = named.filter(|one| one["in"] == "query" && one["required"] == true).map(|one| &one["name"]);
        let asked = |name: &Value| exchange.query.split('&').any(|pair| pair.split('=').next() == name.as_str());
        if let Some(missing) = needed.find(|name| !asked(name)) {
            return Err(format!("what was taken has no {missing}, which is said to be required"));
        }
        let sent = exchange.request.unwrap_or_default();
        match operation.get("requestBody") {
            None => Ok(()),
            Some(body) if sent.is_empty() && body["required"] != true => Ok(()),
            Some(_) => self.fits(&format!("{at}/requestBody"), Some("application/json"), sent, "what was taken"),
        }
    }

    /// The operation whose path it is: what is spelt out goes before what stands for anything.
    fn find(&self, method: &Method, path: &str) -> Option<(&str, &Value)> {
        let fits = |template: &str| {
            let (mut said, mut asked) = (template.split('/'), path.split('/'));
            loop {
                match (said.next(), asked.next()) {
                    (None, None) => return true,
                    (Some(said), Some(asked)) if said == asked || said.starts_with('{') => {}
                    _ => return false,
                }
            }
        };
        let paths = self.document["paths"].as_object()?.iter().filter(|(template, _)| fits(template));
        let (template, item) = paths.min_by_key(|(template, _)| template.matches('{').count())?;
        Some((template, item.get(method.as_str().to_lowercase())?))
    }

    /// Whether a body is as the response or the request that stands there says.
    fn fits(&self, at: &str, media: Option<&str>, body: &[u8], what: &str) -> Result<(), String> {
        let content = self.document.pointer(at).and_then(|part| part["content"].as_object());
        let Some(content) = content else {
            return if body.is_empty() {
                Ok(())
            } else {
                Err(format!("{what} has a body and none is said to be: {at}"))
            };
        };
        let media = media.unwrap_or_default();
        if !content.contains_key(media) {
            return Err(format!("{what} is {media:?} and not said to be: {at}"));
        }
        if !media.ends_with("json") {
            return Ok(());
        }
        let body: Value = serde_json::from_slice(body).map_err(|error| format!("{what}: {error}"))?;
        let validator = self.validator(format!("{at}/content/{}/schema", escaped(media)));
        let faults: Vec<_> =
            validator.iter_errors(&body).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        if faults.is_empty() { Ok(()) } else { Err(format!("{what} is not as {at} says: {}", faults.join("; "))) }
    }

    fn validator(&self, at: String) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let made = validators.entry(at).or_insert_with_key(|at| {
            let mut whole = self.document.clone();
            whole["$ref"] = json!(format!("#{}", at.replace('{', "%7B").replace('}', "%7D")));
            let validator =
                jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true).build(&whole);
            Arc::new(validator.unwrap_or_else(|error| panic!("{at}: {error}")))
        });
        Arc::clone(made)
    }
}

/// Names of the schemas that others are put together from.
fn parts_of_others(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for part in members.get("allOf").and_then(Value::as_array).into_iter().flatten() {
                found.extend(part["$ref"].as_str().and_then(|at| at.rsplit('/').next()).map(str::to_owned));
            }
            members.values().for_each(|member| parts_of_others(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| parts_of_others(item, found)),
        _ => {}
    }
}

/// As a JSON pointer has it (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract() -> Contract {
        let shape =
            json!({ "type": "object", "required": ["version"], "properties": { "version": { "type": "integer" } } });
        let ok = |schema: &str| json!({ "content": { "application/json": { "schema": { "$ref": schema } } } });
        let mut cart = ok("#/components/schemas/Cart");
        cart["required"] = json!(true);
        let problem = json!({ "content": { "application/problem+json": { "schema": { "type": "object" } } } });
        Contract::new(json!({
            "paths": { "/v1/carts/{cart_id}": {
                "get": {
                    "parameters": [{ "in": "query", "name": "min_version", "required": true }],
                    "responses": { "200": ok("#/components/schemas/Cart"), "304": {}, "default": { "$ref": "#/components/responses/Problem" } },
                },
                "post": { "requestBody": cart, "responses": { "204": {} } },
            } },
            "components": { "schemas": { "Cart": shape }, "responses": { "Problem": problem } },
        }))
    }

    const ASKED: Exchange<'static> = Exchange {
        method: &Method::GET,
        path: "/v1/carts/7",
        query: "min_version=1",
        request: None,
        status: 200,
        content_type: Some("application/json"),
        body: br#"{"version":1}"#,
    };

    #[test]
    fn a_call_that_is_as_the_document_says_passes() {
        let problem = Some(shared::problem::PROBLEM_JSON);
        let method = &Method::POST;
        for exchange in [
            ASKED,
            Exchange { status: 304, body: b"", content_type: None, ..ASKED },
            Exchange { status: 503, body: b"{}", content_type: problem, ..ASKED },
            Exchange {
                method,
                status: 204,
                request: Some(ASKED.body),
                body: b"",
                content_type: None,
                query: "",
                ..ASKED
            },
            Exchange { path: "/v1/nothing", status: 404, body: b"{}", content_type: problem, ..ASKED },
        ] {
            assert_eq!(contract().check(&exchange), Ok(()), "{exchange:?}");
        }
    }

    #[test]
    fn a_call_that_is_not_is_found() {
        let method = &Method::POST;
        for exchange in [
            Exchange { body: b"{}", ..ASKED },
            Exchange { body: b"{", ..ASKED },
            Exchange { status: 201, ..ASKED },
            Exchange { status: 304, ..ASKED },
            Exchange { content_type: Some("text/html"), ..ASKED },
            Exchange { path: "/v1/nothing", ..ASKED },
            Exchange { query: "", ..ASKED },
            Exchange { body: br#"{"version":1,"colour":"red"}"#, ..ASKED },
            Exchange { status: 503, body: b"[]", content_type: Some(shared::problem::PROBLEM_JSON), ..ASKED },
            Exchange { method, status: 204, request: Some(b"[]"), body: b"", content_type: None, query: "", ..ASKED },
            Exchange { method, status: 204, request: None, body: b"", content_type: None, query: "", ..ASKED },
        ] {
            assert!(contract().check(&exchange).is_err(), "{exchange:?} passed");
        }
    }
}
