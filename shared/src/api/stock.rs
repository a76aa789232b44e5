//! How counts of stock travel from a core to those who keep a copy of them for display.
//!
//! A core numbers the changes of its counts. A reader names how far he has read, a [`StockCursor`], and is told what has
//! changed since. Every core numbers on its own, and a reader is answered by any core of a region; so he keeps one cursor for
//! each, [`StockCursors`], and sends them all. A core that finds none of its own begins from the start: no cursor is ever
//! too old.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Sku;

/// Most cursors that one question may hold.
pub const MAX_CURSORS: usize = 8;
/// Most counts in one answer.
pub const MAX_COUNTS: u32 = 5_000;

/// Free units of a SKU, as of a moment ago: only an order itself decides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StockCount {
    /// What is counted.
    pub sku: Sku,
    /// Free units.
    pub units: u64,
}

/// What has changed: `GET /v1/stock/changes?since=CURSOR&since=CURSOR`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StockChanges {
    /// Each SKU once, in the order of their last changes.
    pub items: Vec<StockCount>,
    /// How far this answer reaches.
    pub next: StockCursor,
    /// Whether there is more to read at once.
    pub more: bool,
}

/// How far the counts of one core have been read: `BOARD.VERSION`, in hexadecimal and decimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StockCursor {
    /// Whose counts: a number that a core draws when it starts.
    pub board: u64,
    /// Up to which change.
    pub version: u64,
}

/// Not `BOARD.VERSION`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is 16 hexadecimal digits, a dot and a number")]
pub struct NotACursor;

impl fmt::Display for StockCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.board, self.version)
    }
}

impl FromStr for StockCursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (board, version) = text.split_once('.').ok_or(NotACursor)?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let plain = board.len() == 16 && digits(board) && !version.starts_with('+');
        let board = u64::from_str_radix(board, 16).ok().filter(|_| plain).ok_or(NotACursor)?;
        Ok(Self { board, version: version.parse().map_err(|_| NotACursor)? })
    }
}

impl TryFrom<String> for StockCursor {
    type Error = NotACursor;

    fn try_from(text: String) -> Result<Self, NotACursor> {
        text.parse()
    }
}

impl From<StockCursor> for String {
    fn from(cursor: StockCursor) -> Self {
        cursor.to_string()
    }
}

/// How far a reader has read at each core that has answered him; the last few of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StockCursors(Vec<StockCursor>);

impl StockCursors {
    /// Notes how far the last answer reached.
    pub fn advance(&mut self, next: StockCursor) {
        self.0.retain(|known| known.board != next.board);
        self.0.push(next);
        if self.0.len() > MAX_CURSORS {
            // A core that has not answered for so long has probably ended.
            self.0.remove(0);
        }
    }

    /// At how many cores something was read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was read yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `path` with every cursor as a `since` parameter.
    #[must_use]
    pub fn query(&self, path: &str) -> String {
        let since = |(at, cursor): (usize, &StockCursor)| format!("{}since={cursor}", if at == 0 { '?' } else { '&' });
        std::iter::once(path.to_owned()).chain(self.0.iter().enumerate().map(since)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(board: u64, version: u64) -> StockCursor {
        StockCursor { board, version }
    }

    #[test]
    fn a_cursor_reads_as_it_is_written_and_nothing_else_does() {
        let own = cursor(0xc0ffee, u64::MAX);
        assert_eq!(own.to_string().parse(), Ok(own));
        for bad in
            ["", ".", "1.1", "00c0ffee00c0ffee", "00c0ffee00c0ffee.", "00c0ffee00c0ffee.+1", "+0c0ffee00c0ffee.1"]
        {
            assert_eq!(bad.parse::<StockCursor>(), Err(NotACursor), "{bad:?}");
        }
    }

    #[test]
    fn a_reader_keeps_the_newest_cursor_of_each_core_and_forgets_who_has_been_silent_longest() {
        let mut cursors = StockCursors::default();
        assert_eq!(cursors.query("/x"), "/x");
        for core in 1..=9 {
            cursors.advance(cursor(core, 1));
        }
        cursors.advance(cursor(2, 7));
        assert_eq!(cursors.len(), MAX_CURSORS);
        let query = cursors.query("/x");
        assert!(!query.contains("0000000000000001.") && query.contains("0000000000000002.7"), "{query}");
        assert!(query.starts_with("/x?since=0000000000000003.1&since="), "{query}");
        assert_eq!(query.matches("0000000000000002").count(), 1);
    }
}
