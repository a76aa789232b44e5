//! Names this build of the pages, so that a new release never serves HTML that an older one left in the slower cache tier.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

fn main() {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| ".".to_owned()));
    let mut hasher = DefaultHasher::new();
    for folder in ["src", "static", "templates"] {
        println!("cargo::rerun-if-changed={folder}");
        hash_folder(&root.join(folder), &mut hasher);
    }
    println!("cargo::rustc-env=EDGE_APP_BUILD={:016x}", hasher.finish());
}

/// Contents in the order of their names; whatever cannot be read fails the compile by itself.
fn hash_folder(folder: &Path, hasher: &mut DefaultHasher) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            hash_folder(&path, hasher);
        } else {
            path.file_name().hash(hasher);
            std::fs::read(&path).unwrap_or_default().hash(hasher);
        }
    }
}
