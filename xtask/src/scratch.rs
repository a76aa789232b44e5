//! A Postgres and a Redis for one run of a command, gone when it ends.

use std::sync::Arc;

use shared_clock::Entropy;
use xtask_system::ports::Port;
use xtask_system::postgres::{PostgresPlan, PostgresServer};
use xtask_system::tools::{Tools, servers};
use xtask_system::{Guardian, Layout, Part, Ports, ServiceUser, redis};

use crate::console::Console;
use crate::workspace::Workspace;

/// The servers.
#[derive(Debug)]
pub(crate) struct Scratch {
    postgres: PostgresServer,
    redis: Part,
    redis_url: String,
    _redis_port: Port,
    layout: Layout,
    _guardian: Guardian,
}

impl Scratch {
    pub(crate) async fn start(workspace: &Workspace, console: &Arc<Console>) -> anyhow::Result<Self> {
        let told = console.clone();
        let tools = Tools::new(move |line| told.say(line))?;
        let user = ServiceUser::for_databases()?;
        let folder = workspace.target().join(format!("scratch/{}", std::process::id()));
        let layout = Layout::create(&folder, user.as_ref())?;
        let program = crate::instance::guardian_program();
        let guardian = Guardian::start(&program, &folder.join("guardian.lock"))?;
        let (ports, entropy) = (Ports::Free(Entropy::system()), Entropy::system());
        let secret = hex::encode(entropy.bytes::<16>());
        let redis_port = ports.get("redis", 0)?;
        let redis = redis::prepare(&servers::redis(&tools).await?, &redis_port, &secret, &layout)?;
        let plan = PostgresPlan {
            name: "scratch".to_owned(),
            port: ports.get("postgres", 0)?,
            password: secret.clone(),
            // What stands here is thrown away; promises about crashes are tested on servers that flush.
            settings: ["fsync=off", "max_connections=400", "wal_level=logical"].map(str::to_owned).to_vec(),
        };
        let programs = servers::postgres(&tools).await?;
        let (postgres, redis) = tokio::try_join!(
            PostgresServer::start(&programs, plan, &layout, user.as_ref(), &guardian),
            redis.start(&guardian),
        )?;
        let redis_url = xtask_system::redis::url(&redis_port, &secret);
        Ok(Self { postgres, redis, redis_url, _redis_port: redis_port, layout, _guardian: guardian })
    }

    pub(crate) fn postgres(&self) -> &PostgresServer {
        &self.postgres
    }

    pub(crate) fn redis_url(&self) -> &str {
        &self.redis_url
    }

    /// Ends the servers and removes what they kept.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let (postgres, redis) = tokio::join!(self.postgres.part.stop(), self.redis.stop());
        postgres?;
        redis?;
        Ok(self.layout.remove()?)
    }
}
