//! Debian's packages, for those who may install them. Installing starts no service and touches none that runs.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::error::{SystemError, file};
use crate::tools::{Tools, run};

const INSTALLED_WITHIN: Duration = Duration::from_secs(600);
/// Debian asks this program whether a service may start (Policy 9.3.3); 101 says no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs packages, or says what to install where we may not.
pub(crate) async fn install(tools: &Tools, tool: &'static str, packages: &[&str]) -> Result<(), SystemError> {
    let wanted = packages.join(" ");
    if !may_install() {
        let advice =
            format!("install it and try again; on Debian: sudo apt-get install --no-install-recommends {wanted}");
        return Err(SystemError::Missing { tool, advice });
    }
    let _lock = tools.lock("apt").await?;
    tools.say(&format!("installing {tool} with apt-get ({wanted})"));
    // Old lists may still name what is needed; if they do not, the installation itself fails and says so.
    let _ = run(tool, apt().arg("update"), INSTALLED_WITHIN).await;
    let quiet = NoServices::begin()?;
    let mut install = apt();
    install.args(["install", "-y", "--no-install-recommends"]).args(packages);
    let done = run(tool, &mut install, INSTALLED_WITHIN).await;
    drop(quiet);
    done.map(|_| ())
}

/// We are root on a Debian.
pub(crate) fn may_install() -> bool {
    nix::unistd::Uid::effective().is_root() && Path::new("/usr/bin/apt-get").is_file()
}

fn apt() -> Command {
    let mut command = Command::new("/usr/bin/apt-get");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// While it lives, installing a package starts no service. A policy that was there before stays.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self, SystemError> {
        use std::io::Write as _;
        let path = Path::new(POLICY);
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path);
        match made {
            Ok(mut policy) => {
                policy.write_all(b"#!/bin/sh\nexit 101\n").map_err(file("write", path))?;
                Ok(Self { ours: true })
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(file("create", path)(error)),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = std::fs::remove_file(POLICY);
        }
    }
}
