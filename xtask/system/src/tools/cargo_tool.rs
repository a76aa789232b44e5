//! Tools that crates.io brings: `worker-build`, `wasm-bindgen` and, if wanted, tansu.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{SystemError, file};
use crate::tools::{Tools, clean_command, run};

/// Compiling one from nothing takes minutes on a small machine.
const COMPILED_WITHIN: Duration = Duration::from_secs(1_800);
/// Must fit the `worker` crate of the lock file.
const WORKER_BUILD: &str = "0.8.7";
/// The newest that the tests of the bus were written for.
const TANSU: &str = "0.6.0";

/// `worker-build`, which makes a Worker of a crate.
///
/// # Errors
/// [`SystemError::Missing`] if it does not compile.
pub async fn worker_build(tools: &Tools) -> Result<PathBuf, SystemError> {
    install(tools, "worker-build", "worker-build", WORKER_BUILD, &[]).await
}

/// Tansu, a broker of Kafka, that keeps all in memory: some 15 minutes of compiling, so it is only installed on demand.
///
/// # Errors
/// [`SystemError::Missing`] if it does not compile.
pub async fn tansu(tools: &Tools) -> Result<PathBuf, SystemError> {
    install(tools, "tansu", "tansu", TANSU, &["--features", "dynostore"]).await
}

/// Tansu, if it was installed.
#[must_use]
pub fn found_tansu(tools: &Tools) -> Option<PathBuf> {
    Some(tools.found(&format!("tansu-{TANSU}"))?.join("bin/tansu"))
}

/// `wasm-bindgen`, of exactly the version that the lock file of the repository at `root` names.
///
/// # Errors
/// [`SystemError::Missing`] if it does not compile, [`SystemError::File`] if there is no lock file.
pub async fn wasm_bindgen(tools: &Tools, root: &Path) -> Result<PathBuf, SystemError> {
    let path = root.join("Cargo.lock");
    let lock = std::fs::read_to_string(&path).map_err(file("read", &path))?;
    let version = locked_version(&lock, "wasm-bindgen").ok_or_else(|| SystemError::Missing {
        tool: "wasm-bindgen",
        advice: "Cargo.lock names no version of it".to_owned(),
    })?;
    install(tools, "wasm-bindgen-cli", "wasm-bindgen", version, &[]).await
}

async fn install(
    tools: &Tools,
    package: &'static str,
    program: &str,
    version: &str,
    features: &[&str],
) -> Result<PathBuf, SystemError> {
    let name = format!("{package}-{version}");
    let folder = tools.once(&name, async |partial| {
        tools.say(&format!("compiling {package} {version} (once; this takes some minutes)"));
        let compile = async |locked: &[&str]| {
            let mut command = clean_command("cargo");
            command
                .args(["install", "--quiet", package, "--version", version, "--root"])
                .arg(partial)
                .args(features)
                .args(locked);
            // A target folder of ours would be locked by the build that waits for this tool.
            command.env_remove("CARGO_TARGET_DIR");
            run(package, &mut command, COMPILED_WITHIN).await
        };
        // Its own lock file may name a crate that was withdrawn since; then the newest that fit will do.
        match compile(&["--locked"]).await {
            Ok(_) => Ok(()),
            Err(_) => compile(&[]).await.map(|_| ()),
        }
    });
    Ok(folder.await?.join("bin").join(program))
}

/// The version of a package in the text of a `Cargo.lock`.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locked_version_is_that_of_the_package_and_not_of_a_namesake() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.1\"\n\n[[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(locked_version(lock, "wasm"), None);
    }
}
