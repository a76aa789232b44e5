//! A CSV file as lines with numbers: unpacking, the header, and what can be wrong with a line.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use serde::Serialize;

use crate::{FeedError, Format};

/// Largest file that is read, unpacked, in bytes.
pub const MAX_BYTES: u64 = 512 * 1024 * 1024;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line that was not taken, or not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Its number in the file; the header is line 1.
    pub line: u64,
    /// The number of the last line it runs through: more than `line` where a quote was left open.
    pub last_line: u64,
    /// Why.
    #[serde(serialize_with = "as_text")]
    pub reason: Reason,
}

fn as_text<S: serde::Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reason)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == self.last_line {
            write!(f, "line {}: {}", self.line, self.reason)
        } else {
            write!(f, "lines {} to {}: {}", self.line, self.last_line, self.reason)
        }
    }
}

/// Why a line was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Bytes of another encoding.
    #[error("{column} is not UTF-8 (byte {byte:#04x})")]
    NotUtf8 {
        /// The column.
        column: String,
        /// The first byte that does not belong.
        byte: u8,
    },
    /// A NUL character, which no database keeps.
    #[error("{0} holds a NUL character")]
    Nul(String),
    /// Too few or too many columns.
    #[error("{found} columns where the header has {expected}{}", if *.at_end { "; the file breaks off here" } else { "" })]
    Columns {
        /// Columns of the line.
        found: usize,
        /// Columns of the header.
        expected: usize,
        /// Whether it is the file's last line and too short.
        at_end: bool,
    },
    /// A field that must not be empty is.
    #[error("{0} is empty")]
    Missing(&'static str),
    /// A field cannot be read as what it should be.
    #[error("{column} {value:?} is not {wanted}")]
    Field {
        /// The column.
        column: &'static str,
        /// What stands there, the first 60 characters.
        value: String,
        /// What should.
        wanted: &'static str,
    },
    /// The same SKU again.
    #[error("SKU {sku} already stands on line {first}")]
    RepeatedSku {
        /// The SKU.
        sku: String,
        /// Where it stood first.
        first: u64,
    },
    /// A repeated SKU adds up to more than an order line may hold.
    #[error("with this line invoice {invoice} would hold more than 100,000 units of {sku}")]
    TooManyUnits {
        /// The invoice.
        invoice: String,
        /// The SKU.
        sku: String,
    },
    /// The product's first row was refused, so there is nothing to continue.
    #[error("it continues the product {0:?}, whose first row was refused")]
    Orphan(String),
    /// The row is taken without its picture.
    #[error("Image Src {0:?} is not an https URL; the picture is left out")]
    Picture(String),
    /// The row is taken with no stock.
    #[error("Variant Inventory Qty is {0}; taken as 0")]
    NegativeStock(i64),
    /// A product without a single variant cannot be sold.
    #[error("the product {0:?} has no variant that can be taken")]
    NoVariant(String),
}

impl Reason {
    pub(crate) fn field(column: &'static str, value: &str, wanted: &'static str) -> Self {
        Self::Field { column, value: value.chars().take(60).collect(), wanted }
    }
}

/// The file's text, unpacked if it is gzip: what a file's hash is taken of, so that packing it changes nothing.
///
/// # Errors
/// [`FeedError::Gzip`] or [`FeedError::TooLarge`].
pub fn unpack(bytes: &[u8]) -> Result<Cow<'_, [u8]>, FeedError> {
    if !bytes.starts_with(&GZIP_MAGIC) {
        let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_BYTES);
        return if fits { Ok(Cow::Borrowed(bytes)) } else { Err(FeedError::TooLarge) };
    }
    let mut text = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(bytes).take(MAX_BYTES + 1).read_to_end(&mut text);
    read.map_err(|source| FeedError::Gzip { after_line: lines(&text), source })?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= MAX_BYTES) {
        Ok(Cow::Owned(text))
    } else {
        Err(FeedError::TooLarge)
    }
}

