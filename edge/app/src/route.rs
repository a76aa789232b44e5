//! The allow-list of cacheable routes, and the one spelling of each: its cache key.
//!
//! What is not parsed here is never stored. A route holds everything that may change its answer; what is left out of a
//! request (cookies, tokens, unknown query parameters) cannot reach whoever makes the answer. Parsing is idempotent (a key
//! parses to its own route) and injective (two routes have two keys).

use shared::Sku;
use shared::api::catalog::{SearchOrder, SearchQuery};

/// Products on a page of ours.
pub(crate) const PAGE_SIZE: u32 = 24;
/// Longest query string that is read, in bytes.
const MAX_QUERY_BYTES: usize = 8 * 1024;
/// Most SKUs in one question about stock.
const MAX_STOCK_SKUS: usize = 100;

/// A public page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PageRoute {
    /// The front page.
    Home,
    /// A category, paged; the query's category is its slug and its text is empty.
    Category(SearchQuery),
    /// A product.
    Product(String),
    /// Search results.
    Search(SearchQuery),
    /// How this shop works.
    About,
}

/// A public document of the cores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum DocumentRoute {
    /// Every category.
    Categories,
    /// Products, by cursor.
    Products { category: Option<String>, limit: Option<u32>, cursor: Option<String> },
    /// One product.
    Product(String),
    /// Search results.
    Search(SearchQuery),
    /// Stock levels, in the order asked for.
    Stock(Vec<Sku>),
    /// Keys that access tokens are signed with.
    Keys,
    /// What the API is (OpenAPI).
    Api,
}

/// A route whose answer is the same for everybody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PublicRoute {
    /// HTML, made here.
    Page(PageRoute),
    /// JSON, made by a core.
    Document(DocumentRoute),
}

impl PublicRoute {
    /// The public route at that address, if it is one. `path` and `query` are as on the wire.
    pub(crate) fn parse(path: &str, query: &str) -> Option<Self> {
        if query.len() > MAX_QUERY_BYTES {
            return None;
        }
        match path.strip_prefix("/v1/") {
            Some(rest) => DocumentRoute::parse(rest, query).map(Self::Document),
            None => PageRoute::parse(path, query).map(Self::Page),
        }
    }

    /// The address in its one spelling: the cache key.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Page(page) => page.href(),
            Self::Document(document) => document.href(),
        }
    }
}

impl PageRoute {
    fn parse(path: &str, query: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Home),
            "/about" => Some(Self::About),
            "/search" => Some(Self::Search(page_query(query, None))),
            _ => {
                if let Some(slug) = path.strip_prefix("/p/") {
                    is_slug(slug).then(|| Self::Product(slug.to_owned()))
                } else {
                    let slug = path.strip_prefix("/c/").filter(|slug| is_slug(slug))?;
                    Some(Self::Category(page_query(query, Some(slug))))
                }
            }
        }
    }

    /// The page's address.
    pub(crate) fn href(&self) -> String {
        match self {
            Self::Home => "/".to_owned(),
            Self::About => "/about".to_owned(),
            Self::Product(slug) => format!("/p/{slug}"),
            Self::Search(query) => with_query("/search".to_owned(), &search_pairs(query, true)),
            Self::Category(query) => {
                let path = format!("/c/{}", query.category.as_deref().unwrap_or_default());
                with_query(path, &search_pairs(query, false))
            }
        }
    }
}

impl DocumentRoute {
    fn parse(rest: &str, query: &str) -> Option<Self> {
        match rest {
            "categories" => Some(Self::Categories),
            "keys" => Some(Self::Keys),
            "openapi.json" => Some(Self::Api),
            "products" => {
                let pairs = strict_pairs(query, &["category", "limit", "cursor"])?;
                let category = checked(&pairs, "category", |slug| is_slug(slug).then(|| slug.to_owned()))?;
                let limit = checked(&pairs, "limit", |text| number(text).filter(|n| (1..=100).contains(n)))?;
                let cursor = checked(&pairs, "cursor", |text| is_cursor(text).then(|| text.to_owned()))?;
                Some(Self::Products { category, limit, cursor })
            }
            "search" => strict_search(query).map(Self::Search),
            "stock" => {
                let skus: Option<Vec<Sku>> =
                    pairs(query).filter(|(name, _)| name == "sku").map(|(_, value)| value.parse().ok()).collect();
                skus.filter(|skus| (1..=MAX_STOCK_SKUS).contains(&skus.len())).map(Self::Stock)
            }
            _ => {
                let slug = rest.strip_prefix("products/").filter(|slug| is_slug(slug))?;
                Some(Self::Product(slug.to_owned()))
            }
        }
    }

