//! Private Postgres servers, from the system's binaries: own port, own data folder, own password, nothing shared with
//! a server that the machine may run already. Data is flushed as in production.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{SystemError, file};
use crate::guardian::Guardian;
use crate::layout::{Layout, folder, write_private};
use crate::part::{Part, PartSpec};
use crate::ports::Port;
use crate::probe::Probe;
use crate::process::{ProcessSpec, Stop};
use crate::user::ServiceUser;

/// The oldest major version that replicates whole schemas.
const OLDEST: u32 = 15;
/// Settings that tests and faults change while the server runs.
const OVERRIDES: &str = "meridian.conf";

/// The programs of one installed version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresPrograms {
    folder: PathBuf,
}

impl PostgresPrograms {
    /// Finds the newest usable version: on the `PATH`, or where Debian puts it.
    #[must_use]
    pub fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        folders.extend(debian_folders());
        let usable = folders.into_iter().filter_map(|folder| Some((version(&folder)?, folder)));
        let newest = usable.filter(|(version, _)| *version >= OLDEST).max_by_key(|(version, _)| *version);
        newest.map(|(_, folder)| Self { folder })
    }

    fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn debian_folders() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin")).collect()
}

/// The major version of the server in a folder.
fn version(folder: &Path) -> Option<u32> {
    let server = folder.join("postgres");
    if !server.is_file() || !folder.join("initdb").is_file() {
        return None;
    }
    let said = std::process::Command::new(server).arg("--version").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    said.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok())
}

/// One server to be.
#[derive(Debug)]
pub struct PostgresPlan {
    /// Its part's name and its folder's.
    pub name: String,
    /// Where it listens, on loopback alone.
    pub port: Port,
    /// The password of its user `postgres`.
    pub password: String,
    /// Settings beside ours, as `name=value`.
    pub settings: Vec<String>,
}

/// A running server. Its data stays when it is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    /// Its process.
    pub part: Part,
    port: Port,
    password: String,
    data: PathBuf,
    user: Option<ServiceUser>,
}

impl PostgresServer {
    /// Makes the data folder if there is none, starts the server and waits until it lets us in.
    ///
    /// # Errors
    /// [`SystemError::File`], [`SystemError::Failed`] from `initdb`, and those of [`PartSpec::start`].
    pub async fn start(
        programs: &PostgresPrograms,
        plan: PostgresPlan,
        layout: &Layout,
        user: Option<&ServiceUser>,
        guardian: &Guardian,
    ) -> Result<Self, SystemError> {
        let data = layout.database(&plan.name);
        if !data.exists() {
            initialise(programs, &plan, &data, layout, user, guardian).await?;
        }
        let part = server(programs, &plan, &data, layout, user).start(guardian).await?;
        let PostgresPlan { port, password, .. } = plan;
        Ok(Self { part, port, password, data, user: user.cloned() })
    }

    /// The URL of one of its databases, with user and password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        url(&self.password, &self.port.address(), database)
    }

    /// Its part's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.part.name()
    }

    /// How another server of ours reaches it, in libpq's words.
    #[must_use]
    pub fn connection_string(&self, database: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres password={} dbname={database} application_name=meridian",
            self.port.number(),
            self.password
        )
    }

    /// Replaces the settings that were changed while it runs, and has it read them; `meridian.clock_offset` turns the
    /// shard's clock. Sessions see them with their next statement.
    ///
    /// # Errors
    /// [`SystemError::File`].
    pub fn reconfigure(&self, settings: &[(&str, &str)]) -> Result<(), SystemError> {
        let lines: String =
            settings.iter().map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''"))).collect();
        let path = self.data.join(OVERRIDES);
        write_private(&path, lines.as_bytes())?;
        if let Some(user) = &self.user {
            user.own(&path)?;
        }
        self.part.process().reload();
        Ok(())
    }
}

/// The URL of a database on one of our servers, at `host:port`.
pub(crate) fn url(password: &str, address: &str, database: &str) -> String {
    format!("postgres://postgres:{password}@{address}/{database}")
}

/// Makes the data folder beside its place and then moves it there, so that one made by half is never taken for whole.
async fn initialise(
    programs: &PostgresPrograms,
    plan: &PostgresPlan,
    data: &Path,
    layout: &Layout,
    user: Option<&ServiceUser>,
    guardian: &Guardian,
) -> Result<(), SystemError> {
    let (new, password) = (data.with_extension("initialising"), data.with_extension("password"));
    if new.exists() {
        std::fs::remove_dir_all(&new).map_err(file("remove", &new))?;
    }
    folder(&new, 0o700)?;
    write_private(&password, plan.password.as_bytes())?;
    for path in [&new, &password] {
        user.map_or(Ok(()), |user| user.own(path))?;
    }
    let log = layout.log(&format!("{}.initdb", plan.name));
    let made = ProcessSpec::new(format!("initdb of {}", plan.name), programs.program("initdb"), &new, log)
        .arguments(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"])
        .arguments([format!("--pwfile={}", password.display()), format!("--pgdata={}", new.display())])
        .user(user.cloned())
        .run(guardian)
        .await;
    std::fs::remove_file(&password).map_err(file("remove", &password))?;
    made?;
    let own = new.join("postgresql.conf");
    let mut settings = std::fs::read_to_string(&own).map_err(file("read", &own))?;
    settings.push_str(&format!("\ninclude_if_exists = '{OVERRIDES}'\n"));
    std::fs::write(&own, settings).map_err(file("write", &own))?;
    std::fs::rename(&new, data).map_err(file("rename", &new))
}

fn server(
    programs: &PostgresPrograms,
    plan: &PostgresPlan,
    data: &Path,
    layout: &Layout,
    user: Option<&ServiceUser>,
) -> PartSpec {
    let fixed = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={}", plan.port.number()),
        "unix_socket_directories=".to_owned(),
        "fsync=on".to_owned(),
        "max_connections=200".to_owned(),
        "shared_buffers=64MB".to_owned(),
        "log_line_prefix=%m [%p] ".to_owned(),
    ];
    let settings = fixed.iter().chain(&plan.settings).flat_map(|setting| ["-c".to_owned(), setting.clone()]);
    let mut process = ProcessSpec::new(&plan.name, programs.program("postgres"), data, layout.log(&plan.name))
        .arguments([format!("-D{}", data.display())])
        .arguments(settings)
        .user(user.cloned());
    process.stop = Stop::FastShutdown;
    PartSpec {
        process,
        probe: Probe::Postgres { url: url(&plan.password, &plan.port.address(), "postgres") },
        address: plan.port.address(),
        ready_within: Duration::from_secs(60),
    }
}
