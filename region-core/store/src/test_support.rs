//! Fresh databases for tests: one of its own for each test, made by cloning a migrated template.
//!
//! The server is named by `MERIDIAN_TEST_POSTGRES_URL`; `cargo xtask test` starts a private one. It is never the
//! machine's own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use shared::{RegionName, ShardId, Slot, SlotMap};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use tokio::sync::Mutex;

use crate::migrate;
use crate::shard::{SESSION, Shard};
use crate::shards::Shards;

/// A database that belongs to one test. It is dropped with the server it stands on.
#[derive(Debug)]
pub struct TestDatabase {
    /// How others reach it.
    pub url: String,
    /// A pool on it.
    pub pool: PgPool,
}

/// A shard of region `eu`, number 1, that owns every slot.
pub async fn shard_database() -> TestDatabase {
    fresh("shard", &migrate::SHARD).await
}

/// A catalog database.
pub async fn catalog_database() -> TestDatabase {
    fresh("catalog", &migrate::CATALOG).await
}

/// [`Shards`] of region `eu` over one fresh database that owns every slot.
pub async fn one_shard() -> Shards {
    let database = shard_database().await;
    let region: RegionName = "eu".parse().unwrap_or_else(|error| panic!("{error}"));
    let id = ShardId::try_from(1).unwrap_or_else(|error| panic!("{error}"));
    let map = SlotMap::even(1, [(id, region.clone())].into()).unwrap_or_else(|error| panic!("{error}"));
    Shards::new(region, [Shard::from_pool(id, database.pool)], map)
}

/// `kind` and this process; a number follows for each database.
fn unique(kind: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test_{kind}_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn server() -> PgConnectOptions {
    let url = std::env::var("MERIDIAN_TEST_POSTGRES_URL")
        .unwrap_or_else(|_| panic!("MERIDIAN_TEST_POSTGRES_URL is not set: run the tests with `cargo xtask test`"));
    url.parse().unwrap_or_else(|error| panic!("MERIDIAN_TEST_POSTGRES_URL: {error}"))
}

async fn fresh(kind: &'static str, migrator: &'static Migrator) -> TestDatabase {
    let template = template(kind, migrator).await;
    let name = unique(kind);
    let mut admin = connect(&server()).await;
    create(&mut admin, &name, Some(&template)).await;
    let options = server().database(&name);
    let url = sqlx::ConnectOptions::to_url_lossy(&options).to_string();
    // A shard as cores see it: what its statements may take, and how they are planned.
    let options = if kind == "shard" { options.options(SESSION) } else { options };
    let pool = PgPoolOptions::new().max_connections(12).connect_lazy_with(options);
    TestDatabase { url, pool }
}

/// The migrated template of that kind, made once a process.
async fn template(kind: &'static str, migrator: &'static Migrator) -> String {
    static MADE: OnceLock<Mutex<std::collections::HashMap<&'static str, String>>> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().await;
    if let Some(name) = made.get(kind) {
        return name.clone();
    }
    let name = unique(&format!("template_{kind}"));
    let mut admin = connect(&server()).await;
    create(&mut admin, &name, None).await;
    let mut conn = connect(&server().database(&name)).await;
    migrator.run_direct(None, &mut conn, false).await.unwrap_or_else(|error| panic!("{kind} migrations: {error}"));
    if kind == "shard" {
        let slots: Vec<Slot> = Slot::all().collect();
        let region = "eu".parse().unwrap_or_else(|error| panic!("{error}"));
        let id = ShardId::try_from(1).unwrap_or_else(|error| panic!("{error}"));
        migrate::found_shard(&mut conn, id, &region, &slots, 1).await.unwrap_or_else(|error| panic!("{error}"));
    }
    conn.close().await.unwrap_or_else(|error| panic!("{error}"));
    made.insert(kind, name.clone());
    name
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options).await.unwrap_or_else(|error| panic!("the test Postgres: {error}"))
}

async fn create(admin: &mut PgConnection, name: &str, template: Option<&str>) {
    let template = template.map_or_else(String::new, |template| format!(" TEMPLATE {template}"));
    // Names are made here from letters, digits and underscores.
    let statement = AssertSqlSafe(format!("CREATE DATABASE {name}{template}"));
    admin.execute(statement).await.unwrap_or_else(|error| panic!("{name}: {error}"));
}
