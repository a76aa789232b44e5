//! The SQL that makes a database out of a server: databases, publication and subscription. Tables are made by
//! `region-core migrate`.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::time::Instant;

use crate::error::SystemError;
use crate::postgres::PostgresServer;

/// What the primary of the catalog gives away.
const PUBLICATION: &str = "meridian";
/// How long the first copy may take.
const COPIED_WITHIN: Duration = Duration::from_secs(60);
/// How often it is asked for; Postgres has nothing to wait on.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Makes the database if it is not there. `name` must be a plain identifier.
///
/// # Errors
/// [`SystemError::Sql`].
pub async fn create_database(server: &PostgresServer, name: &str) -> Result<(), SystemError> {
    let work = async {
        let mut connection = PgConnection::connect(&server.url("postgres")).await?;
        let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await?;
        if !there {
            connection.execute(AssertSqlSafe(format!("CREATE DATABASE {}", quoted(name)))).await?;
        }
        connection.close().await
    };
    work.await.map_err(of(server))
}

/// Publishes the catalog and the slot map, if that was not done.
///
/// # Errors
/// [`SystemError::Sql`].
pub async fn publish(primary: &PostgresServer, database: &str) -> Result<(), SystemError> {
    let work = async {
        let mut connection = PgConnection::connect(&primary.url(database)).await?;
        let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)")
            .bind(PUBLICATION)
            .fetch_one(&mut connection)
            .await?;
        if !there {
            connection.execute("CREATE PUBLICATION meridian FOR TABLES IN SCHEMA catalog, control").await?;
        }
        connection.close().await
    };
    work.await.map_err(of(primary))
}

/// Subscribes a region's copy to the primary, wherever that now listens, and waits until every table was copied.
///
/// # Errors
/// [`SystemError::Sql`]; its cause is `PoolTimedOut` if the copy is not complete in a minute.
pub async fn subscribe(
    copy: &PostgresServer,
    primary: &PostgresServer,
    database: &str,
    region: &str,
) -> Result<(), SystemError> {
    let work = async {
        let mut connection = PgConnection::connect(&copy.url(database)).await?;
        let subscription = format!("meridian_{}", region.replace('-', "_"));
        let from = primary.connection_string(database).replace('\'', "''");
        let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_subscription WHERE subname = $1)")
            .bind(&subscription)
            .fetch_one(&mut connection)
            .await?;
        let name = quoted(&subscription);
        if there {
            connection.execute(AssertSqlSafe(format!("ALTER SUBSCRIPTION {name} CONNECTION '{from}'"))).await?;
            connection.execute(AssertSqlSafe(format!("ALTER SUBSCRIPTION {name} REFRESH PUBLICATION"))).await?;
        } else {
            let create = format!("CREATE SUBSCRIPTION {name} CONNECTION '{from}' PUBLICATION {PUBLICATION}");
            connection.execute(AssertSqlSafe(create)).await?;
        }
        copied(&mut connection).await?;
        connection.close().await
    };
    work.await.map_err(of(copy))
}

/// Waits until no table is still being copied.
async fn copied(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let deadline = Instant::now() + COPIED_WITHIN;
    loop {
        let pending: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'")
            .fetch_one(&mut *connection)
            .await?;
        if pending == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(sqlx::Error::PoolTimedOut);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn of(server: &PostgresServer) -> impl FnOnce(sqlx::Error) -> SystemError {
    let part = server.name().to_owned();
    move |source| SystemError::Sql { part, source }
}
