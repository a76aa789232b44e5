//! A mail server that delivers nothing and shows everything it was given on a web page: maildev.

use std::time::Duration;

use crate::error::SystemError;
use crate::layout::{Layout, folder};
use crate::part::PartSpec;
use crate::ports::Port;
use crate::probe::Probe;
use crate::process::ProcessSpec;
use crate::tools::node::NodeTools;

/// The part's name.
pub const MAIL: &str = "mail";

/// Says how to run it: SMTP on one port, its page and `GET /email` on the other. What it was given is kept for the next
/// run.
///
/// # Errors
/// [`SystemError::File`].
pub fn prepare(node: &NodeTools, smtp: &Port, web: &Port, layout: &Layout) -> Result<PartSpec, SystemError> {
    let home = layout.path(MAIL);
    folder(&home, 0o700)?;
    let number = |port: &Port| port.number().to_string();
    let process = ProcessSpec::new(MAIL, node.program("maildev"), &home, layout.log(MAIL))
        .arguments(["--ip", "127.0.0.1", "--web-ip", "127.0.0.1", "--mail-directory", "."])
        .arguments(["--smtp".to_owned(), number(smtp), "--web".to_owned(), number(web)])
        .variable("PATH", node.path());
    let address = format!("http://{}", web.address());
    let probe = Probe::Ready { url: format!("{address}/healthz") };
    Ok(PartSpec { process, probe, address, ready_within: Duration::from_secs(90) })
}
