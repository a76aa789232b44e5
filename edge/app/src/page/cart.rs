//! The basket: shown, counted and changed.
//!
//! A cart is cached for five seconds by verified user and version, so another device's change shows within that, and a
//! shopper's own last write always: the cookie carries the lowest version that he may be shown.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use http::header::{ACCEPT, HeaderMap};
use serde::Deserialize;
use shared::api::cart::{Cart, CartChange, CartLine, CartOperation};
use shared::{Money, OperationId, Problem, ProblemKind, Quantity, Sku};

use super::{Shell, answer};
use crate::app::App;
use crate::core::{self, Call};
use crate::platform::{Page, Platform};
use crate::session::{User, Visit};

/// Milliseconds that a cart is shown without asking again.
const CART_MS: u64 = 5_000;

#[derive(Template)]
#[template(path = "cart.html")]
struct CartPage {
    shell: Shell,
    notice: Option<&'static str>,
    notice_kind: &'static str,
    lines: Vec<Line>,
    units: u64,
    total: Money,
}

struct Line {
    sku: Sku,
    title: String,
    slug: Option<String>,
    variant: String,
    picture: String,
    quantity: Quantity,
    unit_price: Option<Money>,
    line_total: Option<Money>,
}

impl From<CartLine> for Line {
    fn from(line: CartLine) -> Self {
        let slug = line.slug.clone().unwrap_or_else(|| shared::text::slug(line.sku.as_str()));
        Self {
            sku: line.sku,
            title: line.title,
            slug: line.slug,
            variant: line.variant,
            picture: format!("/img/{slug}.svg"),
            quantity: line.quantity,
            unit_price: line.unit_price,
            line_total: line.line_total,
        }
    }
}

/// What the page was led to by.
#[derive(Deserialize)]
pub(crate) struct Led {
    #[serde(default)]
    notice: String,
}

fn notice(code: &str) -> (Option<&'static str>, &'static str) {
    match code {
        "added" => (Some("Added to your basket."), "good"),
        "changed" => (Some("Your basket has changed."), "good"),
        "again" => (Some("These items are in your basket again."), "good"),
        "gone" => (Some("That item is no longer sold, so it could not be added."), "bad"),
        "too-many" => (Some("That is more than one basket can hold, so nothing was changed."), "bad"),
        "unsure" => (
            Some(
                "We did not hear back about your last change. Please see here whether it arrived before you try again.",
            ),
            "bad",
        ),
        "busy" => (Some("We could not change your basket just now. Please try again."), "bad"),
        _ => (None, "good"),
    }
}

/// `GET /cart`.
pub(crate) async fn show<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Query(led): Query<Led>,
) -> Result<Response, Problem> {
    let cart = current(&app, &visit).await?;
    let (notice, notice_kind) = notice(&led.notice);
    let mut shell = Shell::personal(&app, &visit, "Your basket").await;
    shell.units = Some(cart.as_ref().map_or(0, |cart| cart.units));
    let (units, total) = cart.as_ref().map_or((0, Money::zero(shared::Currency::GBP)), |cart| (cart.units, cart.total));
    let lines = cart.map_or_else(Vec::new, |cart| cart.lines.into_iter().map(Line::from).collect());
    answer(&CartPage { shell, notice, notice_kind, lines, units, total })
}

/// `GET /cart/count`: how many units, for the number beside the basket. Answers at once for those without a session.
pub(crate) async fn count<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
) -> Result<Response, Problem> {
    let units = current(&app, &visit).await?.map_or(0, |cart| cart.units);
    Ok(Json(serde_json::json!({ "units": units })).into_response())
}

/// The visitor's cart; nobody has none.
pub(crate) async fn current<P: Platform>(app: &App<P>, visit: &Visit) -> Result<Option<Cart>, Problem> {
    let Some(user) = visit.user() else { return Ok(None) };
    let key = |version: u64| format!("cart:{}:{version}", user.claims.sub);
    let now_ms = app.platform.now_ms();
    if let Some(version) = visit.min_version
        && let Some(page) = app.platform.mem_get(&key(version)).filter(|page| now_ms < page.fresh_until_ms)
        && let Ok(cart) = serde_json::from_slice(&page.body)
    {
        return Ok(Some(cart));
    }
    fetch(app, visit, &user).await.map(Some)
}

/// The visitor's cart as the core has it now.
pub(crate) async fn fetch<P: Platform>(app: &App<P>, visit: &Visit, user: &User) -> Result<Cart, Problem> {
    let path = format!("/v1/cart?min_version={}", visit.min_version.unwrap_or(0));
    let cart: Cart = Call::get(&path).bearer(&user.token).json(&app.platform, visit.client).await?;
    remember(app, visit, user, &cart);
    Ok(cart)
}

