//! Where the repository, its built programs and the tests' own folders are.

use std::path::{Path, PathBuf};

/// The repository.
///
/// # Panics
/// Never: this crate lies in a folder of it.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder that this build of the tests lies in, such as `target/debug`; its neighbours are the programs it starts.
fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().to_owned()
}

/// A program of ours.
///
/// # Panics
/// If it was not built: cargo builds the programs of other packages only if asked to, as `cargo xtask test` does.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let program = built().join(name);
    assert!(program.is_file(), "{} was not built; `cargo xtask test` does that first", program.display());
    program
}

/// The folder of a system that tests start.
///
/// # Panics
/// If the folder above it cannot be made.
#[must_use]
pub fn system(name: &str) -> PathBuf {
    let systems = built().parent().unwrap().join("tmp/systems");
    std::fs::create_dir_all(&systems).unwrap();
    systems.join(name)
}

/// Where pictures of the pages are put, for people to look at.
#[must_use]
pub fn screenshots() -> PathBuf {
    repository().join("target/screenshots")
}
