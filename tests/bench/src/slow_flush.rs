//! The library that makes a disk's flushes slow, compiled from its few lines with this machine's C compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

const SOURCE: &str = include_str!("../pg/slowsync.c");
/// What each flush takes longer, in microseconds.
pub(crate) const MICROSECONDS: &str = "1000";

/// Builds it into `folder`, which the databases' user can read.
pub(crate) fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let (source, library) = (folder.join("slowsync.c"), folder.join("slowsync.so"));
    std::fs::write(&source, SOURCE).with_context(|| format!("cannot write {}", source.display()))?;
    let compiled =
        Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").output();
    let compiled = compiled.context("cannot run cc, the C compiler that Rust links with")?;
    if !compiled.status.success() {
        bail!("cc cannot compile {}: {}", source.display(), String::from_utf8_lossy(&compiled.stderr));
    }
    Ok(library)
}
