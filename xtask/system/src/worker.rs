//! The Worker in workerd, through `wrangler dev --local`.
//!
//! It runs from a copy of the build: wrangler exits when what it watches is built anew under it. Its configuration is
//! the repository's own `wrangler.toml`, without the build command and with the copy's paths.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{SystemError, file};
use crate::layout::{Layout, folder, write_private};
use crate::part::PartSpec;
use crate::ports::Port;
use crate::probe::Probe;
use crate::process::ProcessSpec;
use crate::tools::node::NodeTools;

/// The part's name.
pub const WORKER: &str = "worker";

/// What is needed to run the Worker.
#[derive(Clone, Debug)]
pub struct WorkerPrograms {
    /// Node and wrangler.
    pub node: NodeTools,
    /// The repository's `wrangler.toml`.
    pub config: PathBuf,
}

/// Where a Worker listens and whom it asks.
#[derive(Debug)]
pub struct WorkerPlan<'a> {
    /// For shoppers.
    pub port: &'a Port,
    /// For a debugger.
    pub inspector: &'a Port,
    /// The PoP's uplink origin.
    pub pop_url: String,
    /// How it signs, as `ID:HEX`.
    pub uplink_key: &'a str,
}

/// Copies the build and says how to run it.
///
/// # Errors
/// [`SystemError::File`] if it was not built or its configuration cannot be understood.
pub fn prepare(programs: &WorkerPrograms, plan: &WorkerPlan<'_>, layout: &Layout) -> Result<PartSpec, SystemError> {
    let home = layout.path(WORKER);
    folder(&home, 0o700)?;
    let config = home.join("wrangler.toml");
    let text = std::fs::read_to_string(&programs.config).map_err(file("read", &programs.config))?;
    let root = programs.config.parent().unwrap_or(Path::new("/"));
    let (local, build) = localise(&text, root).map_err(|reason| unreadable(&programs.config, reason))?;
    let copy = home.join("build");
    if copy.exists() {
        std::fs::remove_dir_all(&copy).map_err(file("remove", &copy))?;
    }
    copy_folder(&build, &copy)?;
    std::fs::write(&config, local).map_err(file("write", &config))?;
    let secrets = format!("UPLINK_KEY=\"{}\"\nPOP_URL=\"{}\"\n", plan.uplink_key, plan.pop_url);
    write_private(&home.join(".dev.vars"), secrets.as_bytes())?;
    Ok(PartSpec {
        process: wrangler(programs, plan, &home, layout.log(WORKER)),
        // Answered by a core through the PoP, and not a page: a page would be cached, perhaps before there are goods.
        probe: Probe::Ready { url: format!("http://{}/v1/keys", plan.port.address()) },
        address: format!("http://{}", plan.port.address()),
        ready_within: Duration::from_secs(90),
    })
}

fn wrangler(programs: &WorkerPrograms, plan: &WorkerPlan<'_>, home: &Path, log: PathBuf) -> ProcessSpec {
    let number = |port: &Port| port.number().to_string();
    ProcessSpec::new(WORKER, programs.node.program("wrangler"), home, log)
        .arguments(["dev", "--local", "--config", "wrangler.toml", "--ip", "127.0.0.1"])
        .arguments(["--port".to_owned(), number(plan.port), "--inspector-port".to_owned(), number(plan.inspector)])
        .arguments(["--persist-to", "state", "--show-interactive-dev-session=false"])
        .variable("PATH", programs.node.path())
        .variable("CI", "1")
        .variable("WRANGLER_SEND_METRICS", "false")
        // It would keep every request, with all that was typed, in a database of its own.
        .variable("X_LOCAL_OBSERVABILITY", "false")
        .variable("XDG_CONFIG_HOME", home.join("settings"))
        .variable("WRANGLER_LOG_PATH", home.join("log"))
        .variable("WRANGLER_REGISTRY_PATH", home.join("registry"))
        .variable("MINIFLARE_REGISTRY_PATH", home.join("registry"))
}

/// The configuration for the copy, and the folder of the build that it names.
fn localise(text: &str, root: &Path) -> Result<(String, PathBuf), String> {
    let mut config: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
    config.remove("build");
    let main = config.get("main").and_then(toml::Value::as_str).ok_or("it names no `main`")?;
    let main = root.join(main);
    let (build, name) = main
        .ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name == "build"))
        .and_then(|build| Some((build.to_owned(), main.strip_prefix(build).ok()?.to_owned())))
        .ok_or("its `main` is not in a folder named `build`")?;
    let local = Path::new("build").join(name).display().to_string();
    config.insert("main".to_owned(), toml::Value::String(local));
    if let Some(assets) = config.get_mut("assets").and_then(toml::Value::as_table_mut)
        && let Some(folder) = assets.get("directory").and_then(toml::Value::as_str)
    {
        let folder = root.join(folder).display().to_string();
        assets.insert("directory".to_owned(), toml::Value::String(folder));
    }
    // What `.dev.vars` says would be hidden by a value here.
    if let Some(vars) = config.get_mut("vars").and_then(toml::Value::as_table_mut) {
        vars.remove("POP_URL");
    }
    Ok((toml::to_string(&config).map_err(|error| error.to_string())?, build))
}

fn unreadable(path: &Path, reason: String) -> SystemError {
    SystemError::File { action: "understand", path: path.to_owned(), source: std::io::Error::other(reason) }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), SystemError> {
    folder(to, 0o755)?;
    for entry in std::fs::read_dir(from).map_err(file("list", from))?.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            std::fs::copy(&source, &target).map_err(file("copy", &source))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_configuration_runs_a_copy_and_builds_nothing() {
        let text = "name = \"edge\"\nmain = \"edge/worker/build/worker/shim.mjs\"\n[build]\ncommand = \"x\"\n\
                    [vars]\nPOP_URL = \"https://pop.example\"\nSHOP = \"Meridian\"\n";
        let (local, build) = localise(text, Path::new("/repo")).unwrap();
        assert_eq!(build, Path::new("/repo/edge/worker/build"));
        let expected = "name = 'edge'\nmain = 'build/worker/shim.mjs'\n[vars]\nSHOP = 'Meridian'";
        assert_eq!(local.parse::<toml::Table>().unwrap(), expected.parse().unwrap());
    }

    #[test]
    fn a_configuration_without_a_build_is_refused_with_the_reason() {
        assert_eq!(
            localise("main = \"src/x.js\"", Path::new("/")).unwrap_err(),
            "its `main` is not in a folder named `build`"
        );
        assert_eq!(localise("", Path::new("/")).unwrap_err(), "it names no `main`");
    }
}
