//! An order's page as it moves on, told to who has it open: server-sent events (WHATWG HTML, section 9.2).
//!
//! Each event is the whole of what changes on the page, and its id is the state's tag: whoever comes back with the last one
//! is told nothing twice. The core holds its answers, so nothing here waits by the clock: an answer that brings nothing new
//! is the heartbeat. Whatever goes wrong ends the stream, and its reader comes back by himself.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use shared::api::order::Order;
use shared::{Problem, ProblemKind};

use super::{Progress, find};
use crate::app::App;
use crate::core::{Call, Changed};
use crate::gate::EVENT_STREAM;
use crate::platform::{LONGEST_STREAM, NoPlace, Platform};
use crate::session::Visit;

/// Says which event its reader has heard last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Asks a proxy in front of us to pass on what comes as it comes; nginx and its kind heed it.
const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
/// Seconds that the core holds an answer: the longest it does, and so the time between two heartbeats.
const HOLD_SECONDS: u32 = 10;
/// How the stream begins: its reader comes back two seconds after its end.
const BEGIN: &str = "retry: 2000\n\n";
/// How it ends when the core holds no more answers: he comes back later.
const END_FOR_NOW: &[u8] = b"retry: 10000\n\n";
/// Nothing new; a comment, which keeps the way open.
const HEARTBEAT: &[u8] = b":\n\n";
/// Seconds until who found no place may try again.
const NO_PLACE_SECONDS: u32 = 10;

/// `GET /orders/{order_id}/live`. To who finds no place, 429 or 503: his page looks by itself now and then. 204, after which no browser comes back, to who has heard of the order's last state.
pub(crate) async fn live<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (user, order) = find(&app, &visit, &id).await?;
    let now_ms = app.platform.now_ms();
    let progress = Progress::of(&order, false, now_ms);
    let heard = headers.get(LAST_EVENT_ID).is_some_and(|tag| tag.as_bytes() == progress.tag.as_bytes());
    if heard && !progress.follow {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let told = if heard { String::new() } else { event(&progress)? };
    let following = progress.follow.then(|| Following {
        app: app.clone(),
        client: visit.client,
        token: user.token.clone(),
        path: format!("/v1/orders/{}", order.order_id),
        known: progress.tag,
        until_ms: now_ms.saturating_add(u64::try_from(LONGEST_STREAM.as_millis()).unwrap_or(u64::MAX)),
    });
    let rest = stream::unfold(following, |following| async { following?.next().await });
    let events = stream::iter([Bytes::from(format!("{BEGIN}{told}"))]).chain(rest);
    let body = app.platform.stream(user.claims.sub, events).map_err(refused)?;
    Ok(([(CONTENT_TYPE, EVENT_STREAM), UNBUFFERED], body).into_response())
}

fn refused(why: NoPlace) -> Problem {
    let kind = match why {
        NoPlace::Full => ProblemKind::Unavailable,
        NoPlace::ReaderHasMost => ProblemKind::SlowDown,
    };
    Problem::new(kind).retry_after(NO_PLACE_SECONDS)
}

/// One reader, and what he has heard.
struct Following<P: Platform> {
    app: App<P>,
    client: IpAddr,
    token: String,
    path: String,
    known: String,
    until_ms: u64,
}

impl<P: Platform> Following<P> {
    /// What is to be sent next, and who follows on after it; nothing at the stream's end.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        let now_ms = self.app.platform.now_ms();
        if now_ms >= self.until_ms {
            return None;
        }
        let call = Call::get(&self.path).bearer(&self.token).unless(&self.known).wait(HOLD_SECONDS);
        match call.changed::<Order>(&self.app.platform, self.client).await.ok()? {
            Changed::Same { held: true } => Some((Bytes::from_static(HEARTBEAT), Some(self))),
            Changed::Same { held: false } => Some((Bytes::from_static(END_FOR_NOW), None)),
            Changed::Other(order) => {
                let progress = Progress::of(&order, false, self.app.platform.now_ms());
                // A core that does not know tags would have us ask without end.
                if progress.tag == self.known {
                    return None;
                }
                let told = event(&progress).ok()?;
                self.known = progress.tag;
                Some((Bytes::from(told), progress.follow.then_some(self)))
            }
        }
    }
}

/// JSON has no line breaks of its own, so it is one line of data.
fn event(progress: &Progress) -> Result<String, Problem> {
    let json = serde_json::to_string(progress).map_err(|_| Problem::new(ProblemKind::Internal))?;
    Ok(format!("id: {}\ndata: {json}\n\n", progress.tag))
}
