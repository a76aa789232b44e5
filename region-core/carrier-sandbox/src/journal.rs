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
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens the log in `folder`, makes it if it is not there, and replays it into `book`. A torn last line, which nobody
    /// was answered about, is cut off.
    pub(crate) fn open(folder: &Path, book: &mut Book) -> Result<Self, JournalError> {
        let path = folder.join("parcels.log");
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

    /// Writes a record and returns once it is on disk. After an error the log must not be used: what the disk holds is unknown until
    /// the next start.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let io = |source| JournalError::Io { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(record).map_err(|error| io(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(io)
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
            return Ok(good);
        }
        line += 1;
        let taken =
            serde_json::from_slice(&text).map_err(|error| error.to_string()).and_then(|record| book.replay(&record));
        taken.map_err(|cause| JournalError::Damaged { path: path.to_owned(), line, cause })?;
        good += read as u64;
    }
}
