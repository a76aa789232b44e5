//! The durable log: one JSON record a line, on disk before anyone hears of it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::book::{Book, Record};

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file or its folder cannot be reached.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process writes it.
    #[error("{}: another sandbox uses it", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// A line that is not the last cannot be read.
    #[error("{}, line {line}: {cause}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        cause: String,
    },
}

/// An open log, positioned at its end.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens the log in `folder`, makes it if it is not there, and replays it into `book`. A torn last line, which nobody
    /// was answered about, is cut off.
    ///
    /// # Errors
    /// [`JournalError`], naming the file and the line.
    pub fn open(folder: &Path, book: &mut Book) -> Result<Self, JournalError> {
        let path = folder.join("payments.log");
        let io = |source| JournalError::Io { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        let mut file =
            OpenOptions::new().create(true).read(true).write(true).truncate(false).open(&path).map_err(io)?;
        file.try_lock().map_err(|_| JournalError::InUse { path: path.clone() })?;
        let good = replay(&path, &file, book)?;
        file.set_len(good).map_err(io)?;
        file.seek(SeekFrom::Start(good)).map_err(io)?;
        // The file's own entry must survive as well.
        file.sync_all().and_then(|()| File::open(folder)?.sync_all()).map_err(io)?;
        Ok(Self { path, file })
    }

    /// Writes records and returns once they are on disk. After an error the log must not be used: what the disk holds is
    /// unknown until the next start.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let mut lines = Vec::with_capacity(records.len() * 256);
        for record in records {
            serde_json::to_writer(&mut lines, record).map_err(|error| self.io(error.into()))?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines).and_then(|()| self.file.sync_data()).map_err(|source| self.io(source))
    }

    fn io(&self, source: std::io::Error) -> JournalError {
        JournalError::Io { path: self.path.clone(), source }
    }
}

/// Replays every whole line; tells how many bytes they have.
fn replay(path: &Path, file: &File, book: &mut Book) -> Result<u64, JournalError> {
    let mut reader = BufReader::new(file);
    let (mut text, mut good, mut line) = (Vec::new(), 0, 0);
    loop {
        text.clear();
        let read =
            reader.read_until(b'\n', &mut text).map_err(|source| JournalError::Io { path: path.to_owned(), source })?;
        if !text.ends_with(b"\n") {
            if read > 0 {
                tracing::warn!(file.path = %path.display(), line = line + 1, "the last line was torn and is cut off");
            }
            return Ok(good);
        }
        line += 1;
        let taken =
            serde_json::from_slice(&text).map_err(|error| error.to_string()).and_then(|record| book.replay(&record));
        taken.map_err(|cause| JournalError::Damaged { path: path.to_owned(), line, cause })?;
        good += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use shared::{Currency, Money};

    use super::*;
    use crate::book::Stamp;
    use crate::rules::Token;

    fn folder_with_payments(count: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut book = Book::new(100);
        let mut journal = Journal::open(folder.path(), &mut book).unwrap();
        for number in 0..count {
            let stamp = Stamp { at_ms: 1, fresh: number.to_string() };
            let amount = Money::new(5, Currency::GBP).unwrap();
            let created =
                book.create(&format!("order-{number}"), amount, (Token::Success, None), None, &stamp).unwrap();
            journal.append(&[created.record.unwrap()]).unwrap();
        }
        folder
    }

    fn reopened(folder: &Path) -> Result<usize, JournalError> {
        let mut book = Book::new(100);
        Journal::open(folder, &mut book).map(|_| book.counts().0)
    }

    #[test]
    fn what_was_written_is_read_back() {
        assert_eq!(reopened(folder_with_payments(3).path()).unwrap(), 3);
    }

    #[test]
    fn a_torn_last_line_never_happened() {
        let folder = folder_with_payments(2);
        let path = folder.path().join("payments.log");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();
        assert_eq!(reopened(folder.path()).unwrap(), 1);
        assert_eq!(reopened(folder.path()).unwrap(), 1, "the torn line was not cut off");
    }

    #[test]
    fn damage_before_the_end_is_named_by_its_line() {
        let folder = folder_with_payments(3);
        let path = folder.path().join("payments.log");
        let damaged = std::fs::read_to_string(&path).unwrap().replacen("\"sequence\":2", "\"sequence\":\"two\"", 1);
        std::fs::write(&path, damaged).unwrap();
        assert!(matches!(reopened(folder.path()), Err(JournalError::Damaged { line: 2, .. })));
    }

    #[test]
    fn two_sandboxes_never_share_a_log() {
        let folder = folder_with_payments(0);
        let first = Journal::open(folder.path(), &mut Book::new(1)).unwrap();
        assert!(matches!(reopened(folder.path()), Err(JournalError::InUse { .. })));
        drop(first);
        assert_eq!(reopened(folder.path()).unwrap(), 0);
    }
}
