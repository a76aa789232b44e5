//! The servers and the browser that the system's own packages bring.

use std::path::PathBuf;

use crate::error::SystemError;
use crate::postgres::PostgresPrograms;
use crate::redis;
use crate::tools::{Tools, apt};

/// Postgres 15 or newer.
///
/// # Errors
/// [`SystemError::Missing`], saying how to install it.
pub async fn postgres(tools: &Tools) -> Result<PostgresPrograms, SystemError> {
    if let Some(found) = PostgresPrograms::find() {
        return Ok(found);
    }
    apt::install(tools, "Postgres 15 or newer", &["postgresql"]).await?;
    PostgresPrograms::find().ok_or_else(|| still_missing("Postgres 15 or newer"))
}

/// Redis, or Valkey.
///
/// # Errors
/// [`SystemError::Missing`], saying how to install it.
pub async fn redis(tools: &Tools) -> Result<PathBuf, SystemError> {
    if let Some(found) = redis::find() {
        return Ok(found);
    }
    apt::install(tools, "redis-server", &["redis-server"]).await?;
    redis::find().ok_or_else(|| still_missing("redis-server"))
}

/// Chromium, for tests in a browser.
///
/// # Errors
/// [`SystemError::Missing`], saying how to install it.
pub async fn chromium(tools: &Tools) -> Result<PathBuf, SystemError> {
    let find = || ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(redis::on_path);
    if let Some(found) = find() {
        return Ok(found);
    }
    apt::install(tools, "Chromium", &["chromium", "fonts-dejavu-core"]).await?;
    find().ok_or_else(|| still_missing("Chromium"))
}

fn still_missing(tool: &'static str) -> SystemError {
    SystemError::Missing { tool, advice: "its package was installed, yet its program is not to be found".to_owned() }
}
