//! Reads the two product files that Meridian imports: a shop's invoice lines and Shopify's product CSV.
//!
//! Bytes in, checked values out, and for each line that is not taken its number and the reason: nothing is left out
//! silently. Deliberately absent: databases, the network, clocks and async; the catalog writes what this crate reads, and
//! `replay` places its invoices as orders.

mod category;
mod html;
mod invoice;
mod product;
mod receipt;
mod shopify;
mod source;
mod title;

use serde::Serialize;
use shared::Currency;

pub use invoice::{Invoice, InvoiceCounts, InvoiceFile, InvoiceItem};
pub use product::{FeedProduct, FeedVariant, write_csv};
pub use receipt::split;
pub use shopify::ProductFile;
pub use source::{MAX_BYTES, Reason, Refusal, unpack};
pub use title::display_title;

/// What was in a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Feed {
    /// A shop's invoice lines: products, what was asked of each, and the invoices themselves.
    Invoices(InvoiceFile),
    /// Products with stock on hand.
    Products(ProductFile),
}

/// Which of the two formats a file has, told by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A shop's invoice lines.
    InvoiceLines,
    /// Shopify's product CSV.
    ShopifyProducts,
}

/// Why nothing of a file could be read.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Neither format's header.
    #[error(
        "the header is of neither known format: it names {found:?}; invoice lines lack {invoice_lacks:?}, \
         Shopify products lack {shopify_lacks:?}"
    )]
    UnknownHeader {
        /// The columns it names, the first twenty.
        found: Vec<String>,
        /// Columns that a file of invoice lines would also have.
        invoice_lacks: Vec<&'static str>,
        /// Columns that a Shopify file would also have.
        shopify_lacks: Vec<&'static str>,
    },
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Bytes of another encoding from the first line on.
    #[error("the header is not UTF-8; save the file as CSV in UTF-8")]
    NotUtf8,
    /// The gzip stream ends early or is damaged.
    #[error("the gzip data breaks off or is damaged after line {after_line}: {source}")]
    Gzip {
        /// Whole lines before the damage.
        after_line: u64,
        /// What the decompressor says.
        source: std::io::Error,
    },
    /// More than [`MAX_BYTES`] once unpacked.
    #[error("the file is larger than {MAX_BYTES} bytes unpacked")]
    TooLarge,
}

/// Reads a file of either format, gzip or plain, told apart by its first bytes and its header. Prices are in `currency`.
///
/// # Errors
/// [`FeedError`] when nothing of it can be read; single lines are refused in the feed itself.
pub fn read(bytes: &[u8], currency: Currency) -> Result<Feed, FeedError> {
    let text = source::unpack(bytes)?;
    let table = source::Table::open(&text)?;
    match table.format()? {
        Format::InvoiceLines => Ok(Feed::Invoices(invoice::read(table, currency))),
        Format::ShopifyProducts => Ok(Feed::Products(shopify::read(table, currency))),
    }
}

impl Feed {
    /// The format it was read from.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::Invoices(_) => Format::InvoiceLines,
            Self::Products(_) => Format::ShopifyProducts,
        }
    }

    /// Its products.
    #[must_use]
    pub fn products(&self) -> &[FeedProduct] {
        match self {
            Self::Invoices(file) => &file.products,
            Self::Products(file) => &file.products,
        }
    }

    /// Lines that were not taken, or not as written, in file order.
    #[must_use]
    pub fn refused(&self) -> &[Refusal] {
        match self {
            Self::Invoices(file) => &file.refused,
            Self::Products(file) => &file.refused,
        }
    }
}
