//! Requests and responses between JavaScript and Rust.
//!
//! The `worker` crate can do this too, at several times the cost: it makes a stream of every body. Bodies here are whole,
//! because most that passes is short: requests at most 256 KiB, answers finished pages. Only an answer that does not know its
//! length goes on as a stream.

use axum::Router;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use edge_app::{ClientAddress, Hit};
use futures_util::StreamExt;
use http::response::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use shared::api::MAX_BODY_BYTES;
use shared::{Problem, ProblemKind};
use tower_service::Service;
use wasm_streams::ReadableStream;
use worker::js_sys::{Array, Reflect, Uint8Array};
use worker::wasm_bindgen::{JsCast, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::web_sys::{self, Headers, ReadableStreamDefaultReader, ResponseInit};

use crate::rules;

/// A request as the app knows it.
///
/// # Errors
/// A body that is too long or breaks off, or a method or address that is none.
pub(crate) async fn request_in(request: &web_sys::Request, url: &str) -> Result<Request<Body>, Problem> {
    let malformed = || Problem::new(ProblemKind::Malformed);
    let (path, query) = rules::path_and_query(url);
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let body = match request.body() {
        Some(stream) => read(&stream, MAX_BODY_BYTES).await?,
        None => Bytes::new(),
    };
    let mut inward = Request::new(Body::from(body));
    *inward.method_mut() = Method::from_bytes(request.method().as_bytes()).map_err(|_| malformed())?;
    *inward.uri_mut() = target.parse().map_err(|_| malformed())?;
    let headers = headers_in(&request.headers());
    inward.headers_mut().extend(headers.into_iter().filter(|(name, _)| rules::comes_in(name)));
    if let Ok(host) = HeaderValue::from_str(rules::authority(url)) {
        inward.headers_mut().insert(http::header::HOST, host);
    }
    let seen = request.headers().get("cf-connecting-ip").ok().flatten();
    inward.extensions_mut().insert(ClientAddress(rules::client_address(seen.as_deref())));
    Ok(inward)
}

/// All headers; several of one name (`Set-Cookie`) stay several.
pub(crate) fn headers_in(headers: &Headers) -> Vec<(HeaderName, HeaderValue)> {
    let pairs = headers.entries().into_iter().filter_map(Result::ok).map(|pair| Array::from(&pair));
    let pair = |pair: Array| {
        let name = pair.get(0).as_string()?.parse::<HeaderName>().ok()?;
        Some((name, HeaderValue::from_str(&pair.get(1).as_string()?).ok()?))
    };
    pairs.filter_map(pair).collect()
}

/// A whole body of at most `limit` bytes; a longer one is not read to its end.
pub(crate) async fn read(stream: &web_sys::ReadableStream, limit: usize) -> Result<Bytes, Problem> {
    let broken = |_| Problem::new(ProblemKind::Malformed);
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    let mut whole: Vec<u8> = Vec::new();
    loop {
        let turn = JsFuture::from(reader.read()).await.map_err(broken)?;
        if Reflect::get(&turn, &"done".into()).map_err(broken)?.is_truthy() {
            return Ok(Bytes::from(whole));
        }
        let chunk = Reflect::get(&turn, &"value".into()).map_err(broken)?;
        let chunk = chunk.dyn_into::<Uint8Array>().map_err(broken)?;
        let start = whole.len();
        if start + chunk.length() as usize > limit {
            // Nobody waits for the rest.
            drop(reader.cancel());
            return Err(ProblemKind::BodyTooLarge.into());
        }
        whole.resize(start + chunk.length() as usize, 0);
        chunk.copy_to(&mut whole[start..]);
    }
}

/// Runs the app.
pub(crate) async fn call(mut router: Router, request: Request<Body>) -> Response<Body> {
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// An answer of the app: its body whole, or as it comes if it does not know its length.
pub(crate) async fn response_out(response: Response<Body>) -> worker::Result<web_sys::Response> {
    let (parts, body) = response.into_parts();
    if body.size_hint().exact().is_none() {
        return stream_out(&parts, body);
    }
    let Ok(body) = body.collect().await else { return plain(500, "Something went wrong here.") };
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value));
    answer(parts.status.as_u16(), headers, &body.to_bytes())
}

fn stream_out(parts: &Parts, body: Body) -> worker::Result<web_sys::Response> {
    let chunk = |chunk: Result<Bytes, axum::Error>| match chunk {
        Ok(bytes) => Ok(Uint8Array::from(&bytes[..]).into()),
        Err(error) => Err(JsValue::from_str(&error.to_string())),
    };
    let stream = ReadableStream::from_stream(body.into_data_stream().map(chunk)).into_raw();
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value));
    let init = head(parts.status.as_u16(), headers)?;
    web_sys::Response::new_with_opt_readable_stream_and_init(Some(&stream), &init).map_err(failed)
}

/// An answer from memory.
pub(crate) fn hit_out(hit: &Hit) -> worker::Result<web_sys::Response> {
    answer(hit.status, hit.headers.iter().map(|(name, value)| (name.as_str(), value)), &hit.body())
}

/// A problem that kept the request from reaching the app.
pub(crate) fn problem_out(problem: &Problem) -> worker::Result<web_sys::Response> {
    let headers = [
        ("content-type", HeaderValue::from_static(shared::problem::PROBLEM_JSON)),
        ("cache-control", HeaderValue::from_static("no-store")),
        ("cache-status", HeaderValue::from_static("worker; fwd=bypass")),
        ("x-content-type-options", HeaderValue::from_static("nosniff")),
    ];
    answer(problem.status, headers.iter().map(|(name, value)| (*name, value)), &problem.to_json())
}

/// A few words.
pub(crate) fn plain(status: u16, text: &str) -> worker::Result<web_sys::Response> {
    let headers = [
        ("content-type", HeaderValue::from_static("text/plain; charset=utf-8")),
        ("cache-control", HeaderValue::from_static("no-store")),
        ("cache-status", HeaderValue::from_static("worker; fwd=bypass")),
    ];
    answer(status, headers.iter().map(|(name, value)| (*name, value)), text.as_bytes())
}

fn answer<'a>(
    status: u16,
    headers: impl Iterator<Item = (&'a str, &'a HeaderValue)>,
    body: &[u8],
) -> worker::Result<web_sys::Response> {
    let init = head(status, headers)?;
    let bodiless = matches!(status, 204 | 205 | 304);
    let bytes = (!bodiless).then(|| Uint8Array::from(body));
    web_sys::Response::new_with_opt_js_u8_array_and_init(bytes.as_ref(), &init).map_err(failed)
}

fn head<'a>(status: u16, headers: impl Iterator<Item = (&'a str, &'a HeaderValue)>) -> worker::Result<ResponseInit> {
    let out = Headers::new().map_err(failed)?;
    for (name, value) in headers.filter(|(name, _)| *name != "content-length") {
        if let Ok(value) = value.to_str() {
            out.append(name, value).map_err(failed)?;
        }
    }
    let init = ResponseInit::new();
    init.set_status(status);
    init.set_headers(&out);
    Ok(init)
}

fn failed(value: JsValue) -> worker::Error {
    worker::Error::from(value)
}
