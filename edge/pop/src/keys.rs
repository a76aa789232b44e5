//! The keys that Workers sign with, read again when their file changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use shared::uplink::{UplinkError, UplinkKey};
use tokio_util::sync::CancellationToken;

/// Keys that may be live at once: the newest and the one it replaces.
const MAX_KEYS: usize = 2;

/// The live keys and where they come from.
pub struct Keys {
    path: PathBuf,
    current: ArcSwap<Read>,
}

struct Read {
    keys: Vec<UplinkKey>,
    modified: Option<SystemTime>,
}

/// Why the keys cannot be used. Says nothing about what is in the file.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("uplink.keys: {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// Others than its owner may read it.
    #[error("uplink.keys: {path} has mode {mode:03o}; secrets are for their owner alone (600)")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A line is not a key.
    #[error("uplink.keys: {path}, line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong.
        reason: UplinkError,
    },
    /// None, or more than two.
    #[error("uplink.keys: {path} has {count} keys; one or two can be live")]
    Count {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

impl Keys {
    /// Reads the file.
    ///
    /// # Errors
    /// Says which rule it breaks.
    pub fn load(path: PathBuf) -> Result<Arc<Self>, KeysError> {
        let current = ArcSwap::from_pointee(read(&path)?);
        Ok(Arc::new(Self { path, current }))
    }

    /// Runs `check` on the live keys, the newest first.
    pub fn with<T>(&self, check: impl FnOnce(&[UplinkKey]) -> T) -> T {
        check(&self.current.load().keys)
    }

    /// Reads the file again when its modification time changes, looking every `period`, until `stop`.
    pub async fn reload_on_change(self: Arc<Self>, period: Duration, stop: CancellationToken) {
        let mut tried = self.current.load().modified;
        let mut ticks = tokio::time::interval(period);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let modified = modified(&self.path);
            if modified == tried {
                continue;
            }
            tried = modified;
            match read(&self.path) {
                Ok(keys) => {
                    self.current.store(Arc::new(keys));
                    tracing::info!("uplink keys reloaded");
                }
                Err(error) => tracing::warn!(%error, "changed uplink keys cannot be used; the old ones stay"),
            }
        }
    }
}

fn read(path: &Path) -> Result<Read, KeysError> {
    let modified = modified(path);
    let file = |reason| KeysError::File { path: path.to_owned(), reason };
    private(path, &std::fs::metadata(path).map_err(file)?)?;
    let text = std::fs::read_to_string(path).map_err(file)?;
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let parse = |(line, key): (usize, &str)| {
        UplinkKey::parse(key).map_err(|reason| KeysError::Line { path: path.to_owned(), line, reason })
    };
    let keys = lines.filter(|(_, line)| !line.is_empty()).map(parse).collect::<Result<Vec<_>, _>>()?;
    match keys.len() {
        1..=MAX_KEYS => Ok(Read { keys, modified }),
        count => Err(KeysError::Count { path: path.to_owned(), count }),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

#[cfg(unix)]
fn private(path: &Path, metadata: &std::fs::Metadata) -> Result<(), KeysError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeysError::Exposed { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn private(_: &Path, _: &std::fs::Metadata) -> Result<(), KeysError> {
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn load(text: &str, mode: u32) -> Result<usize, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let keys = Keys::load(file.path().to_owned()).map_err(|error| error.to_string())?;
        Ok(keys.with(<[UplinkKey]>::len))
    }

    fn key(id: &str) -> String {
        format!("{id}:{}\n", "0a".repeat(32))
    }

    #[test]
    fn one_or_two_keys_are_live() {
        assert_eq!(load(&key("a"), 0o600), Ok(1));
        assert_eq!(load(&format!("{}\n{}", key("b"), key("a")), 0o400), Ok(2));
        assert!(load("", 0o600).unwrap_err().contains("0 keys"));
        assert!(load(&(key("a") + &key("b") + &key("c")), 0o600).unwrap_err().contains("3 keys"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let error = load(&format!("{}b:{}", key("a"), "zz".repeat(32)), 0o600).unwrap_err();
        assert!(error.contains("line 2") && !error.contains("zz"), "{error}");
        assert!(load(&key("a"), 0o644).unwrap_err().contains("644"));
    }
}
