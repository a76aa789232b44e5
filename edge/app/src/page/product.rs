//! A product's page.

use askama::Template;
use shared::api::catalog::{Product, SearchQuery, SearchResults, Variant};
use shared::{Money, Problem, Sku};

use super::{Card, Made, Picture, Shell, cards, write};
use crate::app::App;
use crate::platform::Platform;
use crate::route::{DocumentRoute, everything};
use crate::spread;

#[derive(Template)]
#[template(path = "product.html")]
struct ProductPage {
    shell: Shell,
    product: Product,
    picture: Picture,
    more_pictures: Vec<Picture>,
    price: Money,
    price_varies: bool,
    compare_at: Option<Money>,
    choice_label: String,
    variants: Vec<Choice>,
    paragraphs: Vec<String>,
    related: Vec<Card>,
}

struct Choice {
    sku: Sku,
    name: String,
    price: Money,
}

pub(super) async fn render<P: Platform>(app: &App<P>, slug: &str) -> Result<Made, Problem> {
    let (product, old) = app.document::<Product>(DocumentRoute::Product(slug.to_owned())).await?;
    let Some(cheapest) = product.variants.iter().min_by_key(|variant| variant.price.minor()).cloned() else {
        return Err(Problem::not_found());
    };
    let (shell, dated) = Shell::public(app).await;
    let related = related(app, &product).await;
    let tags = vec![format!("product:{slug}"), format!("category:{}", product.category.slug)];
    let page = template(shell, product, &cheapest, related);
    Ok(Made { status: 200, html: write(&page)?, tags, dated: dated || old })
}

fn template(shell: Shell, product: Product, cheapest: &Variant, related: Vec<Card>) -> ProductPage {
    let paragraphs: Vec<String> = product.description.split("\n\n").map(|text| text.trim().to_owned()).collect();
    let mut shell = shell.titled(&product.title);
    shell.category.clone_from(&product.category.slug);
    if let Some(first) = paragraphs.first().filter(|first| !first.is_empty()) {
        shell.description = first.chars().take(160).collect();
    }
    let picture = |image| Picture::of(image, &product.slug, &product.title);
    ProductPage {
        picture: picture(product.images.first()),
        more_pictures: product.images.iter().skip(1).take(5).map(|image| picture(Some(image))).collect(),
        price: cheapest.price,
        price_varies: product.variants.iter().any(|variant| variant.price != cheapest.price),
        compare_at: cheapest.compare_at_price.filter(|before| before.minor() > cheapest.price.minor()),
        choice_label: choice_label(&product),
        variants: product.variants.iter().map(choice).collect(),
        paragraphs: paragraphs.into_iter().filter(|text| !text.is_empty()).collect(),
        shell,
        related,
        product,
    }
}

/// `Size and colour`.
fn choice_label(product: &Product) -> String {
    let names: Vec<_> = product.options.iter().map(|option| option.name.as_str()).collect();
    if names.is_empty() { "Version".to_owned() } else { names.join(" and ") }
}

/// No count stands here: the page is shared and may be old. Its script asks for the counts of the moment.
fn choice(variant: &Variant) -> Choice {
    Choice { sku: variant.sku.clone(), name: variant.option_values.join(" / "), price: variant.price }
}

/// Four others of its category: another four for each product.
async fn related<P: Platform>(app: &App<P>, product: &Product) -> Vec<Card> {
    let query = SearchQuery { category: Some(product.category.slug.clone()), ..everything() };
    let Ok((found, _)) = app.document::<SearchResults>(DocumentRoute::Search(query)).await else { return Vec::new() };
    let mut others: Vec<_> = found.items.into_iter().filter(|other| other.slug != product.slug).collect();
    let first = spread::place(&product.slug, others.len());
    others.rotate_left(first);
    others.truncate(4);
    cards(others)
}