fn lines(text: &[u8]) -> u64 {
    text.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// A file whose header has been read.
pub(crate) struct Table<'a> {
    rows: csv::Reader<&'a [u8]>,
    columns: Vec<String>,
    text: &'a [u8],
}

/// A line with all its columns, in UTF-8.
pub(crate) struct Row<'a> {
    /// Its number in the file.
    pub(crate) line: u64,
    pub(crate) last_line: u64,
    fields: &'a csv::StringRecord,
}

impl Row<'_> {
    /// The field in that column, trimmed; empty where the file lacks the column.
    pub(crate) fn get(&self, column: Option<usize>) -> &str {
        column.and_then(|column| self.fields.get(column)).unwrap_or("").trim()
    }

    pub(crate) fn refuse(&self, reason: Reason) -> Refusal {
        Refusal { line: self.line, last_line: self.last_line, reason }
    }
}

const INVOICE_COLUMNS: [&str; 8] =
    ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"];
const SHOPIFY_COLUMNS: [&str; 3] = ["Handle", "Title", "Variant Price"];

impl<'a> Table<'a> {
    /// Reads the header.
    pub(crate) fn open(text: &'a [u8]) -> Result<Self, FeedError> {
        let text = text.strip_prefix(UTF8_MARK).unwrap_or(text);
        let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(text);
        let header = rows.byte_headers().map_err(|_| FeedError::NotUtf8)?.clone();
        if header.iter().all(|column| column.trim_ascii().is_empty()) {
            return Err(FeedError::Empty);
        }
        let column = |bytes: &[u8]| std::str::from_utf8(bytes).map(|name| name.trim().to_owned());
        let columns = header.iter().map(column).collect::<Result<_, _>>().map_err(|_| FeedError::NotUtf8)?;
        Ok(Self { rows, columns, text })
    }

