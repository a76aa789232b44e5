//! Private databases: started, told apart, replicated, crashed and turned.

use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use xtask_system::store;

use crate::support::{guardian, layout, place, postgres};

#[tokio::test]
async fn a_server_asks_for_its_password_and_flushes_its_writes() {
    let place = place("password");
    let (guardian, layout) = (guardian(&place), layout(&place));
    let server = postgres("alone", &[], &layout, &guardian).await;
    let wrong = server.url("postgres").replace("//postgres:", "//postgres:x");
    let refused = PgConnection::connect(&wrong).await.unwrap_err().to_string();
    assert!(refused.contains("password authentication failed"), "{refused}");
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    let flushes: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await.unwrap();
    assert_eq!(flushes, "on");
    drop(server);
    layout.remove().unwrap();
}

#[tokio::test]
async fn a_crashed_server_comes_back_with_what_was_committed() {
    let place = place("crash");
    let (guardian, layout) = (guardian(&place), layout(&place));
    let mut server = postgres("shard-1", &[], &layout, &guardian).await;
    store::create_database(&server, "shard").await.unwrap();
    store::create_database(&server, "shard").await.unwrap();
    let mut connection = PgConnection::connect(&server.url("shard")).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)").execute(&mut connection).await.unwrap();

    server.part.kill().await.unwrap();
    server.part.restart().await.unwrap();

    let mut connection = PgConnection::connect(&server.url("shard")).await.unwrap();
    let kept: i32 = sqlx::query_scalar("SELECT id FROM kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!(kept, 7);
    let status = server.part.stop().await.unwrap();
    assert!(status.success(), "fast shutdown is an orderly end: {status}");
    layout.remove().unwrap();
}

#[tokio::test]
async fn a_setting_turned_by_hand_is_seen_by_running_sessions() {
    let place = place("turned");
    let (guardian, layout) = (guardian(&place), layout(&place));
    let server = postgres("shard-1", &[], &layout, &guardian).await;
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    server.reconfigure(&[("meridian.clock_offset", "3 hours")]).unwrap();
    let seen = async {
        loop {
            let offset: Option<String> = sqlx::query_scalar("SELECT current_setting('meridian.clock_offset', true)")
                .fetch_one(&mut connection)
                .await
                .unwrap();
            if offset.as_deref() == Some("3 hours") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), seen).await.expect("the reload reached the session");
    drop(server);
    layout.remove().unwrap();
}

#[tokio::test]
async fn the_copy_of_a_catalog_follows_its_primary_and_subscribing_twice_changes_nothing() {
    let place = place("replication");
    let (guardian, layout) = (guardian(&place), layout(&place));
    let (primary, copy) = tokio::join!(
        postgres("catalog-eu", &["wal_level=logical"], &layout, &guardian),
        postgres("catalog-us", &[], &layout, &guardian)
    );
    for server in [&primary, &copy] {
        store::create_database(server, "catalog").await.unwrap();
        let mut connection = PgConnection::connect(&server.url("catalog")).await.unwrap();
        let tables = "CREATE SCHEMA catalog; CREATE SCHEMA control; CREATE TABLE catalog.notes (made_at timestamptz PRIMARY KEY)";
        sqlx::raw_sql(tables).execute(&mut connection).await.unwrap();
    }
    let mut writer = PgConnection::connect(&primary.url("catalog")).await.unwrap();
    sqlx::raw_sql("INSERT INTO catalog.notes VALUES ('2030-01-01Z')").execute(&mut writer).await.unwrap();
    for _ in 0..2 {
        store::publish(&primary, "catalog").await.unwrap();
        store::subscribe(&copy, &primary, "catalog", "us").await.unwrap();
    }
    let mut reader = PgConnection::connect(&copy.url("catalog")).await.unwrap();
    let first: Vec<OffsetDateTime> =
        sqlx::query_scalar("SELECT made_at FROM catalog.notes").fetch_all(&mut reader).await.unwrap();
    assert_eq!(first.len(), 1, "what was there before was copied, once");

    sqlx::raw_sql("INSERT INTO catalog.notes VALUES ('2030-01-02Z')").execute(&mut writer).await.unwrap();
    let followed = async {
        while sqlx::query_scalar::<_, i64>("SELECT count(*) FROM catalog.notes").fetch_one(&mut reader).await.unwrap()
            < 2
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), followed).await.expect("the copy follows");
    drop((primary, copy));
    layout.remove().unwrap();
}
