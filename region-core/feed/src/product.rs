//! A product as a file describes it, and how it is written back as Shopify's CSV.

use std::io::Write;

use shared::api::catalog::{Image, ProductOption};
use shared::{Money, Sku};

/// A product as a file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedProduct {
    /// Its name in paths.
    pub slug: String,
    /// Its name for people, 1 to 300 characters.
    pub title: String,
    /// Plain text; blank lines divide paragraphs.
    pub description: String,
    /// Its category's name for people; `shared::text::slug` makes the name in paths.
    pub category: String,
    /// Who makes or sells it.
    pub vendor: Option<String>,
    /// The merchant's labels.
    pub tags: Vec<String>,
    /// What its variants differ in.
    pub options: Vec<ProductOption>,
    /// In the merchant's order; may be empty.
    pub images: Vec<Image>,
    /// Whether it is offered.
    pub on_sale: bool,
    /// At least one.
    pub variants: Vec<FeedVariant>,
}

/// One SKU of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedVariant {
    /// What is counted.
    pub sku: Sku,
    /// One value for each option of the product.
    pub option_values: Vec<String>,
    /// Price of one, tax included.
    pub price: Money,
    /// An earlier, higher price.
    pub compare_at_price: Option<Money>,
    /// What one weighs, if the file says; 0 if nothing is sent.
    pub weight_grams: Option<u32>,
    /// Units on hand in a product file; units that sale invoices asked for in a file of invoice lines.
    pub units: u64,
    /// The line it was first named on.
    pub line: u64,
}

const HEADER: [&str; 11] = [
    "Handle",
    "Title",
    "Body (HTML)",
    "Vendor",
    "Type",
    "Tags",
    "Published",
    "Variant SKU",
    "Variant Inventory Qty",
    "Variant Price",
    "Status",
];

/// Writes products that have one variant and no options in Shopify's CSV layout, with `factor` times their units.
///
/// # Errors
/// Whatever the writer answers.
pub fn write_csv(products: &[FeedProduct], factor: u64, out: impl Write) -> Result<(), csv::Error> {
    let mut rows = csv::Writer::from_writer(out);
    rows.write_record(HEADER)?;
    for product in products {
        for variant in &product.variants {
            rows.write_record([
                product.slug.as_str(),
                &product.title,
                &product.description.replace('&', "&amp;").replace('<', "&lt;"),
                product.vendor.as_deref().unwrap_or(""),
                &product.category,
                &product.tags.join(", "),
                if product.on_sale { "true" } else { "false" },
                variant.sku.as_str(),
                &variant.units.saturating_mul(factor).to_string(),
                &decimal(variant.price),
                "active",
            ])?;
        }
    }
    Ok(rows.flush()?)
}

/// `255` pence as `2.55`.
fn decimal(price: Money) -> String {
    let width = price.currency().exponent() as usize;
    let unit = 10_i64.pow(price.currency().exponent());
    let whole = price.minor() / unit;
    if width == 0 { whole.to_string() } else { format!("{whole}.{:0width$}", price.minor() % unit) }
}