    /// Which format the header is of.
    pub(crate) fn format(&self) -> Result<Format, FeedError> {
        let lacks =
            |wanted: &[&'static str]| wanted.iter().copied().filter(|name| self.column(name).is_none()).collect();
        let (invoice_lacks, shopify_lacks): (Vec<_>, Vec<_>) = (lacks(&INVOICE_COLUMNS), lacks(&SHOPIFY_COLUMNS));
        if invoice_lacks.is_empty() {
            Ok(Format::InvoiceLines)
        } else if shopify_lacks.is_empty() {
            Ok(Format::ShopifyProducts)
        } else {
            let found = self.columns.iter().take(20).map(|name| name.chars().take(60).collect()).collect();
            Err(FeedError::UnknownHeader { found, invoice_lacks, shopify_lacks })
        }
    }

    /// Where a column stands.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// Hands each line that has all its columns to `take` and lists the others.
    pub(crate) fn each(mut self, refused: &mut Vec<Refusal>, mut take: impl FnMut(&Row<'_>, &mut Vec<Refusal>)) -> u64 {
        let mut record = csv::ByteRecord::new();
        let mut count = 0;
        let mut line = LineCounter { text: self.text, at: 0, line: 1 };
        // Reading from memory with flexible rows cannot fail: neither I/O nor unequal lengths are errors here.
        while self.rows.read_byte_record(&mut record).unwrap_or(false) {
            count += 1;
            let start = record.position().map_or(0, csv::Position::byte);
            let first_line = line.number_at(start, true);
            let last_line = line.number_at(self.rows.position().byte(), false).max(first_line);
            let at_end = self.rows.is_done() || self.rest_is_blank();
            match self.checked(&record, at_end) {
                Ok(fields) => take(&Row { line: first_line, last_line, fields: &fields }, refused),
                Err(reason) => refused.push(Refusal { line: first_line, last_line, reason }),
            }
        }
        count
    }

    fn rest_is_blank(&self) -> bool {
        let at = usize::try_from(self.rows.position().byte()).unwrap_or(usize::MAX);
        self.text.get(at..).is_none_or(|rest| rest.trim_ascii().is_empty())
    }

    fn checked(&self, record: &csv::ByteRecord, at_end: bool) -> Result<csv::StringRecord, Reason> {
        let (found, expected) = (record.len(), self.columns.len());
        if found != expected {
            return Err(Reason::Columns { found, expected, at_end: at_end && found < expected });
        }
        if let Some(field) = record.iter().position(|field| field.contains(&0)) {
            return Err(Reason::Nul(self.columns[field].clone()));
        }
        csv::StringRecord::from_byte_record(record.clone()).map_err(|error| {
            let (field, at) = (error.utf8_error().field(), error.utf8_error().valid_up_to());
            let byte = record.get(field).and_then(|bytes| bytes.get(at)).copied().unwrap_or_default();
            Reason::NotUtf8 { column: self.columns[field].clone(), byte }
        })
    }
}

/// Numbers lines as editors do, blank ones included, whatever the quoting.
struct LineCounter<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl LineCounter<'_> {
    /// The number of the line that byte `position` stands on; `skip_blank` first passes line ends at that position,
    /// otherwise the line end just before it still counts as the old line.
    fn number_at(&mut self, position: u64, skip_blank: bool) -> u64 {
        let mut to = usize::try_from(position).unwrap_or(usize::MAX).min(self.text.len());
        if skip_blank {
            to += self.text[to..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        } else {
            to -= self.text[..to].iter().rev().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        }
        if to > self.at {
            self.line += lines(&self.text[self.at..to]);
            self.at = to;
        }
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals(text: &[u8]) -> (u64, Vec<String>) {
        let mut refused = Vec::new();
        let mut taken = Vec::new();
        let count = Table::open(text).unwrap().each(&mut refused, |row, _| taken.push((row.line, row.last_line)));
        let said = refused.iter().map(ToString::to_string).chain(taken.iter().map(|(a, b)| format!("took {a}-{b}")));
        (count, said.collect())
    }

    #[test]
    fn lines_are_numbered_as_an_editor_does() {
        let (count, said) = refusals(b"a,b\n1,2\n\n\"x\ny\",3\nonly\n4,5\n");
        assert_eq!(count, 4);
        assert_eq!(said, ["line 6: 1 columns where the header has 2", "took 2-2", "took 4-5", "took 7-7"]);
    }

    #[test]
    fn a_line_of_another_encoding_is_refused_with_its_byte() {
        let (_, said) = refusals(b"a,b\r\n1,\xa350\r\n3,4\r\n");
        assert_eq!(said, ["line 2: b is not UTF-8 (byte 0xa3)", "took 3-3"]);
        let (_, said) = refusals(b"a,b\n1,x\0y\n3,4\n");
        assert_eq!(said, ["line 2: b holds a NUL character", "took 3-3"]);
    }

    #[test]
    fn a_file_that_breaks_off_says_so() {
        let (_, said) = refusals(b"a,b\n1,2\n3");
        assert_eq!(said, ["line 3: 1 columns where the header has 2; the file breaks off here", "took 2-2"]);
        let (_, said) = refusals(b"a,b\n\"1,2\n3,4\n");
        assert_eq!(said, ["lines 2 to 3: 1 columns where the header has 2; the file breaks off here"]);
    }

    #[test]
    fn a_broken_gzip_says_how_far_it_got() {
        use std::io::Write;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all("a,b\n1,2\n".repeat(5_000).as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        assert!(unpack(&packed).is_ok());
        let error = unpack(&packed[..packed.len() / 2]).unwrap_err();
        assert!(matches!(error, FeedError::Gzip { .. }), "{error}");
    }

    #[test]
    fn an_unknown_header_names_the_columns() {
        let error = Table::open(b"Handle,Name\n").unwrap().format().unwrap_err().to_string();
        assert!(error.contains("Name") && error.contains("Variant Price") && error.contains("InvoiceNo"), "{error}");
        assert!(matches!(Table::open(b""), Err(FeedError::Empty)));
        assert!(matches!(Table::open(b"\xff\xfeH\0a\0"), Err(FeedError::NotUtf8)));
    }
}
