//! Where an instance keeps its things: `.meridian/<instance>/` under the repository.
//!
//! Databases lie there too if the user that runs them can reach the folder; else under the machine's state folder.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{SystemError, file};
use crate::user::ServiceUser;

/// The folders of one instance.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    databases: PathBuf,
}

impl Layout {
    /// Makes the folders of `root`, which is the instance's own; databases will run as `user`.
    ///
    /// # Errors
    /// [`SystemError::File`].
    pub fn create(root: &Path, user: Option<&ServiceUser>) -> Result<Self, SystemError> {
        folder(root, 0o755)?;
        let root = root.canonicalize().map_err(file("find", root))?;
        let databases = if user.is_none() || others_can_reach(&root) { root.join("pg") } else { elsewhere(&root)? };
        folder(&databases, 0o755)?;
        let layout = Self { root, databases };
        for (name, mode) in [("config", 0o700), ("logs", 0o755), ("redis", 0o700), ("secrets", 0o700), ("tls", 0o700)] {
            folder(&layout.root.join(name), mode)?;
        }
        Ok(layout)
    }

    /// The instance's own folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The data folder of a Postgres server.
    #[must_use]
    pub fn database(&self, name: &str) -> PathBuf {
        self.databases.join(name)
    }

    /// Whether the databases had to go somewhere else than the root.
    #[must_use]
    pub fn databases(&self) -> &Path {
        &self.databases
    }

    /// A file or folder under the root.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The log of a part.
    #[must_use]
    pub fn log(&self, part: &str) -> PathBuf {
        self.root.join("logs").join(format!("{part}.log"))
    }

    /// The logs that there are.
    ///
    /// # Errors
    /// [`SystemError::File`].
    pub fn logs(&self) -> Result<Vec<PathBuf>, SystemError> {
        let logs = self.root.join("logs");
        let all = std::fs::read_dir(&logs).map_err(file("list", &logs))?.flatten().map(|entry| entry.path());
        Ok(all.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect())
    }

    /// Sets the logs of an earlier run aside, one of each.
    ///
    /// # Errors
    /// [`SystemError::File`].
    pub fn rotate_logs(&self) -> Result<(), SystemError> {
        for path in self.logs()? {
            let old = path.with_extension("log.old");
            std::fs::rename(&path, &old).map_err(file("rename", &path))?;
        }
        Ok(())
    }

    /// Removes everything that the instance keeps, its databases as well.
    ///
    /// # Errors
    /// [`SystemError::File`].
    pub fn remove(self) -> Result<(), SystemError> {
        for path in [&self.databases, &self.root] {
            if path.exists() {
                std::fs::remove_dir_all(path).map_err(file("remove", path))?;
            }
        }
        Ok(())
    }
}

/// Makes a folder with this mode; one that exists keeps its own.
pub(crate) fn folder(path: &Path, mode: u32) -> Result<(), SystemError> {
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(file("create", path))
}

/// Replaces a file in one step; only its owner may read it.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), SystemError> {
    use std::io::Write;
    let mut new = path.as_os_str().to_owned();
    new.push(".partial");
    let new = PathBuf::from(new);
    if new.exists() {
        std::fs::remove_file(&new).map_err(file("remove", &new))?;
    }
    let mut written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(file("create", &new))?;
    written.write_all(content).map_err(file("write", &new))?;
    std::fs::rename(&new, path).map_err(file("rename", &new))
}

/// Every folder on the way lets strangers pass.
fn others_can_reach(path: &Path) -> bool {
    path.ancestors().all(|folder| folder.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0))
}

/// A folder for the databases of the instance at `root`, told apart by the root's device and inode.
fn elsewhere(root: &Path) -> Result<PathBuf, SystemError> {
    let metadata = root.metadata().map_err(file("find", root))?;
    let name = format!("{:x}-{:x}", metadata.dev(), metadata.ino());
    let path = Path::new("/var/lib/meridian").join(name);
    folder(&path, 0o755)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_its_owners_alone_and_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uplink.keys");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_folder_behind_a_closed_door_is_known_to_be_out_of_reach() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!others_can_reach(&inner));
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        assert!(others_can_reach(&inner));
    }
}
