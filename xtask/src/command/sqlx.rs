//! `cargo xtask sqlx`: the committed metadata of the checked queries, so that builds need no database.
//!
//! The query macros describe each query on a scratch server and write what they learnt into `.sqlx/`. They do so only
//! when they are expanded, so the crates that have any are compiled again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use sqlx::Connection as _;

use crate::build::passes;
use crate::console::Console;
use crate::scratch::Scratch;
use crate::workspace::Workspace;

const MIGRATIONS: &str = "region-core/store/migrations";

/// What to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Changes nothing, and fails if the committed metadata is not what it should be.
    #[arg(long)]
    pub(crate) check: bool,
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let console = std::sync::Arc::new(Console::new());
    let scratch = Scratch::start(workspace, &console).await?;
    for database in ["shard", "catalog"] {
        migrate(&workspace.root, &scratch, database).await?;
    }
    let fresh = workspace.target().join("sqlx/metadata");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)?;
    }
    std::fs::create_dir_all(&fresh)?;
    console.step("query metadata", expand(workspace, &scratch, &fresh)).await?;
    scratch.stop().await?;
    let (new, old) = (read(&fresh)?, read(&workspace.root.join(".sqlx"))?);
    if options.check {
        return compare(&old, &new);
    }
    replace(&workspace.root.join(".sqlx"), &new)?;
    println!("{} queries described in .sqlx", new.len());
    Ok(())
}

/// Applies the migrations of one kind of database, in order.
async fn migrate(root: &Path, scratch: &Scratch, database: &str) -> anyhow::Result<()> {
    xtask_system::store::create_database(scratch.postgres(), database).await?;
    let mut connection = sqlx::PgConnection::connect(&scratch.postgres().url(database)).await?;
    let migrations = sqlx::migrate::Migrator::new(root.join(MIGRATIONS).join(database)).await?;
    migrations.run(&mut connection).await.with_context(|| format!("while migrating {database}"))?;
    Ok(connection.close().await?)
}

/// Expands every query macro anew, each writing its metadata into `metadata`. Cargo compiles again what looks younger than
/// its last result; afterwards the files get their times back, so that no other build is troubled.
async fn expand(workspace: &Workspace, scratch: &Scratch, metadata: &Path) -> anyhow::Result<()> {
    let times = roots(workspace).await?.into_iter().map(Touched::now).collect::<anyhow::Result<Vec<_>>>()?;
    let mut check = workspace.cargo();
    check
        .args(["check", "--quiet", "--workspace", "--all-targets"])
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", metadata)
        .env("SHARD_DATABASE_URL", scratch.postgres().url("shard"))
        .env("CATALOG_DATABASE_URL", scratch.postgres().url("catalog"));
    let passed = passes("cargo check", check).await;
    drop(times);
    passed
}

/// A file that looks just written until this is dropped.
struct Touched {
    file: std::fs::File,
    written_at: std::time::SystemTime,
}

impl Touched {
    fn now(path: PathBuf) -> anyhow::Result<Self> {
        let name = || path.display().to_string();
        let file = std::fs::File::options().append(true).open(&path).with_context(name)?;
        let written_at = file.metadata().and_then(|metadata| metadata.modified()).with_context(name)?;
        #[expect(clippy::disallowed_methods, reason = "what cargo compares is the file system's time")]
        file.set_modified(std::time::SystemTime::now()).with_context(name)?;
        Ok(Self { file, written_at })
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        // A file that keeps its new time only costs a compilation.
        let _ = self.file.set_modified(self.written_at);
    }
}

/// The root files of the packages that have an `sqlx.toml`: those whose queries are checked.
async fn roots(workspace: &Workspace) -> anyhow::Result<Vec<PathBuf>> {
    let mut cargo = workspace.cargo();
    let output = cargo
        .args(["metadata", "--no-deps", "--format-version=1"])
        .stderr(Stdio::inherit())
        .output()
        .await
        .context("cannot run cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata failed")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let checked = packages.iter().filter_map(|package| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        manifest.with_file_name("sqlx.toml").is_file().then(|| manifest.with_file_name("src").join("lib.rs"))
    });
    Ok(checked.collect())
}

/// The files of a metadata folder, by name.
fn read(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    if folder.is_dir() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().context("a file without a name")?;
            files.insert(name.into(), std::fs::read(&path)?);
        }
    }
    Ok(files)
}

fn compare(old: &BTreeMap<PathBuf, Vec<u8>>, new: &BTreeMap<PathBuf, Vec<u8>>) -> anyhow::Result<()> {
    let differ = |(name, content): &(&PathBuf, &Vec<u8>)| old.get(*name) != Some(content);
    let missing = new.iter().filter(differ).count();
    let left_over = old.keys().filter(|name| !new.contains_key(*name)).count();
    if missing + left_over > 0 {
        bail!(
            "of {} queries {missing} are not in .sqlx as they are now, {left_over} there are of none; run `cargo xtask sqlx`",
            new.len()
        );
    }
    Ok(())
}

fn replace(folder: &Path, new: &BTreeMap<PathBuf, Vec<u8>>) -> anyhow::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    for (name, content) in new {
        std::fs::write(folder.join(name), content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(named: &[(&str, &str)]) -> BTreeMap<PathBuf, Vec<u8>> {
        named.iter().map(|(name, content)| (PathBuf::from(name), content.as_bytes().to_vec())).collect()
    }

    #[test]
    fn missing_changed_and_left_over_metadata_is_told() {
        let now = files(&[("a", "1"), ("b", "2")]);
        assert!(compare(&now, &now).is_ok());
        for old in
            [files(&[("a", "1")]), files(&[("a", "1"), ("b", "1")]), files(&[("a", "1"), ("b", "2"), ("c", "3")])]
        {
            assert!(compare(&old, &now).is_err());
        }
    }
}