fn remember<P: Platform>(app: &App<P>, visit: &Visit, user: &User, cart: &Cart) {
    visit.saw_cart(cart);
    let now_ms = app.platform.now_ms();
    let Ok(body) = serde_json::to_vec(cart) else { return };
    let page = Page {
        status: 200,
        headers: Vec::new(),
        body: Bytes::from(body),
        stored_at_ms: now_ms,
        fresh_until_ms: now_ms + CART_MS,
        stale_until_ms: now_ms + CART_MS,
        tags: Vec::new(),
    };
    app.platform.mem_put(format!("cart:{}:{}", user.claims.sub, cart.version), Arc::new(page));
}

/// Does one change, for a guest made on the spot if need be.
pub(crate) async fn apply<P: Platform>(app: &App<P>, visit: &Visit, change: CartChange) -> Result<Cart, Problem> {
    let user = visit.ensure_user(app).await?;
    let mut random = [0; 10];
    app.platform.fill_random(&mut random);
    let operation_id = OperationId::mint(app.platform.now_ms(), random);
    let operation = CartOperation { operation_id, change, expected_version: None };
    let send =
        || Call::post("/v1/cart/operations", &operation).bearer(&user.token).json::<Cart>(&app.platform, visit.client);
    let cart = match send().await {
        // The operation has a name: whether or not the first try arrived, the second does nothing twice.
        Err(unknown) if core::is_unknown(&unknown) => match send().await {
            // That the second was not taken says nothing about the first.
            Err(again) if core::is_passing(&again) => return Err(unknown),
            settled => settled?,
        },
        settled => settled?,
    };
    remember(app, visit, &user, &cart);
    Ok(cart)
}

/// A form that changes the basket.
#[derive(Deserialize)]
pub(crate) struct ChangeForm {
    sku: String,
    #[serde(default)]
    quantity: String,
}

impl ChangeForm {
    fn sku(&self) -> Result<Sku, Problem> {
        self.sku.parse().map_err(|error| Problem::invalid("sku", error))
    }

    fn quantity(&self) -> Result<Quantity, Problem> {
        let units = self.quantity.trim().parse().map_err(|_| Problem::invalid("quantity", "not a number"))?;
        Quantity::new(units).map_err(|error| Problem::invalid("quantity", error))
    }
}

/// `POST /cart/add`.
pub(crate) async fn add<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Form(form): Form<ChangeForm>,
) -> Result<Response, Problem> {
    let change = CartChange::Add { sku: form.sku()?, quantity: form.quantity()? };
    changed(&headers, apply(&app, &visit, change).await, "added")
}

/// `POST /cart/set`; none is a removal.
pub(crate) async fn set<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Form(form): Form<ChangeForm>,
) -> Result<Response, Problem> {
    let sku = form.sku()?;
    let change = match form.quantity.trim() {
        "0" => CartChange::Remove { sku },
        _ => CartChange::Set { sku, quantity: form.quantity()? },
    };
    changed(&headers, apply(&app, &visit, change).await, "changed")
}

/// `POST /cart/remove`.
pub(crate) async fn remove<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Form(form): Form<ChangeForm>,
) -> Result<Response, Problem> {
    changed(&headers, apply(&app, &visit, CartChange::Remove { sku: form.sku()? }).await, "changed")
}

/// The page's script asks for JSON; a form goes on to the basket.
fn changed(headers: &HeaderMap, result: Result<Cart, Problem>, done: &str) -> Result<Response, Problem> {
    if wants_json(headers) {
        return Ok(result.map_or_else(IntoResponse::into_response, |cart| Json(Said::from(&cart)).into_response()));
    }
    let code = match result {
        Ok(_) => done,
        Err(problem) if problem.is(ProblemKind::UnknownSku) => "gone",
        Err(problem) if problem.status == 422 => "too-many",
        Err(problem) if problem.status == 401 => return Err(problem),
        // "Try again" would be the wrong advice: it may be in there already.
        Err(problem) if core::is_unknown(&problem) => "unsure",
        Err(_) => "busy",
    };
    Ok(Redirect::to(&format!("/cart?notice={code}")).into_response())
}

/// Whether the page's own script asks.
pub(crate) fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.starts_with("application/json"))
}

/// What the page's script needs to know of a cart: ready for showing.
#[derive(serde::Serialize)]
struct Said {
    units: u64,
    total: String,
    lines: Vec<SaidLine>,
}

#[derive(serde::Serialize)]
struct SaidLine {
    sku: String,
    quantity: u32,
    total: String,
}

impl From<&Cart> for Said {
    fn from(cart: &Cart) -> Self {
        let line = |line: &CartLine| SaidLine {
            sku: line.sku.to_string(),
            quantity: line.quantity.units(),
            total: line.line_total.map_or_else(|| "–".to_owned(), |total| total.to_string()),
        };
        Self { units: cart.units, total: cart.total.to_string(), lines: cart.lines.iter().map(line).collect() }
    }
}
