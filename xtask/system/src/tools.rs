//! The tools that building, running and testing need beside Rust: found, or installed once into a cache that all
//! clones of the repository share.
//!
//! The cache is `$MERIDIAN_TOOLS`, else `meridian/tools` in the user's cache folder. Each tool lies in a folder named by
//! its version; it is made beside its place and moved there, under a lock, so that two runs at once do no harm.

pub mod apt;
pub mod cargo_tool;
pub mod node;
pub mod servers;
pub mod stripe;
pub mod wasm;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::error::{SystemError, file};

/// How much of a failed installation's output is told.
const TOLD_LINES: usize = 30;

/// Where tools are kept, and who is told what is being installed.
pub struct Tools {
    cache: PathBuf,
    say: Box<dyn Fn(&str) + Send + Sync>,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tools").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Tools {
    /// The machine's cache, made if it is not there; `say` hears one line for each thing that is done.
    ///
    /// # Errors
    /// [`SystemError::Missing`] if there is no home to keep it in, [`SystemError::File`].
    pub fn new(say: impl Fn(&str) + Send + Sync + 'static) -> Result<Self, SystemError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = variable("MERIDIAN_TOOLS")
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("meridian/tools")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/meridian/tools")))
            .ok_or_else(|| SystemError::Missing {
                tool: "a cache folder",
                advice: "set MERIDIAN_TOOLS to a folder where tools may be installed".to_owned(),
            })?;
        std::fs::create_dir_all(&cache).map_err(file("create", &cache))?;
        Ok(Self { cache, say: Box::new(say) })
    }

    pub(crate) fn say(&self, line: &str) {
        (self.say)(line);
    }

    /// The folder of a tool that was installed.
    pub(crate) fn found(&self, name: &str) -> Option<PathBuf> {
        Some(self.cache.join(name)).filter(|place| place.is_dir())
    }

    /// The folder of a tool, which `install` fills if it is not there.
    pub(crate) async fn once(
        &self,
        name: &str,
        install: impl AsyncFnOnce(&Path) -> Result<(), SystemError>,
    ) -> Result<PathBuf, SystemError> {
        let place = self.cache.join(name);
        if place.is_dir() {
            return Ok(place);
        }
        let _lock = self.lock(name).await?;
        if place.is_dir() {
            return Ok(place);
        }
        let partial = self.cache.join(format!("{name}.partial"));
        if partial.exists() {
            std::fs::remove_dir_all(&partial).map_err(file("remove", &partial))?;
        }
        std::fs::create_dir_all(&partial).map_err(file("create", &partial))?;
        install(&partial).await?;
        std::fs::rename(&partial, &place).map_err(file("rename", &partial))?;
        Ok(place)
    }

    /// Waits for whoever else installs something of that name.
    pub(crate) async fn lock(&self, name: &str) -> Result<File, SystemError> {
        let path = self.cache.join(format!("{name}.lock"));
        let lock = File::create(&path).map_err(file("create", &path))?;
        let locked = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
        locked.unwrap_or_else(|panic| Err(std::io::Error::other(panic))).map_err(file("lock", &path))
    }
}

/// Runs a command to its end and gives what it wrote to standard output; it is killed when its time is over.
pub(crate) async fn run(what: &'static str, command: &mut Command, limit: Duration) -> Result<String, SystemError> {
    let failed = |why: String| SystemError::Missing { tool: what, advice: why };
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(limit, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(failed(format!("cannot run {}: {error}", shown(command)))),
        Err(_) => return Err(failed(format!("{} took longer than {} s", shown(command), limit.as_secs()))),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let both = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&both);
    let lines: Vec<&str> = text.lines().collect();
    let told = lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n    ");
    Err(failed(format!("{} failed ({})\n    {told}", shown(command), output.status)))
}

fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    format!("`{}`", words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
}

/// A command without what `cargo run` and `rustup` left in our environment, which would steer a build that is not ours.
#[must_use]
pub fn clean_command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let steers = name == "CARGO" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if steers
            || name.starts_with("RUSTUP_TOOLCHAIN")
            || name == "CARGO_PRIMARY_PACKAGE"
            || name == "LD_LIBRARY_PATH"
        {
            command.env_remove(&name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn tools(cache: &Path) -> Tools {
        Tools { cache: cache.to_owned(), say: Box::new(|_| ()) }
    }

    #[tokio::test]
    async fn two_at_once_install_a_tool_once() {
        let folder = tempfile::tempdir().unwrap();
        let installed = AtomicUsize::new(0);
        let install = async || {
            let tools = tools(folder.path());
            tools
                .once("tool-1", async |partial| {
                    installed.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    std::fs::write(partial.join("tool"), "x").map_err(file("write", partial))
                })
                .await
                .unwrap()
        };
        let (first, second) = tokio::join!(install(), install());
        assert_eq!((first.clone(), installed.load(Ordering::SeqCst)), (second, 1));
        assert!(first.join("tool").is_file());
    }

    #[tokio::test]
    async fn a_failed_installation_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let tools = tools(folder.path());
        let failed = tools.once("tool-1", async |_| Err(SystemError::Unguarded)).await;
        assert!(failed.is_err() && !folder.path().join("tool-1").exists());
        assert!(tools.once("tool-1", async |_| Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended_and_named() {
        let hung = run("a tool", Command::new("sleep").arg("3600"), Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(hung.to_string(), "a tool is missing: `sleep 3600` took longer than 0 s");
    }
}
