//! What the databases say: all SQL of the benchmark is here, apart from pgbench's script.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use region_core_store::migrate;
use shared::{OrderId, RegionName, ShardId, Slot, UserId};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::time::Instant;
use xtask_system::postgres::PostgresServer;

use crate::samples::micros;

/// How long a server may take to take a setting over, and sessions to end.
const HEARD_WITHIN: Duration = Duration::from_secs(30);
/// How often that is looked at; Postgres has nothing to wait on.
const LOOK: Duration = Duration::from_millis(5);
/// Units of each SKU in each database: more than any run can sell.
pub(crate) const PLENTY: i64 = 1_000_000_000;

async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    PgConnection::connect(url).await.context("a database of the benchmark does not let us in")
}

async fn admin(server: &PostgresServer) -> anyhow::Result<PgConnection> {
    connect(&server.url("postgres")).await
}

// Servers ----------------------------------------------------------------------------------------------------------

/// Whether an extension could be made.
pub(crate) async fn has_extension(server: &PostgresServer, name: &str) -> anyhow::Result<bool> {
    let there = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = $1)").bind(name);
    Ok(there.fetch_one(&mut admin(server).await?).await?)
}

/// Makes an extension, by its plain name.
pub(crate) async fn create_extension(server: &PostgresServer, name: &str) -> anyhow::Result<()> {
    admin(server).await?.execute(AssertSqlSafe(format!("CREATE EXTENSION IF NOT EXISTS {name}"))).await?;
    Ok(())
}

