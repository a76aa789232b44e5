//! A delivery table as its merchant writes it: TOML, refused with line and field.

use serde::Deserialize;
use shared::Currency;
use toml::de::DeTable;

use super::{DeliveryTable, Step, Zone};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    currency: Currency,
    zones: Vec<Zone>,
}

/// Why a file is no delivery table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct FileError {
    /// Counted from 1.
    pub line: usize,
    /// The field, if it is known, and the rule.
    pub message: String,
}

/// Reads a delivery table.
///
/// # Errors
/// The first line that is no TOML, or whose field is unknown, missing or breaks a rule.
pub fn read_delivery(text: &str) -> Result<DeliveryTable, FileError> {
    let no_toml = |error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        FileError { line: line(text, start), message: error.message().replace('\n', ", ") }
    };
    let File { currency, zones } = toml::from_str(text).map_err(no_toml)?;
    DeliveryTable::new(currency, zones)
        .map_err(|invalid| FileError { line: line(text, start(text, &invalid.path)), message: invalid.to_string() })
}

/// The line of a byte.
fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// Where a value begins, or as much of the way to it as the file has.
fn start(text: &str, path: &[Step]) -> usize {
    let Some((Step::Field(root), path)) = path.split_first() else { return 0 };
    let Ok(table) = DeTable::parse(text) else { return 0 };
    let Some(mut value) = table.get_ref().get(*root) else { return 0 };
    for step in path {
        let next = match step {
            Step::Field(name) => value.get_ref().get(*name),
            Step::Element(index) => value.get_ref().get(*index),
        };
        let Some(next) = next else { break };
        value = next;
    }
    value.span().start
}
