//! Lists of products: a category or search results, with filters, sorting and pages.

use askama::Template;
use shared::api::catalog::{PriceFacet, SearchOrder, SearchQuery, SearchResults};
use shared::{Currency, Money, Problem};

use super::{Card, Made, Shell, cards, write};
use crate::app::App;
use crate::platform::Platform;
use crate::route::{DocumentRoute, PageRoute, everything};

#[derive(Template)]
#[template(path = "listing.html")]
struct Listing {
    shell: Shell,
    heading: String,
    summary: String,
    filtered: bool,
    clear_href: String,
    categories: Vec<Facet>,
    prices: Vec<Facet>,
    sorts: Vec<Sort>,
    cards: Vec<Card>,
    pages: Vec<PageLink>,
    previous: Option<String>,
    next: Option<String>,
}

struct Facet {
    name: String,
    href: String,
    count: u64,
    chosen: bool,
}

struct Sort {
    name: &'static str,
    href: String,
    chosen: bool,
}

struct PageLink {
    number: u32,
    href: String,
    chosen: bool,
    gap: bool,
}

/// A category's page.
pub(super) async fn category<P: Platform>(app: &App<P>, query: &SearchQuery) -> Result<Made, Problem> {
    let (mut shell, dated) = Shell::public(app).await;
    let slug = query.category.clone().unwrap_or_default();
    let found = shell.nav.iter().find(|category| category.slug == slug).map(|category| category.name.clone());
    let name = match found {
        Some(name) => name,
        // Without the list nobody can say that there is no such category.
        None if shell.nav.is_empty() => return Err(shared::ProblemKind::Unavailable.into()),
        None => return Err(Problem::not_found()),
    };
    shell.description = format!("{name} at Meridian.");
    shell.category.clone_from(&slug);
    let list = Place { route: PageRoute::Category, heading: name, fixed_category: true };
    list.render(app, shell.titled(&list.heading), query, dated, vec![format!("category:{slug}")]).await
}

/// Search results; without any words, everything.
pub(super) async fn search<P: Platform>(app: &App<P>, query: &SearchQuery) -> Result<Made, Problem> {
    let (mut shell, dated) = Shell::public(app).await;
    shell.index = query.q.is_empty() && *query == everything();
    shell.q.clone_from(&query.q);
    let heading = if query.q.is_empty() { "Everything".to_owned() } else { format!("Results for “{}”", query.q) };
    let list = Place { route: PageRoute::Search, heading, fixed_category: false };
    list.render(app, shell.titled(&list.heading), query, dated, Vec::new()).await
}

/// Where a list stands.
struct Place {
    route: fn(SearchQuery) -> PageRoute,
    heading: String,
    fixed_category: bool,
}

impl Place {
    async fn render<P: Platform>(
        &self,
        app: &App<P>,
        shell: Shell,
        query: &SearchQuery,
        dated: bool,
        mut tags: Vec<String>,
    ) -> Result<Made, Problem> {
        let (found, old) = app.document::<SearchResults>(DocumentRoute::Search(query.clone())).await?;
        tags.push("catalog".to_owned());
        let page = self.template(shell, query, found);
        Ok(Made { status: 200, html: write(&page)?, tags, dated: dated || old })
    }

    fn template(&self, shell: Shell, query: &SearchQuery, found: SearchResults) -> Listing {
        let filtered = query.price_min.is_some()
            || query.price_max.is_some()
            || (query.category.is_some() && !self.fixed_category);
        let plain = SearchQuery {
            category: query.category.clone().filter(|_| self.fixed_category),
            price_min: None,
            price_max: None,
            page: 1,
            ..query.clone()
        };
        let currency = found.items.first().map_or(Currency::GBP, |product| product.price_from.currency());
        Listing {
            shell,
            heading: self.heading.clone(),
            summary: summary(found.total, query.page, found.pages),
            filtered,
            clear_href: self.href(plain),
            categories: if self.fixed_category { Vec::new() } else { self.categories(query, &found) },
            prices: self.prices(query, &found.prices, currency),
            sorts: self.sorts(query),
            cards: cards(found.items),
            pages: self.pages(query, found.pages.min(100)),
            previous: (query.page > 1).then(|| self.page(query, query.page - 1)),
            next: (query.page < found.pages.min(100)).then(|| self.page(query, query.page + 1)),
        }
    }

    fn href(&self, query: SearchQuery) -> String {
        (self.route)(query).href()
    }

    fn page(&self, query: &SearchQuery, page: u32) -> String {
        self.href(SearchQuery { page, ..query.clone() })
    }

