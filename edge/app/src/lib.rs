//! The storefront and the API gateway: one axum router that runs unchanged at a native point of presence and in a
//! Cloudflare Worker.
//!
//! It renders pages, keeps sessions in cookies, caches the public catalog and passes `/v1` on. It holds no truth and never
//! decides about money or stock. Deliberately absent: listeners, TLS, rate limits and anything else of a host; those
//! implement [`Platform`].

mod api;
mod app;
mod asset;
mod cache_status;
mod cookie;
mod core;
mod gate;
mod guard;
mod page;
mod picture;
pub mod platform;
mod route;
mod secure;
mod session;
mod spread;
mod stored;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post};
use bytes::Bytes;
use http::header::IF_NONE_MATCH;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use shared::api::MAX_BODY_BYTES;

pub use platform::{ClientAddress, LONGEST_STREAM, MOST_STREAMS_OF_ONE, NoPlace, Page, Platform, UpstreamError};

use crate::app::App;
use crate::cache_status::Source;
use crate::page::{account, cart, checkout, desk, order, unsubscribe, webhooks};
use crate::route::PublicRoute;
use crate::stored::Served;

/// An answer from memory, made without a router.
#[derive(Clone, Debug)]
pub struct Hit {
    /// HTTP status: the page's own, or 304.
    pub status: u16,
    /// What is sent unless the status is 304.
    pub page: Arc<Page>,
    /// All headers of the answer, in order.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Hit {
    /// The bytes to send: none with 304.
    #[must_use]
    pub fn body(&self) -> Bytes {
        if self.status == 304 { Bytes::new() } else { self.page.body.clone() }
    }

    /// The answer with `http`'s types.
    #[must_use]
    pub fn into_http(self) -> Response<Bytes> {
        let mut response = Response::new(self.body());
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().extend(self.headers);
        response
    }
}

fn hit_response(hit: Hit) -> axum::response::Response {
    hit.into_http().map(axum::body::Body::from)
}

/// Answers a public page or document from memory, byte for byte as [`router`] would; `None` sends the request to the
/// router.
///
/// `path` and `query` are as on the wire (`query` without `?`, empty if there is none). `header` is asked for
/// `If-None-Match` alone, and only on a hit.
pub fn fast<P: Platform>(
    platform: &P,
    method: &str,
    path: &str,
    query: &str,
    header: impl Fn(&HeaderName) -> Option<String>,
) -> Option<Hit> {
    if method != "GET" {
        return None;
    }
    let page = platform.mem_get(&PublicRoute::parse(path, query)?.key())?;
    let now_ms = platform.now_ms();
    if !Served::is_fresh(&page, now_ms) {
        return None;
    }
    let served = Served { page, source: Source::Memory };
    Some(served.hit(platform.cache_name(), now_ms, header(&IF_NONE_MATCH).as_deref()))
}

/// The whole storefront. Hosts put a [`ClientAddress`] into each request's extensions.
pub fn router<P: Platform>(platform: P) -> Router {
    let app = App::new(platform);
    let public = Router::new()
        .route("/", get(gate::public_page::<P>))
        .route("/about", get(gate::public_page::<P>))
        .route("/search", get(gate::public_page::<P>))
        .route("/c/{slug}", get(gate::public_page::<P>))
        .route("/p/{slug}", get(gate::public_page::<P>))
        .route("/img/{file}", get(picture::serve))
        .route("/static/{file}", get(asset::serve))
        .route("/push.js", get(asset::push))
        .route("/favicon.svg", get(asset::icon))
        .route("/robots.txt", get(asset::robots))
        // The link of a mail, which speaks for itself: mail programs post to it from nowhere.
        .route("/unsubscribe/{token}", get(unsubscribe::show::<P>).post(unsubscribe::choose::<P>))
        .route("/v1/{*rest}", any(api::any::<P>));
    public
        .merge(personal(&app))
        .fallback(gate::absent::<P>)
        .method_not_allowed_fallback(gate::wrong_method::<P>)
        .layer(from_fn_with_state(app.clone(), gate::finish::<P>))
        .with_state(app)
}

/// Pages that know their visitor; form posts live here and nowhere else.
fn personal<P: Platform>(app: &App<P>) -> Router<App<P>> {
    Router::new()
        .route("/cart", get(cart::show::<P>))
        .route("/cart/count", get(cart::count::<P>))
        .route("/cart/add", post(cart::add::<P>))
        .route("/cart/set", post(cart::set::<P>))
        .route("/cart/remove", post(cart::remove::<P>))
        .route("/checkout", get(checkout::show::<P>).post(checkout::place::<P>))
        .route("/orders", get(order::list::<P>))
        .route("/orders/{order_id}", get(order::show::<P>))
        .route("/orders/{order_id}/status", get(order::status::<P>))
        .route("/orders/{order_id}/live", get(order::live::<P>))
        .route("/orders/{order_id}/confirm", post(order::confirm::<P>))
        .route("/orders/{order_id}/cancel", post(order::cancel::<P>))
        .route("/orders/{order_id}/push", post(order::push::<P>))
        .route("/orders/{order_id}/again", post(order::again::<P>))
        .route("/desk", get(desk::list::<P>))
        .route("/desk/dead-letters", get(desk::letters::list::<P>))
        .route("/desk/orders/{order_id}/dead-letters/replay", post(desk::letters::replay::<P>))
        .route("/desk/orders/{order_id}/dead-letters/{event_id}/skip", post(desk::letters::skip::<P>))
        .route("/desk/orders/{order_id}", get(desk::show::<P>))
        .route("/desk/orders/{order_id}/shipments", post(desk::send::<P>))
        .route("/desk/orders/{order_id}/notifications/{notification_id}/resend", post(desk::resend::<P>))
        .route("/desk/orders/{order_id}/shipments/{shipment_id}/label", get(desk::label::<P>))
        .route("/desk/orders/{order_id}/shipments/{shipment_id}/write-off", post(desk::write_off::<P>))
        .route("/desk/orders/{order_id}/shipments/{shipment_id}/{what}", post(desk::change::<P>))
        .route("/desk/orders/{order_id}/release", post(desk::release::<P>))
        .route("/desk/orders/{order_id}/cancel", post(desk::cancel::<P>))
        .route("/desk/orders/{order_id}/refunds", post(desk::back::refund::<P>))
        .route("/desk/orders/{order_id}/returns", post(desk::back::take_back::<P>))
        .route("/desk/orders/{order_id}/returns/{return_id}/inspection", post(desk::back::inspect::<P>))
        .route("/desk/webhooks", get(webhooks::list::<P>).post(webhooks::make::<P>))
        .route("/desk/webhooks/{endpoint_id}", get(webhooks::show::<P>))
        .route("/desk/webhooks/{endpoint_id}/state", post(webhooks::switch::<P>))
        .route("/desk/webhooks/{endpoint_id}/test", post(webhooks::test::<P>))
        .route("/desk/webhooks/{endpoint_id}/rotate", post(webhooks::rotate::<P>))
        .route("/desk/webhooks/{endpoint_id}/delete", post(webhooks::delete::<P>))
        .route("/desk/webhooks/{endpoint_id}/deliveries/{event_id}/replay", post(webhooks::replay::<P>))
        .route("/account", get(account::show::<P>))
        .route("/account/mails", post(account::mails::<P>))
        .route("/sign-in", get(account::sign_in_form::<P>).post(account::sign_in::<P>))
        .route("/sign-up", get(account::sign_up_form::<P>).post(account::sign_up::<P>))
        .route("/sign-out", post(account::sign_out::<P>))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(app.clone(), gate::visit::<P>))
}
