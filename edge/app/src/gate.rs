//! What every request passes: the public door, the personal door, and the way out.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use shared::{Problem, ProblemKind};

use crate::app::App;
use crate::cache_status::{self, CACHE_STATUS};
use crate::page::{self, cart, message};
use crate::platform::Platform;
use crate::session::Visit;
use crate::{core, guard, hit_response, secure};

const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");
/// Whoever packed it on the way would hold it back until there is enough to pack.
const PRIVATE_STREAM: HeaderValue = HeaderValue::from_static("private, no-store, no-transform");
/// What server-sent events are.
pub(crate) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Public pages. Of the request, only address and `If-None-Match` go further: who asks cannot show in the answer.
pub(crate) async fn public_page<P: Platform>(State(app): State<App<P>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let Some(route) = page::public(parts.uri.path(), parts.uri.query().unwrap_or_default()) else {
        return message::problem(&app, &Problem::not_found()).await;
    };
    let if_none_match = parts.headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    match app.public(&route).await {
        Ok(served) => hit_response(served.hit(app.platform.cache_name(), app.platform.now_ms(), if_none_match)),
        Err(problem) => message::problem(&app, &problem).await,
    }
}

/// No such page.
pub(crate) async fn absent<P: Platform>(State(app): State<App<P>>) -> Response {
    message::problem(&app, &Problem::not_found()).await
}

/// A page that is not used in that way.
pub(crate) async fn wrong_method<P: Platform>(State(app): State<App<P>>) -> Response {
    message::problem(&app, &ProblemKind::MethodNotAllowed.into()).await
}

/// Personal pages: only our own pages may post to them, and nobody keeps their answers.
pub(crate) async fn visit<P: Platform>(State(app): State<App<P>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let json = cart::wants_json(&parts.headers);
    if !core::is_safe(&parts.method) && !guard::from_our_pages(&parts) {
        return private(told(&app, &ProblemKind::Forbidden.into(), json).await);
    }
    let visit = match Visit::begin(&app, &parts).await {
        Ok(visit) => visit,
        Err(problem) => return private(told(&app, &problem, json).await),
    };
    parts.extensions.insert(visit.clone());
    let response = next.run(Request::from_parts(parts, body)).await;
    if response.status() == http::StatusCode::UNAUTHORIZED && visit.user().is_some() {
        // The core no longer takes this token, whatever it says.
        visit.doubt();
    }
    let mut response = private(in_words(&app, response, json).await);
    visit.set_cookies(response.headers_mut());
    response
}

/// A refusal that is not a page yet becomes one, unless the page's script asks.
async fn in_words<P: Platform>(app: &App<P>, response: Response, json: bool) -> Response {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let spoken = kind.starts_with("text/html") || (json && kind.contains("json"));
    if spoken || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let known = ProblemKind::ALL.iter().copied().find(|kind| kind.status() == status.as_u16());
    let mut problem = Problem::new(known.unwrap_or(ProblemKind::Malformed));
    problem.retry_after_seconds = retry_after;
    told(app, &problem, json).await
}

async fn told<P: Platform>(app: &App<P>, problem: &Problem, json: bool) -> Response {
    if json { problem.clone().into_response() } else { message::problem(app, problem).await }
}

fn private(mut response: Response) -> Response {
    let goes_on = response.headers().get(CONTENT_TYPE) == Some(&EVENT_STREAM);
    response.headers_mut().insert(CACHE_CONTROL, if goes_on { PRIVATE_STREAM } else { PRIVATE });
    response
}

/// The way out: what every answer carries.
pub(crate) async fn finish<P: Platform>(State(app): State<App<P>>, request: Request, next: Next) -> Response {
    let safe = core::is_safe(request.method());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(CACHE_STATUS).or_insert_with(|| cache_status::bypass(app.platform.cache_name(), safe));
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
    secure::add(headers);
    response
}