    fn categories(&self, query: &SearchQuery, found: &SearchResults) -> Vec<Facet> {
        let facets = found.categories.iter().filter(|facet| facet.count > 0);
        facets
            .map(|facet| {
                let chosen = query.category.as_deref() == Some(facet.slug.as_str());
                let category = (!chosen).then(|| facet.slug.clone());
                let href = self.href(SearchQuery { category, page: 1, ..query.clone() });
                Facet { name: facet.name.clone(), href, count: facet.count, chosen }
            })
            .collect()
    }

    fn prices(&self, query: &SearchQuery, bands: &[PriceFacet], currency: Currency) -> Vec<Facet> {
        let bands = bands.iter().filter(|band| band.count > 0);
        bands
            .map(|band| {
                let chosen = query.price_min.unwrap_or(0) == band.from && query.price_max == band.to;
                let (price_min, price_max) =
                    if chosen { (None, None) } else { (Some(band.from).filter(|from| *from > 0), band.to) };
                let href = self.href(SearchQuery { price_min, price_max, page: 1, ..query.clone() });
                Facet { name: band_name(band, currency), href, count: band.count, chosen }
            })
            .collect()
    }

    fn sorts(&self, query: &SearchQuery) -> Vec<Sort> {
        let first = if query.q.is_empty() { "Our choice" } else { "Best match" };
        let all = [
            (first, SearchOrder::Relevance),
            ("Price, low to high", SearchOrder::PriceAscending),
            ("Price, high to low", SearchOrder::PriceDescending),
        ];
        all.map(|(name, order)| Sort {
            name,
            href: self.href(SearchQuery { order, page: 1, ..query.clone() }),
            chosen: query.order == order,
        })
        .into()
    }

    /// The first, the last, and those around this one.
    fn pages(&self, query: &SearchQuery, pages: u32) -> Vec<PageLink> {
        let mut out: Vec<PageLink> = Vec::new();
        let near = |page: u32| page == 1 || page == pages || page.abs_diff(query.page) <= 1;
        for number in (1..=pages).filter(|page| near(*page)) {
            if out.last().is_some_and(|last| last.number + 1 < number) {
                out.push(PageLink { number: 0, href: String::new(), chosen: false, gap: true });
            }
            let href = self.page(query, number);
            out.push(PageLink { number, href, chosen: number == query.page, gap: false });
        }
        out
    }
}

fn summary(total: u64, page: u32, pages: u32) -> String {
    match (total, pages) {
        (0, _) => "No products".to_owned(),
        (1, _) => "One product".to_owned(),
        (total, 0 | 1) => format!("{total} products"),
        (total, pages) => format!("{total} products, page {page} of {pages}"),
    }
}

/// `Under £5.00`, `£5.00 to £9.99`, `£50.00 and more`.
fn band_name(band: &PriceFacet, currency: Currency) -> String {
    let money = |minor: u64| {
        let amount = i64::try_from(minor).ok().and_then(|minor| Money::new(minor, currency).ok());
        amount.map(|amount| amount.to_string()).unwrap_or_default()
    };
    match (band.from, band.to) {
        (0, Some(to)) => format!("Up to {}", money(to)),
        (from, Some(to)) => format!("{} to {}", money(from), money(to)),
        (from, None) => format!("{} and more", money(from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { route: PageRoute::Search, heading: String::new(), fixed_category: false }
    }

    #[test]
    fn long_lists_of_pages_show_both_ends_and_the_neighbours() {
        let query = SearchQuery { page: 7, ..everything() };
        let shown: Vec<_> = place().pages(&query, 40).iter().map(|page| page.number).collect();
        assert_eq!(shown, [1, 0, 6, 7, 8, 0, 40]);
        assert!(place().pages(&everything(), 0).is_empty());
    }

    #[test]
    fn a_chosen_band_is_left_by_the_same_link() {
        let band = PriceFacet { from: 500, to: Some(999), count: 3 };
        let open = place().prices(&everything(), std::slice::from_ref(&band), Currency::GBP);
        assert_eq!(
            (open[0].name.as_str(), open[0].href.as_str()),
            ("£5.00 to £9.99", "/search?price_max=999&price_min=500")
        );
        let query = SearchQuery { price_min: Some(500), price_max: Some(999), page: 3, ..everything() };
        let chosen = place().prices(&query, &[band], Currency::GBP);
        assert!(chosen[0].chosen);
        assert_eq!(chosen[0].href, "/search");
    }
}