/// Waits until new sessions have a setting at this value.
pub(crate) async fn wait_for_setting(server: &PostgresServer, name: &str, value: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + HEARD_WITHIN;
    loop {
        let now: Option<String> = sqlx::query_scalar("SELECT current_setting($1, true)")
            .bind(name)
            .fetch_one(&mut admin(server).await?)
            .await?;
        if now.as_deref() == Some(value) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("{}: {name} is {now:?}, not {value}", server.name());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Sets the count of statements to zero.
pub(crate) async fn forget_statements(server: &PostgresServer) -> anyhow::Result<()> {
    admin(server).await?.execute("SELECT pg_stat_statements_reset()").await?;
    Ok(())
}

/// Statements that clients have sent to a database since.
pub(crate) async fn statements(server: &PostgresServer, database: &str) -> anyhow::Result<i64> {
    let sum = sqlx::query_scalar(
        "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements JOIN pg_database ON oid = dbid WHERE datname = $1",
    );
    Ok(sum.bind(database).fetch_one(&mut admin(server).await?).await?)
}

/// Transactions committed in a database. Its sessions are ended: they tell what they did when they end, else when they
/// like.
pub(crate) async fn commits(server: &PostgresServer, database: &str) -> anyhow::Result<i64> {
    let mut conn = admin(server).await?;
    end_sessions(&mut conn, database).await?;
    let commits = sqlx::query_scalar("SELECT xact_commit FROM pg_stat_database WHERE datname = $1");
    Ok(commits.bind(database).fetch_one(&mut conn).await?)
}

async fn end_sessions(conn: &mut PgConnection, database: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + HEARD_WITHIN;
    loop {
        let left: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = $1 AND backend_type = 'client backend'",
        )
        .bind(database)
        .fetch_one(&mut *conn)
        .await?;
        if left == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("{left} sessions of {database} do not end");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Makes a database anew from a template, and has everything before it flushed, so that no measurement pays for another.
pub(crate) async fn fresh_database(server: &PostgresServer, name: &str, template: &str) -> anyhow::Result<()> {
    let mut conn = admin(server).await?;
    conn.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await?;
    // Copied file by file and not through the log, which takes twice as long.
    let create = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy");
    conn.execute(AssertSqlSafe(create)).await?;
    conn.execute("CHECKPOINT").await?;
    Ok(())
}

// Templates --------------------------------------------------------------------------------------------------------

/// A database of one row of stock a SKU and one row an order, as pgbench's script expects it.
pub(crate) async fn row_per_order(server: &PostgresServer, name: &str) -> anyhow::Result<()> {
    xtask_system::store::create_database(server, name).await?;
    let mut conn = connect(&server.url(name)).await?;
    // Statement by statement: VACUUM runs in no block.
    for statement in include_str!("../pg/schema.sql").split(";\n").filter(|text| !text.trim().is_empty()) {
        conn.execute(statement).await.with_context(|| format!("schema.sql: {statement}"))?;
    }
    Ok(conn.close().await?)
}

/// What a shard of the benchmark has before the first order.
#[derive(Debug)]
pub(crate) struct Founding<'a> {
    pub(crate) shard: ShardId,
    pub(crate) region: &'a RegionName,
    pub(crate) slots: Vec<Slot>,
    pub(crate) users: Vec<UserId>,
    pub(crate) skus: Vec<String>,
}

/// A shard of ours: migrated, founded, with users and with plenty of every SKU.
pub(crate) async fn shard(server: &PostgresServer, name: &str, founding: &Founding<'_>) -> anyhow::Result<()> {
    xtask_system::store::create_database(server, name).await?;
    let pool = PgPoolOptions::new().max_connections(1).connect(&server.url(name)).await?;
    migrate::run(&migrate::SHARD, &pool).await?;
    let mut conn = pool.acquire().await?;
    migrate::found_shard(&mut conn, founding.shard, founding.region, &founding.slots, 1).await?;
    let users: Vec<i64> = founding.users.iter().map(|user| user.as_i64()).collect();
    sqlx::query("INSERT INTO users (user_id) SELECT * FROM unnest($1::bigint[])")
        .bind(&users)
        .execute(&mut *conn)
        .await?;
    for statement in [
        "INSERT INTO ledger (ref, sku, kind, units) SELECT 'bench ' || sku, sku, 'supply', $2
         FROM unnest($1::text[]) AS new (sku)",
        "INSERT INTO allotments (sku, free) SELECT sku, $2 FROM unnest($1::text[]) AS new (sku)",
    ] {
        sqlx::query(statement).bind(&founding.skus).bind(PLENTY).execute(&mut *conn).await?;
    }
    conn.execute("VACUUM ANALYZE").await?;
    drop(conn);
    pool.close().await;
    Ok(())
}

// Checks -----------------------------------------------------------------------------------------------------------

/// Rows that one order should have left, each kind counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) orders: i64,
    pub(crate) lines: i64,
    pub(crate) events: i64,
    /// Units that left *free*.
    pub(crate) units: i64,
    /// Ours alone.
    pub(crate) reservations: i64,
    /// Ours alone.
    pub(crate) keys: i64,
}

impl std::ops::Add for Rows {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            orders: self.orders + other.orders,
            lines: self.lines + other.lines,
            events: self.events + other.events,
            units: self.units + other.units,
            reservations: self.reservations + other.reservations,
            keys: self.keys + other.keys,
        }
    }
}

/// What pgbench's script has left.
pub(crate) async fn rows_of_baseline(url: &str) -> anyhow::Result<Rows> {
    let row: (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM order_line), (SELECT count(*) FROM outbox),
                (SELECT sum($1 - available)::bigint FROM stock)",
    )
    .bind(PLENTY)
    .fetch_one(&mut connect(url).await?)
    .await?;
    let (orders, lines, events, units) = row;
    Ok(Rows { orders, lines, events, units, ..Rows::default() })
}

/// What a shard of ours has: rows of orders that were accepted.
pub(crate) async fn rows_of_shard(url: &str) -> anyhow::Result<Rows> {
    let row: (i64, i64, i64, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM line_items),
                (SELECT count(*) FROM outbox WHERE topic = 'order_events' AND aggregate_version = 1),
                (SELECT coalesce(sum(reserved + sold), 0)::bigint FROM allotments),
                (SELECT count(*) FROM reservations), (SELECT count(*) FROM idempotency_records)",
    )
    .fetch_one(&mut connect(url).await?)
    .await?;
    let (orders, lines, events, units, reservations, keys) = row;
    Ok(Rows { orders, lines, events, units, reservations, keys })
}

