//! The storefront as a Cloudflare Worker.
//!
//! The app is the same as at a native point of presence; this crate offers it what a host must: the isolate's memory, KV,
//! WebCrypto, and signed requests to a point of presence, because a Worker cannot open UDP sockets. Requests and responses
//! cross between JavaScript and Rust in `adapter` alone. Nothing here panics: a panic would throw away the isolate's memory.
//! Deliberately absent: every decision about pages, sessions and caching, which is the app's.
//!
//! Compiled natively, only what needs no JavaScript remains, so that `cargo check` and its tests run everywhere.

#[cfg(target_arch = "wasm32")]
mod adapter;
#[cfg(target_arch = "wasm32")]
mod isolate;
#[cfg(target_arch = "wasm32")]
mod js;
pub mod places;
pub mod rules;

#[cfg(target_arch = "wasm32")]
mod entry {
    use std::cell::OnceCell;

    use axum::Router;
    use edge_app::{fast, router};
    use worker::{Context, Env, event, web_sys};

    use crate::adapter;
    use crate::isolate::Isolate;

    /// The app on this isolate: built once, serves until the isolate ends.
    struct Site {
        isolate: Isolate,
        router: Router,
    }

    thread_local! {
        static SITE: OnceCell<Option<Site>> = const { OnceCell::new() };
    }

    /// The router and the host, if the Worker is configured.
    fn site(env: &Env) -> Option<(Isolate, Router)> {
        SITE.with(|cell| {
            let build = || Isolate::new(env).map(|isolate| Site { router: router(isolate.clone()), isolate });
            let site = cell.get_or_init(build);
            site.as_ref().map(|site| (site.isolate.clone(), site.router.clone()))
        })
    }

    #[event(fetch)]
    async fn fetch(request: web_sys::Request, env: Env, _context: Context) -> worker::Result<web_sys::Response> {
        let Some((isolate, router)) = site(&env) else {
            worker::console_error!("POP_URL or UPLINK_KEY is missing or malformed");
            return adapter::plain(500, "This shop is not configured yet.");
        };
        let url = request.url();
        let (path, query) = crate::rules::path_and_query(&url);
        let header = |name: &http::HeaderName| request.headers().get(name.as_str()).ok().flatten();
        if let Some(hit) = fast(&isolate, &request.method(), path, query, header) {
            return adapter::hit_out(&hit);
        }
        match adapter::request_in(&request, &url).await {
            Ok(inward) => adapter::response_out(adapter::call(router, inward).await).await,
            Err(problem) => adapter::problem_out(&problem),
        }
    }
}
