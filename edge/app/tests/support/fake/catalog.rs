//! What the fake core sells, and what it tells of that.

use std::collections::HashMap;

use shared::api::catalog::{
    Category, CategoryFacet, CategoryList, CategoryRef, PriceFacet, Product, ProductSummary, SearchOrder, SearchQuery,
    SearchResults, StockLevel, StockLevels, Variant,
};
use shared::id::USER_EPOCH_MS;
use shared::{Currency, Money, ProductId, Sku};

use super::Core;

impl Core {
    pub(super) fn categories(&self) -> CategoryList {
        let mut items: Vec<Category> = Vec::new();
        for product in &self.products {
            match items.iter_mut().find(|own| own.slug == product.category.slug) {
                Some(own) => own.product_count += 1,
                None => items.push(Category {
                    slug: product.category.slug.clone(),
                    name: product.category.name.clone(),
                    product_count: 1,
                }),
            }
        }
        items.sort_by(|a, b| a.name.cmp(&b.name));
        CategoryList { items }
    }

    pub(super) fn search(&self, query: &SearchQuery) -> SearchResults {
        let words: Vec<String> = query.q.to_lowercase().split_whitespace().map(ToOwned::to_owned).collect();
        let price = |product: &Product| product.variants[0].price.minor().unsigned_abs();
        let said = |product: &&Product| words.iter().all(|word| product.title.to_lowercase().contains(word));
        let filed = |product: &Product| query.category.as_ref().is_none_or(|slug| product.category.slug == *slug);
        let priced = |product: &Product| {
            query.price_min.is_none_or(|min| price(product) >= min)
                && query.price_max.is_none_or(|max| price(product) <= max)
        };
        let worded: Vec<&Product> = self.products.iter().filter(said).collect();
        let mut found: Vec<&Product> = worded.iter().copied().filter(|p| filed(p) && priced(p)).collect();
        match query.order {
            SearchOrder::Relevance => {}
            SearchOrder::PriceAscending => found.sort_by_key(|p| price(p)),
            SearchOrder::PriceDescending => found.sort_by_key(|p| std::cmp::Reverse(price(p))),
        }
        let mut categories: Vec<CategoryFacet> = Vec::new();
        for product in worded.iter().filter(|p| priced(p)) {
            match categories.iter_mut().find(|own| own.slug == product.category.slug) {
                Some(own) => own.count += 1,
                None => categories.push(CategoryFacet {
                    slug: product.category.slug.clone(),
                    name: product.category.name.clone(),
                    count: 1,
                }),
            }
        }
        let bands = [(0, Some(199)), (200, Some(499)), (500, Some(999)), (1000, Some(1999)), (2000, None)];
        let inside = |from: u64, to: Option<u64>| {
            worded.iter().filter(|p| filed(p) && price(p) >= from && to.is_none_or(|to| price(p) <= to)).count() as u64
        };
        let prices = bands.map(|(from, to)| PriceFacet { from, to, count: inside(from, to) }).into();
        let limit = query.limit as usize;
        let total = found.len();
        let items = found.into_iter().skip((query.page as usize - 1) * limit).take(limit).map(summary).collect();
        let pages = u32::try_from(total.div_ceil(limit)).unwrap();
        SearchResults { items, total: total as u64, page: query.page, pages, categories, prices }
    }

    pub(super) fn levels(&self, query: &str) -> StockLevels {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
        let skus = pairs.into_iter().filter_map(|(_, sku)| sku.parse::<Sku>().ok());
        let level = |sku: Sku| Some(StockLevel { units: *self.stock.get(&sku)?, sku, approximate: true });
        StockLevels { items: skus.filter_map(level).collect() }
    }
}

fn summary(product: &Product) -> ProductSummary {
    let least = product.variants.iter().map(|variant| variant.price).min_by_key(|price| price.minor()).unwrap();
    ProductSummary {
        product_id: product.product_id,
        slug: product.slug.clone(),
        title: product.title.clone(),
        category: product.category.clone(),
        price_from: least,
        price_varies: product.variants.iter().any(|variant| variant.price != least),
        only_sku: (product.variants.len() == 1).then(|| product.variants[0].sku.clone()),
        image: product.images.first().cloned(),
    }
}

/// The demo shop's products, from the repository's own file.
pub fn demo_products() -> Vec<Product> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/demo/catalog.csv");
    let mut reader = csv::Reader::from_path(path).unwrap();
    let rows: Vec<HashMap<String, String>> = reader.deserialize().map(Result::unwrap).collect();
    let mut products: Vec<Product> = rows.iter().enumerate().map(|(at, row)| demo_product(at, row)).collect();
    // One with versions, of two prices, because the demo shop has none.
    if let Some(first) = products.first_mut() {
        let dearer = first.variants[0].price.checked_mul(2).unwrap();
        let other = Variant {
            sku: format!("{}-L", first.variants[0].sku).parse().unwrap(),
            option_values: vec!["Large".to_owned()],
            price: dearer,
            compare_at_price: None,
            weight_grams: 0,
        };
        first.variants[0].option_values = vec!["Small".to_owned()];
        first.variants.push(other);
        first.options = vec![shared::api::catalog::ProductOption {
            name: "Size".to_owned(),
            values: vec!["Small".to_owned(), "Large".to_owned()],
        }];
    }
    products
}

fn demo_product(at: usize, row: &HashMap<String, String>) -> Product {
    let filed = row["Type"].clone();
    let number = u64::try_from(at).unwrap();
    let mut random = [0; 10];
    random[..8].copy_from_slice(&number.to_be_bytes());
    Product {
        product_id: ProductId::mint(USER_EPOCH_MS, random),
        slug: row["Handle"].clone(),
        title: row["Title"].clone(),
        description: row["Body (HTML)"].replace("<p>", "").replace("</p>", "\n\n").replace("&amp;", "&"),
        category: CategoryRef { slug: shared::text::slug(&filed), name: filed.replace("&amp;", "&") },
        vendor: Some(row["Vendor"].clone()).filter(|vendor| !vendor.is_empty()),
        tags: row["Tags"].split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect(),
        options: Vec::new(),
        variants: vec![Variant {
            sku: row["Variant SKU"].parse().unwrap(),
            option_values: Vec::new(),
            price: Money::parse_decimal(&row["Variant Price"], Currency::GBP).unwrap(),
            compare_at_price: None,
            weight_grams: 0,
        }],
        images: Vec::new(),
        version: 1,
    }
}
