//! Where the repository and what cargo built are.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The repository's folders.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Where cargo puts programs: the folder that ours lies in.
    pub(crate) programs: PathBuf,
}

impl Workspace {
    /// The repository that this program was built from.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().context("xtask lies in no repository")?.canonicalize()?;
        let own = std::env::current_exe()?;
        let programs = own.parent().context("xtask lies in no folder")?.to_owned();
        Ok(Self { root, programs })
    }

    /// Cargo's target folder.
    pub(crate) fn target(&self) -> &Path {
        self.programs.parent().unwrap_or(&self.programs)
    }

    /// The Worker's own target folder: another compiler and another profile.
    pub(crate) fn worker_target(&self) -> PathBuf {
        self.target().join("worker-wasm")
    }

    /// A `cargo` for this repository, of the toolchain that it names.
    pub(crate) fn cargo(&self) -> tokio::process::Command {
        let mut cargo = xtask_system::tools::clean_command("cargo");
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", self.target());
        cargo
    }
}
