//! Ports on loopback: free ones for tests, fixed ones for `up`.
//!
//! A free port is leased: a lock file of this machine keeps other tests of ours from choosing it between now and the
//! moment its part binds it. Fixed ports are checked, and the owner of a used one is named.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use shared_clock::Entropy;

use crate::error::{SystemError, file};

/// Free ports come from here: below the range from which Linux takes the ports of outgoing connections.
const FIRST_FREE: u16 = 12_000;
const LAST_FREE: u16 = 31_999;
/// How many ports are tried before giving up.
const TRIES: usize = 500;

/// A port, ours until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Port {
    number: u16,
    _lease: Option<Arc<File>>,
}

impl Port {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

/// Where ports come from.
#[derive(Clone, Debug)]
pub enum Ports {
    /// Any that are free.
    Free(Entropy),
    /// This number and those after it, each part always the same.
    From(u16),
}

impl Ports {
    /// The port of one part; `offset` is its fixed place after the base.
    ///
    /// # Errors
    /// [`SystemError::PortInUse`] for a fixed port, [`SystemError::NoFreePort`] for a free one.
    pub fn get(&self, part: &str, offset: u16) -> Result<Port, SystemError> {
        match self {
            Self::Free(entropy) => free(entropy),
            Self::From(base) => fixed(part, base.saturating_add(offset)),
        }
    }
}

fn free(entropy: &Entropy) -> Result<Port, SystemError> {
    let leases = leases()?;
    let span = u32::from(LAST_FREE - FIRST_FREE) + 1;
    for _ in 0..TRIES {
        let number = FIRST_FREE + u16::try_from(entropy.below(span)).unwrap_or(0);
        let path = leases.join(number.to_string());
        let lease = File::create(&path).map_err(file("create", &path))?;
        if lease.try_lock().is_ok() && is_free(number) {
            return Ok(Port { number, _lease: Some(Arc::new(lease)) });
        }
    }
    Err(SystemError::NoFreePort { first: FIRST_FREE, last: LAST_FREE })
}

fn leases() -> Result<PathBuf, SystemError> {
    let user = nix::unistd::Uid::effective();
    let folder = std::env::temp_dir().join(format!("meridian-ports-{user}"));
    std::fs::create_dir_all(&folder).map_err(file("create", &folder))?;
    Ok(folder)
}

fn fixed(part: &str, number: u16) -> Result<Port, SystemError> {
    if is_free(number) {
        return Ok(Port { number, _lease: None });
    }
    Err(SystemError::PortInUse { part: part.to_owned(), port: number, owner: owner(number) })
}

/// Nobody listens on it, neither by TCP nor by UDP.
fn is_free(number: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, number);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

/// Program and process id of whoever is bound to it, as far as `/proc` lets us see.
fn owner(port: u16) -> Option<String> {
    let inodes = inodes(port);
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let holds = std::fs::read_dir(entry.path().join("fd")).ok()?.flatten().any(|fd| {
            let link = std::fs::read_link(fd.path()).unwrap_or_default();
            inodes.iter().any(|inode| link.to_str() == Some(&format!("socket:[{inode}]")))
        });
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        holds.then(|| format!("{} (process {id})", name.trim()))
    })
}

/// The sockets that are bound to it, from the kernel's tables (proc(5): local address in column 2, inode in column 10).
fn inodes(port: u16) -> Vec<String> {
    let local = format!(":{port:04X}");
    let tables = ["tcp", "tcp6", "udp", "udp6"].map(|name| std::fs::read_to_string(format!("/proc/net/{name}")));
    let rows = tables.iter().flatten().flat_map(|table| table.lines());
    rows.filter_map(|row| {
        let mut columns = row.split_whitespace().skip(1);
        let bound = columns.next()?.ends_with(&local);
        bound.then(|| columns.nth(7).map(str::to_owned))?
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leases_never_share_a_port() {
        let ports = Ports::Free(Entropy::seeded(1));
        let again = Ports::Free(Entropy::seeded(1));
        let (first, second) = (ports.get("a", 0).unwrap(), again.get("b", 0).unwrap());
        assert_ne!(first.number(), second.number(), "the same dice, yet the lease makes the second roll again");
    }

    #[test]
    fn a_used_port_is_refused_naming_the_part_and_the_owner() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = taken.local_addr().unwrap().port();
        let refused = Ports::From(number).get("redis", 0).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("port {number}, wanted by redis, is in use by ")), "{refused}");
        assert!(refused.ends_with(&format!("(process {})", std::process::id())), "{refused}");
    }

    #[test]
    fn a_port_taken_by_udp_alone_is_refused_too() {
        let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = taken.local_addr().unwrap().port();
        assert!(Ports::From(number).get("core.eu-1", 0).is_err());
    }
}
