//! Products as shown, and search over them.

use serde::{Deserialize, Serialize};

use crate::{Money, ProductId, Sku};

/// A group of products.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Category {
    /// Its name in paths.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// Products on sale in it.
    pub product_count: u32,
}

/// Every category: `GET /v1/categories`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CategoryList {
    /// By name.
    pub items: Vec<Category>,
}

/// A category as a product names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CategoryRef {
    /// Its name in paths.
    pub slug: String,
    /// Its name for people.
    pub name: String,
}

/// A picture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Image {
    /// Absolute `https` URL.
    pub url: String,
    /// What it shows, for those who cannot see it.
    pub alt: String,
}

/// A product on a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProductSummary {
    /// The product.
    pub product_id: ProductId,
    /// Its name in paths.
    pub slug: String,
    /// Its name for people.
    pub title: String,
    /// Where it is filed.
    pub category: CategoryRef,
    /// The lowest price of its variants, tax included.
    pub price_from: Money,
    /// Whether its variants differ in price.
    pub price_varies: bool,
    /// Its SKU where it has exactly one: it can be put into the cart from a list.
    pub only_sku: Option<Sku>,
    /// Its first picture.
    pub image: Option<Image>,
}

/// A page of products: `GET /v1/products?category=&limit=&cursor=`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProductPage {
    /// By title, then slug.
    pub items: Vec<ProductSummary>,
    /// Where the next page starts; null on the last.
    pub next_cursor: Option<String>,
    /// The catalog's version that this page was read at.
    pub catalog_version: u64,
}

/// An option that variants differ in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProductOption {
    /// Such as "Size".
    pub name: String,
    /// Its values, in the merchant's order.
    pub values: Vec<String>,
}

/// What is sold: one SKU.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Variant {
    /// What is counted.
    pub sku: Sku,
    /// One value for each option of the product, in order; empty where it has no options.
    pub option_values: Vec<String>,
    /// Price of one, tax included.
    pub price: Money,
    /// An earlier, higher price.
    pub compare_at_price: Option<Money>,
    /// What one weighs; 0 if nobody said.
    #[serde(default)]
    pub weight_grams: u32,
}

/// A product: `GET /v1/products/{slug}`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Product {
    /// The product.
    pub product_id: ProductId,
    /// Its name in paths.
    pub slug: String,
    /// Its name for people.
    pub title: String,
    /// Plain text; blank lines divide paragraphs.
    pub description: String,
    /// Where it is filed.
    pub category: CategoryRef,
    /// Who makes or sells it.
    pub vendor: Option<String>,
    /// The merchant's labels.
    pub tags: Vec<String>,
    /// What its variants differ in.
    pub options: Vec<ProductOption>,
    /// At least one.
    pub variants: Vec<Variant>,
    /// In the merchant's order; may be empty.
    pub images: Vec<Image>,
    /// The catalog's version at which this product last changed.
    pub version: u64,
}

/// How search results are ordered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SearchOrder {
    /// Best match first.
    #[default]
    Relevance,
    /// Cheapest first.
    PriceAscending,
    /// Dearest first.
    PriceDescending,
}

/// Query of `GET /v1/search`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct SearchQuery {
    /// What a person typed, at most 200 characters; empty finds everything.
    #[serde(default)]
    pub q: String,
    /// Slug of a category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Lowest price, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_min: Option<u64>,
    /// Highest price, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_max: Option<u64>,
    /// How results are ordered.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", param(inline))]
    pub order: SearchOrder,
    /// Page number from 1, at most 100.
    #[serde(default = "first_page")]
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 100, default = 1))]
    pub page: u32,
    /// Results on a page, 1 to 100.
    #[serde(default = "default_limit")]
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 100, default = 24))]
    pub limit: u32,
}

const fn first_page() -> u32 {
    1
}

const fn default_limit() -> u32 {
    24
}

/// Results in one category, were the category filter chosen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CategoryFacet {
    /// Slug of the category.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Results in it.
    pub count: u64,
}

/// Results in one price band, were the price filter chosen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PriceFacet {
    /// Lowest price, in minor units, included.
    pub from: u64,
    /// Highest price, in minor units, included; null for the open last band.
    pub to: Option<u64>,
    /// Results in it.
    pub count: u64,
}

/// Results: `GET /v1/search`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SearchResults {
    /// This page.
    pub items: Vec<ProductSummary>,
    /// Results on all pages.
    pub total: u64,
    /// The page's number, from 1.
    pub page: u32,
    /// Pages in all.
    pub pages: u32,
    /// Counts that ignore the category filter itself.
    pub categories: Vec<CategoryFacet>,
    /// Counts that ignore the price filter itself.
    pub prices: Vec<PriceFacet>,
}

/// Units of a SKU that could be sold, for display only: `GET /v1/stock?sku=A&sku=B`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StockLevel {
    /// What is counted.
    pub sku: Sku,
    /// Free units, as of a moment ago.
    pub units: u64,
    /// Always true: only the order itself decides.
    pub approximate: bool,
}

/// Stock levels of at most 100 SKUs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StockLevels {
    /// In the order asked for; of unknown SKUs there are none.
    pub items: Vec<StockLevel>,
}