    /// The document's address at the cores.
    pub(crate) fn href(&self) -> String {
        match self {
            Self::Categories => "/v1/categories".to_owned(),
            Self::Keys => "/v1/keys".to_owned(),
            Self::Api => "/v1/openapi.json".to_owned(),
            Self::Product(slug) => format!("/v1/products/{slug}"),
            Self::Products { category, limit, cursor } => {
                let limit = limit.map(|limit| limit.to_string());
                let all = [("category", category), ("cursor", cursor), ("limit", &limit)];
                let given: Vec<_> = all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
                with_query("/v1/products".to_owned(), &given)
            }
            Self::Search(query) => with_query("/v1/search".to_owned(), &search_pairs(query, true)),
            Self::Stock(skus) => {
                let all: Vec<_> = skus.iter().map(|sku| ("sku", sku.to_string())).collect();
                with_query("/v1/stock".to_owned(), &all)
            }
        }
    }
}

/// A query of ours that asks for everything.
pub(crate) fn everything() -> SearchQuery {
    SearchQuery { page: 1, limit: PAGE_SIZE, ..SearchQuery::default() }
}

/// Whether `text` can name a product or category in a path.
pub(crate) fn is_slug(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=120).contains(&text.len()) && text.bytes().all(known) && text.as_bytes()[0].is_ascii_alphanumeric()
}

fn is_cursor(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=' | b'.' | b'~');
    (1..=512).contains(&text.len()) && text.bytes().all(known)
}

/// A plain decimal: no sign, no leading zero.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    serde_urlencoded::from_str::<Vec<(String, String)>>(query).unwrap_or_default().into_iter()
}

/// A page's query, read kindly: what makes no sense is left out, because a person cannot mend a URL.
fn page_query(query: &str, category: Option<&str>) -> SearchQuery {
    let mut out = everything();
    for (name, value) in pairs(query) {
        match name.as_str() {
            "q" if out.q.is_empty() && category.is_none() => out.q = tidy(&value),
            "category" if out.category.is_none() && is_slug(&value) => out.category = Some(value),
            "price_min" => out.price_min = out.price_min.or(number(&value).map(u64::from)),
            "price_max" => out.price_max = out.price_max.or(number(&value).map(u64::from)),
            "order" if out.order == SearchOrder::Relevance => out.order = order(&value).unwrap_or_default(),
            "page" if out.page == 1 => out.page = number(&value).unwrap_or(1).clamp(1, 100),
            _ => {}
        }
    }
    if category.is_some() {
        out.category = category.map(ToOwned::to_owned);
    }
    if out.price_min.zip(out.price_max).is_some_and(|(min, max)| min > max) {
        out.price_max = None;
    }
    out
}

/// What a person typed, without surplus blanks and control characters, at most 200 characters.
fn tidy(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(200).collect::<String>().trim_end().to_owned()
}

fn order(text: &str) -> Option<SearchOrder> {
    match text {
        "relevance" => Some(SearchOrder::Relevance),
        "price-ascending" => Some(SearchOrder::PriceAscending),
        "price-descending" => Some(SearchOrder::PriceDescending),
        _ => None,
    }
}

const fn order_name(order: SearchOrder) -> &'static str {
    match order {
        SearchOrder::Relevance => "relevance",
        SearchOrder::PriceAscending => "price-ascending",
        SearchOrder::PriceDescending => "price-descending",
    }
}

/// The allowed parameters, each at most once; a repeat is the core's to refuse. Unknown ones are dropped.
fn strict_pairs(query: &str, allowed: &[&str]) -> Option<Vec<(String, String)>> {
    let known: Vec<_> = pairs(query).filter(|(name, _)| allowed.contains(&name.as_str())).collect();
    let mut names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    (names.len() == known.len()).then_some(known)
}

/// The parameter's value; `None` within if it is absent, `None` without if it is malformed.
#[expect(clippy::option_option, reason = "absent and malformed are two answers")]
fn checked<T>(pairs: &[(String, String)], name: &str, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    match pairs.iter().find(|(own, _)| own == name) {
        Some((_, value)) => read(value).map(Some),
        None => Some(None),
    }
}

/// A search by a program: whatever is malformed is the core's to refuse, and not cached.
fn strict_search(query: &str) -> Option<SearchQuery> {
    let pairs = strict_pairs(query, &["q", "category", "price_min", "price_max", "order", "page", "limit"])?;
    let short = |text: &str| (text.chars().count() <= 200).then(|| text.to_owned());
    Some(SearchQuery {
        q: checked(&pairs, "q", short)?.unwrap_or_default(),
        category: checked(&pairs, "category", |slug| is_slug(slug).then(|| slug.to_owned()))?,
        price_min: checked(&pairs, "price_min", |text| number(text).map(u64::from))?,
        price_max: checked(&pairs, "price_max", |text| number(text).map(u64::from))?,
        order: checked(&pairs, "order", order)?.unwrap_or_default(),
        page: checked(&pairs, "page", |text| number(text).filter(|n| (1..=100).contains(n)))?.unwrap_or(1),
        limit: checked(&pairs, "limit", |text| number(text).filter(|n| (1..=100).contains(n)))?.unwrap_or(PAGE_SIZE),
    })
}

