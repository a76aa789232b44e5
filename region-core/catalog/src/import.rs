//! Taking a merchant's file into the catalog: one transaction, and a report that leaves nothing out.

use std::fmt;

use region_core_feed::{Feed, FeedError, Format, InvoiceCounts, Refusal};
use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::{Currency, ProductId, Sku};
use shared_clock::{Clock, Entropy};
use sqlx::PgPool;

use crate::rules::{Plan, plan};
use crate::store::{self, CatalogError};

/// How a file is to be read.
#[derive(Debug, Clone, Copy)]
pub struct ImportOptions {
    /// The currency of its prices.
    pub currency: Currency,
    /// Invoice lines bring in this many times what they asked for; product files say themselves what is on hand.
    pub stock_factor: u64,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { currency: Currency::GBP, stock_factor: 10 }
    }
}

/// Units that a file brings in, to be received by the shards (see [`crate::split`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Names the file by its hash, the line and the SKU: receiving the same reference again adds nothing.
    pub reference: String,
    /// What came in.
    pub sku: Sku,
    /// How many: at least one.
    pub units: u64,
}

/// What an import did.
#[derive(Debug)]
pub struct Imported {
    /// For people and for JSON.
    pub report: ImportReport,
    /// Units to be received. They are not in any database yet.
    pub receipts: Vec<Receipt>,
}

/// What an import did with each line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// The file's format.
    pub format: Format,
    /// SHA-256 of the unpacked file, in hex.
    pub sha256: String,
    /// Lines without the header.
    pub lines: u64,
    /// Products that were not in the catalog.
    pub new_products: u64,
    /// Products that differ from what stood.
    pub changed_products: u64,
    /// Products that stand as they are in the file.
    pub unchanged_products: u64,
    /// SKUs in the file.
    pub skus: u64,
    /// Prices that changed or are new.
    pub changed_prices: u64,
    /// Units to be received.
    pub units: u64,
    /// The catalog's version that holds the file.
    pub catalog_version: u64,
    /// Where each invoice line went, for a file of invoice lines.
    pub invoices: Option<InvoiceCounts>,
    /// Lines that were not taken, or not as written, with their reasons.
    pub refused: Vec<Refusal>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Feed(#[from] FeedError),
    /// One store, one currency.
    #[error(
        "the file's prices are in {file}, but the store sells in {store}; name the file's currency with --currency"
    )]
    OtherCurrency {
        /// Of the file.
        file: Currency,
        /// Of what is on sale.
        store: String,
    },
    /// The database failed.
    #[error("the catalog could not be written")]
    Catalog(#[from] CatalogError),
    /// The task that reads the file was ended.
    #[error("reading the file was interrupted")]
    Interrupted,
}

impl From<sqlx::Error> for ImportError {
    fn from(error: sqlx::Error) -> Self {
        Self::Catalog(error.into())
    }
}

/// Imports a file, plain or gzip, into the primary. Importing the same file again changes nothing.
///
/// # Errors
/// [`ImportError`]; nothing is changed then.
pub async fn import(
    primary: &PgPool,
    clock: &Clock,
    entropy: &Entropy,
    file: Vec<u8>,
    options: ImportOptions,
) -> Result<Imported, ImportError> {
    let read = move || -> Result<(Feed, String), FeedError> {
        let text = region_core_feed::unpack(&file)?;
        Ok((region_core_feed::read(&text, options.currency)?, hex::encode(Sha256::digest(&text))))
    };
    let (feed, sha256) = tokio::task::spawn_blocking(read).await.map_err(|_| ImportError::Interrupted)??;
    let mint = || ProductId::mint(clock.unix_ms(), entropy.bytes()).as_uuid();
    let (plan, version) = write(primary, &feed, options.currency, mint).await?;
    let receipts = receipts(&feed, &sha256, options.stock_factor);
    Ok(Imported { report: report(feed, sha256, &plan, version, &receipts), receipts })
}

