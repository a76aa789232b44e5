//! A whole Meridian on one machine, as a library: what `cargo xtask up` starts and what the tests start for themselves.
//!
//! [`System::start`] runs, on loopback and on ports given or free, private Postgres servers (a shard is one of its own),
//! Redis, the payment sandbox, a broker of Kafka if wanted, the cores of every region, a PoP and, if wanted, the Worker in workerd. A [`Guardian`]
//! sees to it that nothing outlives the process that started it. [`tools`] finds or installs what all of that needs.
//!
//! Deliberately not here: compiling our own binaries, the terminal, and anything that knows what the parts do: they are
//! programs with a configuration file, a port and a question that tells whether they are ready. Only [`operator`] is
//! acquainted with the store's accounts: without it nobody could run what was started.
//!
//! ```no_run
//! # async fn example(programs: xtask_system::Programs) -> Result<(), xtask_system::SystemError> {
//! use xtask_system::{Guardian, GuardianProgram, Layout, Plan, Ports, ServiceUser, System};
//!
//! let folder = std::path::Path::new("target/system");
//! let user = ServiceUser::for_databases()?;
//! let layout = Layout::create(folder, user.as_ref())?;
//! let guardian = GuardianProgram { program: "target/debug/meridian-guardian".into(), arguments: Vec::new() };
//! let guardian = Guardian::start(&guardian, &folder.join("guardian.lock"))?;
//! let plan = Plan::two_regions(Ports::Free(shared_clock::Entropy::system()));
//! let mut system = System::start(&plan, programs, layout, guardian, &()).await?;
//! println!("{}", system.addresses.shop);
//! if let Some(shard) = system.part_mut("shard-1") {
//!     shard.kill().await?;
//!     shard.restart().await?;
//! }
//! system.stop().await
//! # }
//! ```

mod broker;
pub mod certificates;
pub mod config;
pub mod environment;
mod error;
pub mod guardian;
pub mod layout;
mod links;
pub mod mail;
pub mod operator;
mod part;
mod plan;
pub mod ports;
pub mod postgres;
mod probe;
pub mod process;
pub mod redis;
pub mod store;
mod system;
pub mod tools;
mod user;
pub mod worker;

pub use error::SystemError;
pub use guardian::{Guardian, GuardianProgram};
pub use layout::Layout;
pub use links::Links;
pub use part::{Part, PartSpec};
pub use plan::{BrokerPrograms, Plan, Programs, RegionPlan};
pub use ports::Ports;
pub use probe::Probe;
pub use system::{Addresses, Core, Progress, System};
pub use user::ServiceUser;
