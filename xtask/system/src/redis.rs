//! A private Redis: own port, own folder, own password, nothing on disk. A copy of carts may be lost at any time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::SystemError;
use crate::layout::{Layout, write_private};
use crate::part::PartSpec;
use crate::ports::Port;
use crate::probe::Probe;
use crate::process::ProcessSpec;

/// The part's name.
pub const REDIS: &str = "redis";

/// Finds the server's program, Redis' own or Valkey's.
#[must_use]
pub fn find() -> Option<PathBuf> {
    ["redis-server", "valkey-server"].into_iter().find_map(on_path)
}

/// The first program of that name on the `PATH`.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Writes its configuration and says how to run it.
///
/// # Errors
/// [`SystemError::File`].
pub fn prepare(program: &Path, port: &Port, password: &str, layout: &Layout) -> Result<PartSpec, SystemError> {
    let folder = layout.path("redis");
    let config = folder.join("redis.conf");
    // The password stands in the file and not on the command line, which every user of the machine can read.
    let lines = format!(
        "bind 127.0.0.1\nport {}\nrequirepass {password}\nsave \"\"\nappendonly no\ndaemonize no\nlogfile \"\"\ndir {}\n",
        port.number(),
        folder.display()
    );
    write_private(&config, lines.as_bytes())?;
    Ok(PartSpec {
        process: ProcessSpec::new(REDIS, program, &folder, layout.log(REDIS)).arguments([config]),
        probe: Probe::Redis { address: port.address(), password: password.to_owned() },
        address: port.address(),
        ready_within: Duration::from_secs(20),
    })
}

/// Its URL, with the password.
#[must_use]
pub fn url(port: &Port, password: &str) -> String {
    url_at(&port.address(), password)
}

/// The URL of one that is reached at `host:port`.
pub(crate) fn url_at(address: &str, password: &str) -> String {
    format!("redis://:{password}@{address}")
}
