//! Pages that only say something: about the shop, and what went wrong.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use shared::Problem;

use super::{Made, Shell, write};
use crate::app::App;
use crate::platform::Platform;

#[derive(Template)]
#[template(path = "about.html")]
struct About {
    shell: Shell,
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message {
    shell: Shell,
    heading: &'static str,
    text: String,
    links: Vec<(&'static str, &'static str)>,
}

/// What this shop is.
pub(super) async fn about<P: Platform>(app: &App<P>) -> Result<Made, Problem> {
    let (shell, dated) = Shell::public(app).await;
    let page = About { shell: shell.titled("About this shop") };
    Ok(Made { status: 200, html: write(&page)?, tags: Vec::new(), dated })
}

/// A problem as a page, with its status.
pub(crate) async fn problem<P: Platform>(app: &App<P>, problem: &Problem) -> Response {
    // When no core answers, asking for the categories would make the wait twice as long.
    let shell = Shell::public(app).await.0;
    let body = html(shell, problem).unwrap_or_else(|_| Bytes::from_static(b"Something went wrong here."));
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Html(body)).into_response();
    if let Some(seconds) = problem.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The page's text.
pub(super) fn html(shell: Shell, problem: &Problem) -> Result<Bytes, Problem> {
    let (heading, text, links) = words(problem);
    write(&Message { shell: Shell { index: false, ..shell.titled(heading) }, heading, text: text.to_owned(), links })
}

type Words = (&'static str, &'static str, Vec<(&'static str, &'static str)>);

fn words(problem: &Problem) -> Words {
    let home = ("/", "To the front page");
    match problem.status {
        404 => (
            "We looked everywhere",
            "There is no such page. It may have moved, or the thing is no longer sold.",
            vec![("/search", "Browse everything"), home],
        ),
        401 => ("Please sign in", "This page needs to know who you are.", vec![("/sign-in", "Sign in"), home]),
        403 => (
            "That did not come from this shop",
            "Your browser says that another page sent this request, so we did nothing. If it was you, go back and try again.",
            vec![home],
        ),
        405 => ("Not like that", "This address cannot be used in that way.", vec![home]),
        400 | 409 | 413 | 415 | 422 => (
            "We could not do that",
            "Something in the request did not fit. Nothing was changed.",
            vec![("/cart", "To the basket"), home],
        ),
        429 => ("One moment, please", "That was a lot at once. Wait a few seconds, then try again.", vec![home]),
        500 => ("Something went wrong here", "It is our fault, and it is noted. Please try again.", vec![home]),
        _ => (
            "We cannot reach the shop’s books just now",
            "Nothing is lost: your basket and your orders are safe. Please try again in a moment.",
            vec![home, ("/cart", "To the basket")],
        ),
    }
}