/// SKUs whose units do not add up, by name: what came in is not free, reserved or sold, or reservations say otherwise.
pub(crate) async fn units_astray(url: &str) -> anyhow::Result<Vec<String>> {
    let skus = sqlx::query_scalar(
        "SELECT sku FROM (SELECT sku, sum(units) AS received FROM ledger GROUP BY sku) AS received
             FULL JOIN allotments USING (sku)
             LEFT JOIN (SELECT sku, sum(units) FILTER (WHERE state = 'held') AS held,
                               sum(units) FILTER (WHERE state = 'claimed') AS claimed
                        FROM reservations GROUP BY sku) AS live USING (sku)
         WHERE received IS DISTINCT FROM free + reserved + sold
            OR coalesce(held, 0) <> reserved OR coalesce(claimed, 0) <> sold
         ORDER BY sku",
    );
    Ok(skus.fetch_all(&mut connect(url).await?).await?)
}

// The whole way ----------------------------------------------------------------------------------------------------

/// Transactions that wrote, so far; those that failed count as well.
pub(crate) async fn writes(url: &str) -> anyhow::Result<i64> {
    let next = sqlx::query_scalar("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint");
    Ok(next.fetch_one(&mut connect(url).await?).await?)
}

/// Orders that are not decided yet.
pub(crate) async fn pending(url: &str) -> anyhow::Result<i64> {
    let pending = sqlx::query_scalar("SELECT count(*) FROM orders WHERE status = 'PENDING'");
    Ok(pending.fetch_one(&mut connect(url).await?).await?)
}

/// An order's way from acceptance to confirmation, as its events tell: when it was confirmed, in Unix microseconds, and
/// after how many.
pub(crate) async fn confirmations(url: &str, since_unix_us: u64) -> anyhow::Result<Vec<(i64, i64)>> {
    let since = i64::try_from(since_unix_us)?;
    let rows = sqlx::query_as(
        "SELECT (extract(epoch FROM confirmed.created_at) * 1000000)::bigint,
                (extract(epoch FROM confirmed.created_at - created.created_at) * 1000000)::bigint
         FROM outbox AS confirmed JOIN outbox AS created USING (aggregate_id)
         WHERE confirmed.kind = $1 AND created.kind = $2 AND extract(epoch FROM created.created_at) * 1000000 >= $3",
    );
    let rows = rows.bind(CONFIRMED).bind(CREATED).bind(since);
    Ok(rows.fetch_all(&mut connect(url).await?).await?)
}

const CREATED: &str = <region_core_events::contract::OrderCreated as region_core_events::contract::Payload>::KIND;
const CONFIRMED: &str = <region_core_events::contract::OrderConfirmed as region_core_events::contract::Payload>::KIND;

/// Every order of a shard.
pub(crate) async fn orders(url: &str) -> anyhow::Result<BTreeSet<OrderId>> {
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT order_id::text FROM orders").fetch_all(&mut connect(url).await?).await?;
    ids.iter().map(|id| id.parse().with_context(|| format!("{id} is no order id"))).collect()
}

/// Money of confirmed orders: the payment as the provider knows it, and its order's total in minor units.
pub(crate) async fn money(url: &str) -> anyhow::Result<Vec<(String, i64)>> {
    let rows = sqlx::query_as(
        "SELECT payment_id::text, total_minor FROM orders JOIN payments USING (order_id) WHERE status = 'CONFIRMED'",
    );
    Ok(rows.fetch_all(&mut connect(url).await?).await?)
}

// The saga ---------------------------------------------------------------------------------------------------------

/// Consumers that have heard of orders that were placed.
pub(crate) async fn hearers(url: &str) -> anyhow::Result<Vec<String>> {
    let names = sqlx::query_scalar(
        "SELECT DISTINCT consumer FROM inbox JOIN outbox USING (event_id) WHERE kind = $1 ORDER BY consumer",
    );
    Ok(names.bind(CREATED).fetch_all(&mut connect(url).await?).await?)
}

