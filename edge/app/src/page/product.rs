//! A product's page.

use std::collections::HashMap;

use askama::Template;
use shared::api::catalog::{Product, SearchQuery, SearchResults, StockLevels, Variant};
use shared::{Money, Problem, Sku};

use super::{Card, Made, Picture, Shell, cards, write};
use crate::app::App;
use crate::platform::Platform;
use crate::route::{DocumentRoute, everything};

/// From how many units on there is no need to say how many are left.
const PLENTY: u64 = 10;
/// Most variants whose stock is asked for.
const MAX_HINTS: usize = 100;

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
    hint: &'static str,
    hint_text: String,
}

pub(super) async fn render<P: Platform>(app: &App<P>, slug: &str) -> Result<Made, Problem> {
    let (product, old) = app.document::<Product>(DocumentRoute::Product(slug.to_owned())).await?;
    let Some(cheapest) = product.variants.iter().min_by_key(|variant| variant.price.minor()).cloned() else {
        return Err(Problem::not_found());
    };
    let (shell, dated) = Shell::public(app).await;
    let stock = stock(app, &product.variants).await;
    let related = related(app, &product).await;
    let tags = vec![format!("product:{slug}"), format!("category:{}", product.category.slug)];
    let page = template(shell, product, &cheapest, &stock, related);
    Ok(Made { status: 200, html: write(&page)?, tags, dated: dated || old })
}

fn template(
    shell: Shell,
    product: Product,
    cheapest: &Variant,
    stock: &HashMap<Sku, u64>,
    related: Vec<Card>,
) -> ProductPage {
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
        variants: product.variants.iter().map(|variant| choice(variant, stock)).collect(),
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

fn choice(variant: &Variant, stock: &HashMap<Sku, u64>) -> Choice {
    let (hint, hint_text) = hint(stock.get(&variant.sku).copied());
    Choice { sku: variant.sku.clone(), name: variant.option_values.join(" / "), price: variant.price, hint, hint_text }
}

/// A class and words for a number of units; nothing is said where nothing is known.
fn hint(units: Option<u64>) -> (&'static str, String) {
    match units {
        None => ("unknown", String::new()),
        Some(0) => ("out", "Sold out for now".to_owned()),
        Some(units) if units < PLENTY => ("few", format!("Only {units} left")),
        Some(_) => ("plenty", "In stock".to_owned()),
    }
}

/// Counts for display; a page without them is still a page.
async fn stock<P: Platform>(app: &App<P>, variants: &[Variant]) -> HashMap<Sku, u64> {
    let skus = variants.iter().take(MAX_HINTS).map(|variant| variant.sku.clone()).collect();
    let levels = app.document::<StockLevels>(DocumentRoute::Stock(skus)).await;
    levels.map(|(levels, _)| levels.items).unwrap_or_default().into_iter().map(|one| (one.sku, one.units)).collect()
}

/// Four others of its category: another four for each product.
async fn related<P: Platform>(app: &App<P>, product: &Product) -> Vec<Card> {
    let query = SearchQuery { category: Some(product.category.slug.clone()), ..everything() };
    let Ok((found, _)) = app.document::<SearchResults>(DocumentRoute::Search(query)).await else { return Vec::new() };
    let mut others: Vec<_> = found.items.into_iter().filter(|other| other.slug != product.slug).collect();
    let turn = product.slug.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    if !others.is_empty() {
        let by = turn % others.len();
        others.rotate_left(by);
    }
    others.truncate(4);
    cards(others)
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn stock_is_said_in_words_and_only_when_known() {
        assert_eq!(hint(None), ("unknown", String::new()));
        assert_eq!(hint(Some(0)).0, "out");
        assert_eq!(hint(Some(3)).1, "Only 3 left");
        assert_eq!(hint(Some(10)).0, "plenty");
    }
}
