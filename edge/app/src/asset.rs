//! The style sheet, the script and the icon: part of the program, addressed by what they hold.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::cache_status::CACHE_STATUS;
use crate::stored::entity_tag;

const HIT: &str = "edge-app; hit; detail=embedded";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const A_DAY: &str = "public, max-age=86400";

/// A file with an address that changes whenever it does.
pub(crate) struct Asset {
    /// Its address.
    pub href: String,
    body: &'static str,
    kind: &'static str,
}

impl Asset {
    fn new(name: &str, extension: &str, body: &'static str, kind: &'static str) -> Self {
        let tag = entity_tag(body.as_bytes());
        Self { href: format!("/static/{name}-{}.{extension}", tag.trim_matches('"')), body, kind }
    }

    fn answer(&self, cache_control: &'static str) -> Response {
        ([(CONTENT_TYPE, self.kind), (CACHE_CONTROL, cache_control), (CACHE_STATUS, HIT)], self.body).into_response()
    }
}

/// The style sheet.
pub(crate) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("shop", "css", include_str!("../static/shop.css"), "text/css; charset=utf-8"));

/// The script; every page works without it.
pub(crate) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("shop", "js", include_str!("../static/shop.js"), "text/javascript; charset=utf-8"));

/// `GET /static/{file}`. A page from before a release names an older file: it gets the newer one, which it must not keep.
pub(crate) async fn serve(Path(file): Path<String>) -> Response {
    let known = [&*STYLE, &*SCRIPT];
    let same_kind =
        |asset: &&&Asset| file.starts_with("shop-") && file.rsplit('.').next() == asset.href.rsplit('.').next();
    match known.iter().find(same_kind) {
        Some(asset) if asset.href.ends_with(&format!("/{file}")) => asset.answer(FOR_EVER),
        Some(asset) => asset.answer("no-cache"),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `GET /push.js`: what a browser runs to show what is pushed to it. Its address never changes, for browsers ask it for news.
pub(crate) async fn push() -> Response {
    let script = include_str!("../static/push.js");
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8"), (CACHE_CONTROL, "no-cache"), (CACHE_STATUS, HIT)], script)
        .into_response()
}

/// `GET /favicon.svg`.
pub(crate) async fn icon() -> Response {
    let svg = include_str!("../static/favicon.svg");
    ([(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, A_DAY), (CACHE_STATUS, HIT)], svg).into_response()
}

/// `GET /robots.txt`.
pub(crate) async fn robots() -> Response {
    let text = "User-agent: *\nDisallow: /cart\nDisallow: /checkout\nDisallow: /orders\nDisallow: /account\nDisallow: /search?\n";
    ([(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, A_DAY), (CACHE_STATUS, HIT)], text).into_response()
}