/// What differs from [`everything`], by name.
fn search_pairs(query: &SearchQuery, category: bool) -> Vec<(&'static str, String)> {
    let plain = everything();
    let mut out = Vec::new();
    if let Some(slug) = query.category.as_ref().filter(|_| category) {
        out.push(("category", slug.clone()));
    }
    if query.limit != plain.limit {
        out.push(("limit", query.limit.to_string()));
    }
    if query.order != plain.order {
        out.push(("order", order_name(query.order).to_owned()));
    }
    if query.page != plain.page {
        out.push(("page", query.page.to_string()));
    }
    out.extend(query.price_max.map(|price| ("price_max", price.to_string())));
    out.extend(query.price_min.map(|price| ("price_min", price.to_string())));
    if !query.q.is_empty() {
        out.push(("q", query.q.clone()));
    }
    out
}

fn with_query(path: String, pairs: &[(&str, String)]) -> String {
    // Pairs of strings always serialise.
    let query = serde_urlencoded::to_string(pairs).unwrap_or_default();
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse_key(key: &str) -> Option<PublicRoute> {
        let (path, query) = key.split_once('?').unwrap_or((key, ""));
        PublicRoute::parse(path, query)
    }

    fn key(path: &str, query: &str) -> String {
        PublicRoute::parse(path, query).unwrap().key()
    }

    #[test]
    fn unknown_and_idle_parameters_do_not_make_another_key() {
        assert_eq!(key("/search", "utm_source=x&q=red+mug&page=1&order=relevance"), "/search?q=red+mug");
        assert_eq!(key("/search", "q=%20red%09%20mug%20&page=2"), "/search?page=2&q=red+mug");
        assert_eq!(key("/", "gclid=1"), "/");
        assert_eq!(key("/c/mugs", "category=other&q=x&price_min=500&price_max=100"), "/c/mugs?price_min=500");
        assert_eq!(key("/v1/search", "limit=24&q=a%26b"), "/v1/search?q=a%26b");
        assert_eq!(key("/v1/stock", "sku=b&sku=A"), "/v1/stock?sku=B&sku=A");
    }

    #[test]
    fn only_listed_paths_in_their_one_spelling_are_public() {
        for path in [
            "/cart",
            "/cart/count",
            "/orders",
            "/account",
            "/v1/cart",
            "/v1/orders",
            "/v1/account",
            "/p/",
            "/p/Red",
            "/p/red.css",
            "/p/red;a",
            "/p/red%2e",
            "/p//red",
            "/p/red/",
            "//",
            "/c/a/b",
            "/v1/products/",
            "/v1//keys",
            "/search/",
            "/SEARCH",
            "",
            "/p/red\n",
        ] {
            assert_eq!(PublicRoute::parse(path, ""), None, "{path:?} is public");
        }
    }

    #[test]
    fn a_malformed_api_query_is_left_to_the_core() {
        for query in
            ["limit=0", "limit=101", "limit=x", "page=01", "q=a&q=b", "order=best", "category=A", "price_min=-1"]
        {
            assert_eq!(PublicRoute::parse("/v1/search", query), None, "{query}");
        }
        assert_eq!(PublicRoute::parse("/v1/stock", ""), None);
        assert_eq!(PublicRoute::parse("/v1/products", "cursor=%00"), None);
    }

    proptest! {
        #[test]
        fn a_key_is_its_own_spelling(
            path in prop::sample::select(vec!["/search", "/c/mugs", "/v1/search", "/v1/products", "/v1/stock", "/", "/p/red"]),
            query in "((q|page|order|price_min|price_max|category|limit|cursor|sku|x)=[a-z0-9%+& é-]{0,12}&){0,6}",
        ) {
            if let Some(route) = PublicRoute::parse(path, &query) {
                prop_assert_eq!(parse_key(&route.key()), Some(route));
            }
        }

        #[test]
        fn different_searches_have_different_keys(a in searches(), b in searches()) {
            let (one, two) = (PublicRoute::Page(PageRoute::Search(a.clone())), PublicRoute::Page(PageRoute::Search(b.clone())));
            prop_assert_eq!(a == b, one.key() == two.key());
        }
    }

    fn searches() -> impl Strategy<Value = SearchQuery> {
        let order = prop::sample::select(vec![SearchOrder::Relevance, SearchOrder::PriceAscending]);
        let price = prop::option::of(0..3_u64);
        ("[ab&=+%]{0,2}", prop::option::of("[a-b]"), price.clone(), price, order, 1..3_u32).prop_map(
            |(q, category, price_min, price_max, order, page)| SearchQuery {
                q,
                category,
                price_min,
                price_max,
                order,
                page,
                limit: PAGE_SIZE,
            },
        )
    }
}
