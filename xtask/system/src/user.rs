//! Who the databases run as: Postgres refuses root.

use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, chown};

use crate::error::{SystemError, file};

/// An unprivileged user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUser {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
    /// Its home.
    pub home: PathBuf,
}

impl ServiceUser {
    /// The user for databases: none if we are not root and can run them ourselves; else `postgres`, else `nobody`.
    ///
    /// # Errors
    /// [`SystemError::Missing`] if we are root and the machine has neither user.
    pub fn for_databases() -> Result<Option<Self>, SystemError> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        let found = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
        found.map(Self::from).map(Some).ok_or_else(|| SystemError::Missing {
            tool: "an unprivileged user",
            advice: "Postgres refuses to run as root, and this machine has no user `postgres` or `nobody`".to_owned(),
        })
    }

    /// Makes it the owner of a file or folder.
    ///
    /// # Errors
    /// [`SystemError::File`].
    pub fn own(&self, path: &Path) -> Result<(), SystemError> {
        chown(path, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
            .map_err(|errno| file("change the owner of", path)(errno.into()))
    }
}

impl From<User> for ServiceUser {
    fn from(user: User) -> Self {
        Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw(), home: user.dir }
    }
}