async fn write(
    primary: &PgPool,
    feed: &Feed,
    currency: Currency,
    mint: impl FnMut() -> uuid::Uuid,
) -> Result<(Plan, u64), ImportError> {
    let products = feed.products();
    let slugs: Vec<String> = products.iter().map(|product| product.slug.clone()).collect();
    let skus: Vec<String> = products.iter().flat_map(|it| &it.variants).map(|it| it.sku.to_string()).collect();
    let mut tx = primary.begin().await?;
    store::lock_writers(&mut tx).await?;
    if let Some(store) = store::find_other_currency(&mut tx, currency.code()).await? {
        return Err(ImportError::OtherCurrency { file: currency, store });
    }
    let standing = store::load_standing(&mut tx, &slugs, &skus).await?;
    let plan = plan(products, standing, mint);
    let version = if plan.entries.is_empty() {
        store::read_version(&mut tx).await?
    } else {
        store::write(&mut tx, &plan).await?
    };
    tx.commit().await?;
    Ok((plan, u64::try_from(version).unwrap_or_default()))
}

fn receipts(feed: &Feed, sha256: &str, stock_factor: u64) -> Vec<Receipt> {
    let factor = match feed.format() {
        Format::InvoiceLines => stock_factor,
        Format::ShopifyProducts => 1,
    };
    let variants = feed.products().iter().flat_map(|product| &product.variants);
    let receipt = |variant: &region_core_feed::FeedVariant| Receipt {
        reference: format!("import:{sha256}:{}:{}", variant.line, variant.sku),
        sku: variant.sku.clone(),
        units: variant.units.saturating_mul(factor),
    };
    variants.map(receipt).filter(|receipt| receipt.units > 0).collect()
}

fn report(feed: Feed, sha256: String, plan: &Plan, catalog_version: u64, receipts: &[Receipt]) -> ImportReport {
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let skus = feed.products().iter().map(|product| count(product.variants.len())).sum();
    let format = feed.format();
    let (lines, invoices, refused) = match feed {
        Feed::Invoices(file) => (file.counts.lines, Some(file.counts), file.refused),
        Feed::Products(file) => (file.lines, None, file.refused),
    };
    ImportReport {
        format,
        sha256,
        lines,
        new_products: count(plan.new),
        changed_products: count(plan.changed),
        unchanged_products: count(plan.unchanged),
        skus,
        changed_prices: count(plan.prices.len()),
        units: receipts.iter().map(|receipt| receipt.units).sum(),
        catalog_version,
        invoices,
        refused,
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.format {
            Format::InvoiceLines => "invoice lines",
            Format::ShopifyProducts => "Shopify products",
        };
        writeln!(f, "{} {kind} read (SHA-256 {})", self.lines, self.sha256)?;
        writeln!(
            f,
            "products: {} new, {} changed, {} unchanged; {} SKUs, {} prices new or changed; catalog version {}",
            self.new_products,
            self.changed_products,
            self.unchanged_products,
            self.skus,
            self.changed_prices,
            self.catalog_version,
        )?;
        writeln!(f, "stock: {} units to receive", self.units)?;
        if let Some(counts) = &self.invoices {
            write_counts(f, counts)?;
        }
        writeln!(f, "refused: {}", self.refused.len())?;
        self.refused.iter().try_for_each(|refusal| writeln!(f, "  {refusal}"))
    }
}

fn write_counts(f: &mut fmt::Formatter<'_>, counts: &InvoiceCounts) -> fmt::Result {
    writeln!(f, "taken: {} sale lines", counts.sale_lines)?;
    writeln!(f, "skipped: {} lines of {} cancelled invoices", counts.cancelled_lines, counts.cancelled_invoices)?;
    let services: Vec<String> = counts.services.iter().map(|(code, lines)| format!("{code} {lines}")).collect();
    writeln!(f, "skipped: {} service lines ({})", counts.service_lines, services.join(", "))?;
    writeln!(f, "skipped: {} stock adjustments", counts.adjustment_lines)?;
    writeln!(
        f,
        "skipped: {} lines without a price; {} SKUs never have one",
        counts.unpriced_lines, counts.unpriced_skus
    )?;
    writeln!(f, "skipped: {} invoices with nothing sellable on them", counts.empty_invoices)
}
