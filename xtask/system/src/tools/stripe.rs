//! Two fakes of Stripe to test against, on a Python of their own. Nothing of them is part of the product.
//!
//! `stripe-world` knows Stripe's rules, and needs a newer Python than systems have: Debian's testing has it, with the C library
//! that it wants, and all of it is unpacked into the cache and run from there by its own loader. `localstripe` (GPL, and so
//! only ever run) asks shoppers and signs events, on the system's Python.
//!
//! Each is started by a program of the name `serve` that takes a port, listens on loopback alone and ends with its standard
//! input, so that it cannot outlive whoever started it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::error::{SystemError, file};
use crate::redis::on_path;
use crate::tools::{Tools, apt, run};

/// The newest releases that the tests were written for.
const STRIPE_WORLD: &str = "seahaven-stripe-world[http]==0.3.0";
const LOCALSTRIPE: &str = "localstripe==1.15.10";
/// Where Debian's testing is, and the name of the release that it is about to be.
const DEBIAN: &str = "http://deb.debian.org/debian";
const RELEASE: &str = "forky";
/// Python, and pip as a file that Python runs.
const PACKAGES: [&str; 2] = ["python3.14", "python3-pip-whl"];
/// Each step takes seconds where there is a network; without one the tests are skipped soon.
const STEP_WITHIN: Duration = Duration::from_secs(120);
const TOOL: &str = "a fake of Stripe";

/// Ends the program with its standard input.
const ENDS_WITH_INPUT: &str = "\
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
";

/// The program that starts stripe-world at a port.
///
/// # Errors
/// [`SystemError::Missing`] if it is not there and cannot be had, [`SystemError::File`].
pub async fn world(tools: &Tools) -> Result<PathBuf, SystemError> {
    let place = tools.once("stripe-world-0.3.0", async |folder| {
        tools.say("installing stripe-world and a Python for it, to test against");
        unpack_python(folder).await?;
        let python =
            ["#!/bin/sh", FIND_PYTHON, "exec \"$loader\" --library-path \"$libraries\" \"$python\" \"$@\"", ""];
        write_program(&folder.join("python"), &python.join("\n"))?;
        let pip = find(&folder.join("root/usr/share/python-wheels"), "pip-")?.join("pip");
        let mut install = Command::new(folder.join("python"));
        install.arg(pip).args(["install", "--quiet", "--no-input", "--disable-pip-version-check"]);
        install.args(["--root-user-action=ignore", "--only-binary=:all:", "--target"]);
        run(TOOL, install.arg(folder.join("packages")).arg(STRIPE_WORLD), STEP_WITHIN).await?;
        let script = format!("{ENDS_WITH_INPUT}{WORLD_SCRIPT}");
        std::fs::write(folder.join("serve.py"), script).map_err(file("write", folder))?;
        let serve =
            format!("{SERVE_HEAD}PYTHONPATH=\"$here/packages\" exec \"$here/python\" \"$here/serve.py\" \"$1\" 2>&1\n");
        write_program(&folder.join("serve"), &serve)
    });
    Ok(place.await?.join("serve"))
}

/// The program that starts localstripe at a port.
///
/// # Errors
/// As of [`world`].
pub async fn localstripe(tools: &Tools) -> Result<PathBuf, SystemError> {
    let place = tools.once("localstripe-1.15.10", async |folder| {
        tools.say("installing localstripe, to test against");
        let environment = folder.join("venv");
        if make_environment(&environment).await.is_err() {
            apt::install(tools, "Python with venv", &["python3", "python3-venv"]).await?;
            make_environment(&environment).await?;
        }
        let mut install = Command::new(environment.join("bin/python"));
        install.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", LOCALSTRIPE]);
        run(TOOL, &mut install, STEP_WITHIN).await?;
        let script = format!("{ENDS_WITH_INPUT}{LOCALSTRIPE_SCRIPT}");
        std::fs::write(folder.join("serve.py"), script).map_err(file("write", folder))?;
        let serve = format!("{SERVE_HEAD}exec \"$here/venv/bin/python\" \"$here/serve.py\" \"$1\" 2>&1\n");
        write_program(&folder.join("serve"), &serve)
    });
    Ok(place.await?.join("serve"))
}

