//! The pages. Public ones are made from a route and documents alone; personal ones know their visitor.

pub(crate) mod account;
pub(crate) mod cart;
pub(crate) mod checkout;
mod country;
pub(crate) mod desk;
mod home;
mod listing;
pub(crate) mod message;
pub(crate) mod order;
mod product;
mod shell;
pub(crate) mod webhooks;

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use shared::api::catalog::{Image, ProductSummary};
use shared::{Money, Problem, ProblemKind, Sku};

use crate::app::App;
use crate::platform::Platform;
use crate::route::{PageRoute, PublicRoute};

pub(crate) use shell::Shell;

/// A finished page.
pub(crate) struct Made {
    /// HTTP status.
    pub status: u16,
    /// The document.
    pub html: Bytes,
    /// What it was made of.
    pub tags: Vec<String>,
    /// Whether some of that was old, because no core could be reached.
    pub dated: bool,
}

/// A public page.
///
/// # Errors
/// 404 if it does not exist; otherwise what keeps it from being made.
pub(crate) async fn render<P: Platform>(app: &App<P>, route: &PageRoute) -> Result<Made, Problem> {
    match route {
        PageRoute::Home => home::render(app).await,
        PageRoute::Product(slug) => product::render(app, slug).await,
        PageRoute::Category(query) => listing::category(app, query).await,
        PageRoute::Search(query) => listing::search(app, query).await,
        PageRoute::About => message::about(app).await,
    }
}

/// The page that says that a public page does not exist.
///
/// # Errors
/// If it could not be written.
pub(crate) async fn absent<P: Platform>(app: &App<P>) -> Result<Made, Problem> {
    let html = message::html(Shell::public(app).await.0, &Problem::not_found())?;
    Ok(Made { status: 404, html, tags: Vec::new(), dated: false })
}

/// Whether the route is a page that anybody may see, by that address.
pub(crate) fn public(path: &str, query: &str) -> Option<PublicRoute> {
    PublicRoute::parse(path, query).filter(|route| matches!(route, PublicRoute::Page(_)))
}

/// Writes a template.
fn write(template: &impl Template) -> Result<Bytes, Problem> {
    template.render().map(Bytes::from).map_err(|_| Problem::new(ProblemKind::Internal))
}

/// Writes a personal page.
fn answer(template: &impl Template) -> Result<Response, Problem> {
    Ok(Html(write(template)?).into_response())
}

/// A picture of a product.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    /// Where it is.
    pub url: String,
    /// What it shows.
    pub alt: String,
}

impl Picture {
    /// The merchant's picture, or ours where he has none.
    fn of(image: Option<&Image>, slug: &str, title: &str) -> Self {
        match image {
            Some(image) if image.url.starts_with("https://") => {
                let alt = if image.alt.is_empty() { title } else { &image.alt };
                Self { url: image.url.clone(), alt: alt.to_owned() }
            }
            _ => Self { url: format!("/img/{slug}.svg"), alt: format!("Drawing of {title}") },
        }
    }
}

/// A product on a list.
struct Card {
    slug: String,
    title: String,
    picture: Picture,
    price: Money,
    from: bool,
    only_sku: Option<Sku>,
}

impl From<ProductSummary> for Card {
    fn from(product: ProductSummary) -> Self {
        Self {
            picture: Picture::of(product.image.as_ref(), &product.slug, &product.title),
            slug: product.slug,
            title: product.title,
            price: product.price_from,
            from: product.price_varies,
            only_sku: product.only_sku,
        }
    }
}

fn cards(products: Vec<ProductSummary>) -> Vec<Card> {
    products.into_iter().map(Card::from).collect()
}