/// Keeps the consumers of a shard from reading: it has their cursors, as a core would that reads itself. If it is dropped, its
/// session ends and they go on as well.
#[derive(Debug)]
pub(crate) struct Halt(PgConnection);

impl Halt {
    /// Waits until each has ended what it was at.
    pub(crate) async fn of(url: &str) -> anyhow::Result<Self> {
        let mut conn = connect(url).await?;
        conn.execute("BEGIN").await?;
        conn.execute("SELECT consumer FROM consumer_cursors ORDER BY consumer FOR UPDATE").await?;
        Ok(Self(conn))
    }

    /// Lets them go on.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.0.execute("ROLLBACK").await?;
        Ok(())
    }
}

/// Orders that were placed and that nobody has heard of yet: how many, and the last one's event.
pub(crate) async fn unheard(url: &str) -> anyhow::Result<(i64, Option<String>)> {
    let waiting = sqlx::query_as(
        "SELECT count(*), (array_agg(event_id::text ORDER BY sequence DESC))[1] FROM outbox
         WHERE kind = $1 AND NOT EXISTS (SELECT FROM inbox WHERE inbox.event_id = outbox.event_id)",
    );
    Ok(waiting.bind(CREATED).fetch_one(&mut connect(url).await?).await?)
}

/// A session that looks at a shard again and again.
#[derive(Debug)]
pub(crate) struct Look(PgConnection);

impl Look {
    pub(crate) async fn at(url: &str) -> anyhow::Result<Self> {
        connect(url).await.map(Self)
    }

    /// Whether all of these consumers have taken an event in.
    pub(crate) async fn was_heard(&mut self, consumers: &[String], event: &str) -> anyhow::Result<bool> {
        let heard = sqlx::query_scalar(
            "SELECT count(*) = cardinality($1::text[]) FROM inbox WHERE consumer = ANY ($1) AND event_id = $2::uuid",
        );
        Ok(heard.bind(consumers).bind(event).fetch_one(&mut self.0).await?)
    }
}

/// Events that consumers have taken in since, each counted for each of them.
pub(crate) async fn heard(url: &str, since_unix_us: u64) -> anyhow::Result<i64> {
    let heard = sqlx::query_scalar("SELECT count(*) FROM inbox WHERE extract(epoch FROM handled_at) * 1000000 >= $1");
    Ok(heard.bind(i64::try_from(since_unix_us)?).fetch_one(&mut connect(url).await?).await?)
}

/// Events written since: when, and when a consumer took it in, in Unix microseconds; for each of its consumers.
pub(crate) async fn hearings(url: &str, since_unix_us: u64) -> anyhow::Result<Vec<(u64, u64)>> {
    let rows = sqlx::query_as::<_, (i64, i64)>(
        "SELECT (extract(epoch FROM created_at) * 1000000)::bigint, (extract(epoch FROM handled_at) * 1000000)::bigint
         FROM inbox JOIN outbox USING (event_id) WHERE extract(epoch FROM created_at) * 1000000 >= $1",
    );
    let rows = rows.bind(i64::try_from(since_unix_us)?).fetch_all(&mut connect(url).await?).await?;
    rows.into_iter().map(|(written, heard)| Ok((u64::try_from(written)?, u64::try_from(heard)?))).collect()
}

/// Commits a row by itself, again and again, on the shard's server: how long each took, in microseconds.
pub(crate) async fn commits_one_by_one(server: &PostgresServer, time: Duration) -> anyhow::Result<Vec<u64>> {
    let mut conn = admin(server).await?;
    conn.execute("CREATE TABLE limits (number bigint)").await?;
    let (deadline, mut took) = (Instant::now() + time, Vec::new());
    while Instant::now() < deadline {
        let begun = Instant::now();
        sqlx::query("INSERT INTO limits VALUES ($1)").bind(1_i64).execute(&mut conn).await?;
        took.push(micros(begun.elapsed()));
    }
    conn.execute("DROP TABLE limits").await?;
    Ok(took)
}