const SERVE_HEAD: &str = "#!/bin/sh\nhere=$(cd \"$(dirname \"$0\")\" && pwd)\nexport PYTHONUNBUFFERED=1\n";

/// The loader and the libraries that were unpacked with this Python; the system's may be too old for it.
const FIND_PYTHON: &str = r#"here=$(cd "$(dirname "$0")" && pwd)
loader=$(echo "$here"/root/usr/lib/*-linux-gnu/ld-linux-*.so.*)
libraries=$(dirname "$loader")
python=$here/root/usr/bin/python3.14"#;

const WORLD_SCRIPT: &str = r#"
import seahaven.http
from seahaven_stripe_world import world
from seahaven_stripe_world.http_api import handle

arguments = ["--host", "127.0.0.1", "--port", sys.argv[1], "--reset-options", '{"startup":{"livemode":false}}']
seahaven.http.main(world, handle, arguments)
"#;

/// Its own command listens on all interfaces, and keeps its state in the shared temporary folder.
const LOCALSTRIPE_SCRIPT: &str = r#"
from aiohttp import web
from localstripe.resources import store

type(store).dump_to_disk = lambda self: None

from localstripe.server import app

web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
"#;

/// Downloads Debian's packages with a state of its own, so that nothing of the system's is touched, and unpacks them.
async fn unpack_python(folder: &Path) -> Result<(), SystemError> {
    let state = folder.join("apt");
    let archives = state.join("cache/archives");
    for made in [state.join("state/lists/partial"), archives.join("partial"), folder.join("root")] {
        std::fs::create_dir_all(&made).map_err(file("create", &made))?;
    }
    let write = |name: &str, text: &str| {
        let path = state.join(name);
        std::fs::write(&path, text).map_err(file("write", &path))
    };
    write("sources.list", &format!("deb {DEBIAN} {RELEASE} main\n"))?;
    write("status", "")?;
    run(TOOL, apt(&state)?.arg("update"), STEP_WITHIN).await?;
    let mut download = apt(&state)?;
    download.args(["install", "--download-only", "--yes", "--no-install-recommends"]).args(PACKAGES);
    run(TOOL, &mut download, STEP_WITHIN).await?;
    for entry in std::fs::read_dir(&archives).map_err(file("read", &archives))?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(entry.path()).arg(folder.join("root"));
            run(TOOL, &mut unpack, STEP_WITHIN).await?;
        }
    }
    std::fs::remove_dir_all(&state).map_err(file("remove", &state))
}

/// `apt-get` with everything that it knows and keeps below `state`.
fn apt(state: &Path) -> Result<Command, SystemError> {
    let program = on_path("apt-get").filter(|_| on_path("dpkg-deb").is_some()).ok_or_else(|| SystemError::Missing {
        tool: TOOL,
        advice: "its Python comes from Debian's packages, and there is no apt-get here".to_owned(),
    })?;
    let mut command = Command::new(program);
    let below = |name: &str| state.join(name).display().to_string();
    let options = [
        ("Dir::State", below("state")),
        ("Dir::State::status", below("status")),
        ("Dir::Cache", below("cache")),
        ("Dir::Etc::sourcelist", below("sources.list")),
        ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
        ("Acquire::Languages", "none".to_owned()),
        // Debian's user for downloads may not enter a home.
        ("APT::Sandbox::User", "root".to_owned()),
    ];
    for (name, value) in options {
        command.arg("-o").arg(format!("{name}={value}"));
    }
    command.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}

async fn make_environment(place: &Path) -> Result<(), SystemError> {
    let mut command = Command::new("python3");
    command.args(["-m", "venv"]).arg(place);
    run(TOOL, &mut command, STEP_WITHIN).await.map(|_| ())
}

fn find(folder: &Path, prefix: &str) -> Result<PathBuf, SystemError> {
    let entries = std::fs::read_dir(folder).map_err(file("read", folder))?.flatten();
    let found = entries
        .map(|entry| entry.path())
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix)));
    found.ok_or_else(|| SystemError::Missing { tool: TOOL, advice: format!("no {prefix}* in {}", folder.display()) })
}

fn write_program(path: &Path, text: &str) -> Result<(), SystemError> {
    std::fs::write(path, text).map_err(file("write", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(file("make executable", path))
}
