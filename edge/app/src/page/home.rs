//! The front page: what the shop is, its categories, and a shelf from each of the largest.

use askama::Template;
use shared::Problem;
use shared::api::catalog::{SearchQuery, SearchResults};

use super::{Card, Made, Shell, cards, write};
use crate::app::App;
use crate::platform::Platform;
use crate::route::{DocumentRoute, everything};

const SHELVES: usize = 3;
const ON_A_SHELF: usize = 4;

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    shell: Shell,
    hero: Vec<Card>,
    rows: Vec<Row>,
}

struct Row {
    slug: String,
    name: String,
    cards: Vec<Card>,
}

pub(super) async fn render<P: Platform>(app: &App<P>) -> Result<Made, Problem> {
    let (shell, mut dated) = Shell::public(app).await;
    let mut largest: Vec<_> = shell.nav.clone();
    largest.sort_by(|a, b| b.product_count.cmp(&a.product_count).then_with(|| a.slug.cmp(&b.slug)));
    let (mut rows, mut hero) = (Vec::new(), Vec::new());
    for category in largest.into_iter().take(SHELVES) {
        let query = SearchQuery { category: Some(category.slug.clone()), ..everything() };
        let (found, old) = app.document::<SearchResults>(DocumentRoute::Search(query)).await?;
        dated |= old;
        let mut all = cards(found.items);
        let rest = all.split_off(all.len().min(ON_A_SHELF));
        hero.extend(rest.into_iter().take(2));
        rows.push(Row { slug: category.slug, name: category.name, cards: all });
    }
    hero.truncate(4);
    let page = Home { shell: shell.titled("Gifts and things for the home"), hero, rows };
    Ok(Made { status: 200, html: write(&page)?, tags: vec!["catalog".to_owned()], dated })
}
